"""Which files show one patient in two contrasts."""
