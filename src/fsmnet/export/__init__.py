"""Networks in files that other programs run."""
