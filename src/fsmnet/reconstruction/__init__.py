"""A user's own scan, image or k-space, one or a list."""
