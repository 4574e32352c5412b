"""Fast twin of the frequency block: maps rearranged for the FFT and back, and made part by part in the cache."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fsmnet.models.blocks import FrequencyBlock
from fsmnet.models.kernels.backward import written_out
from fsmnet.models.kernels.layers import pointwise
from fsmnet.models.kernels.layout import Layout, planes, worked_in_parts
from fsmnet.models.kernels.onednn import add, convolve
from fsmnet.models.kernels.polar import amplitude_phase, from_amplitude_phase
from fsmnet.models.precision import full_precision, without_autocast


def channel_groups(x: Tensor) -> list[slice]:
    """Groups of channels that are transformed one after the other, see :func:`worked_in_parts`."""
    channels = x.shape[1]
    step = max(8, 2 * torch.get_num_threads()) if worked_in_parts(x) else channels
    return [slice(start, start + step) for start in range(0, channels, step)]


class FrequencyBlockKernel(FrequencyBlock):
    """The frequency block with feature maps that lie and are dropped as it suits the processor."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        features = self._before_transform(x)
        layout, size = Layout.like(x), (x.shape[-2], x.shape[-1])
        amplitude, phase = self._spectrum(planes(features))
        del features  # the largest maps, gone as soon as possible
        amplitude = self._refined(self.amplitude, amplitude, layout)
        phase = self._refined(self.phase, phase, layout)
        image = layout.of(self._image(amplitude, phase, size, layout.dtype))
        del amplitude, phase
        return convolve(self.post, image, plus=x)

    def _before_transform(self, x: Tensor) -> Tensor:
        """``pre(x)``, in training not in half precision; an image of finished weights does not mind."""
        if not written_out(x, self.pre.weight):
            features: Tensor = self.pre(x)
            return features
        with without_autocast(x):
            return pointwise(full_precision(x), self.pre.weight, self.pre.bias)

    def transform(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`FrequencyBlock.transform`."""
        return amplitude_phase(image)

    def inverse(self, amplitude: Tensor, phase: Tensor, height: int, width: int) -> Tensor:
        """See :meth:`FrequencyBlock.inverse`."""
        spectrum = from_amplitude_phase(amplitude, phase, self.offset)
        image: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="backward")
        return image

    def _spectrum(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase of feature maps whose pixels lie side by side."""

        def part(maps: Tensor) -> tuple[Tensor, Tensor]:
            image = full_precision(maps)
            return self.transform(image + self.epsilon if self.epsilon else image)

        groups = channel_groups(features)
        if len(groups) == 1:
            return part(features)
        amplitude = phase = torch.empty(0)
        for group in groups:
            done = part(features[:, group])
            if not amplitude.numel():
                shape = (features.shape[0], features.shape[1], *done[0].shape[2:])
                amplitude, phase = (like.new_empty(shape) for like in done)
            amplitude[:, group], phase[:, group] = done
        return amplitude, phase

    def _image(self, amplitude: Tensor, phase: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """Feature maps of an amplitude and a phase, in the precision of the convolution that reads them."""
        groups = channel_groups(amplitude)
        if len(groups) == 1:
            image = self.inverse(amplitude, phase, *size)
            return image.abs() if self.magnitude else image
        features = amplitude.new_empty((*amplitude.shape[:2], *size), dtype=dtype)
        for group in groups:
            image = self.inverse(amplitude[:, group], phase[:, group], *size)
            features[:, group] = image.abs_() if self.magnitude else image
        return features

    @staticmethod
    def _refined(convolutions: nn.Sequential, spectral: Tensor, layout: Layout) -> Tensor:
        """Amplitude or phase plus its convolutions, which have the precision and the memory layout of the features."""
        first, activation, second = convolutions
        slope = cast("nn.LeakyReLU", activation).negative_slope
        change = full_precision(planes(second(convolve(first, layout.of(spectral), "leaky_relu", slope))))
        return add(change, spectral)
