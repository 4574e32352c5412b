"""Training: loss, schedule, state, loop."""
