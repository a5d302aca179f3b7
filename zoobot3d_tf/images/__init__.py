"""Images, masks and volunteers' marks as arrays: reading, colours, WCS and overlays."""
