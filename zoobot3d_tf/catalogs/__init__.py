"""Survey files in, one checked training catalogue out."""
