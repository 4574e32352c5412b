"""Protocol ``complex``: as ``float``, but of an image with a phase, with noise and if wished with several coils.

k-space of a magnitude image is Hermitian: half of its lines tell the others, and methods that use it, knowingly or not,
score too well. Here the magnitude gets a smooth random phase and its k-space complex noise, both drawn from the case's
name, so that every method meets the same. The magnitude of a reconstruction is scored against the image without noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fsmnet.data.options import PairOptions
from fsmnet.options import at_least
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.simulate import coil_profiles, smooth_phase
from fsmnet.protocols.volumes import Seeds, VolumeProtocol
from fsmnet.transforms import to_unit

STREAM = 1  # tells these draws from the shifts of the augmentation, which have the same seed


@dataclass(frozen=True)
class Complex(VolumeProtocol):
    """Simulated k-space of complex images.

    Attributes:
        phase: standard deviation of the phase over the field of view, in radians.
        noise: standard deviation of the complex noise in k-space, 1 being the volume's maximum.
        coils: number of simulated coils.
    """

    name = "complex"
    phase: float = 1.0
    noise: float = 0.01
    coils: int = 1

    def configured(self, options: PairOptions) -> Complex:
        """With the strengths that the options give.

        Raises:
            UserError: a negative strength, or no coil.
        """
        at_least(options, "phase", 0)
        at_least(options, "noise", 0)
        at_least(options, "simulated_coils", 1)
        return Complex(options.phase, options.noise, options.simulated_coils)

    def measure(self, target: Tensor, mask: Tensor, seeds: Seeds = ()) -> Acquisition:
        """Each slice with a phase and noise that follow from its seed."""
        height, width = target.shape[-2:]
        maps = None if self.coils == 1 else coil_profiles(self.coils, height, width)
        lines = []
        for magnitude, seed in zip(to_unit(target), seeds, strict=True):
            image, generator = self._image(magnitude, seed)
            lines.append(Acquisition.simulate(image, mask, maps, self.noise, generator).lines)
        return Acquisition(torch.stack(lines), mask, maps, self.noise or None)

    def truth(self, target: Tensor, seeds: Seeds = ()) -> Tensor:
        """The slices with the phase of :meth:`measure`."""
        return torch.stack([self._image(image, seed)[0] for image, seed in zip(to_unit(target), seeds, strict=True)])

    def _image(self, magnitude: Tensor, seed: tuple[int, ...]) -> tuple[Tensor, torch.Generator]:
        """A slice with its phase, and the generator that draws its noise."""
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence((*seed, STREAM)).generate_state(1, np.uint64)[0])
        )
        phase = smooth_phase(magnitude.shape[-2], magnitude.shape[-1], self.phase, generator)
        return torch.polar(magnitude, phase), generator


COMPLEX = Complex()
