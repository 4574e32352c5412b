"""Physics of the measurement, tensors only: Fourier transforms, masks, coils, acquired lines."""
