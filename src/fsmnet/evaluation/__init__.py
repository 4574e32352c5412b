"""Scores of models on the same slices with the same masks."""
