"""Volumes in and out, pairs of them, data sets and the embedded phantom."""
