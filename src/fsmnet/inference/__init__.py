"""Running a trained network: device, slices, speed, cost."""
