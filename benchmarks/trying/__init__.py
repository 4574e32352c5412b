"""Trials of faults: each a function (empty folder, count) -> figures, one file a subject."""
