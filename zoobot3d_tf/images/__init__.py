"""Pixels and volunteers' paths into arrays: image files, colour composition, masks."""
