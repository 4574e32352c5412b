"""Slices as pictures: how they lie for the eye, panels with their decoration, and the layout for print."""
