"""The paper's protocol for the fastMRI knee: slices from measured k-space, one at a time.

A slice's k-space is masked and transformed (centred, orthonormal), its magnitude cropped to the reference's size: the
zero-filled image. The reference is the file's own. The auxiliary is its volume's reference, normalised by the mean and
deviation of that volume's zero-filled image under its own mask. Of several coils the root of the sum of squares is
taken. Intensities are those of the file; nothing is scaled, no slice is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fsmnet.data.formats.fastmri import FastMRIFile
from fsmnet.data.formats.raw import check_values
from fsmnet.data.pairing.fastmri_lists import FastMRIPair
from fsmnet.data.quadrants import rolled
from fsmnet.data.volume import content_hash, exact_hash
from fsmnet.errors import UserError
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.masks import Mask, MaskRecipe
from fsmnet.protocols.cases import Accelerated, Slices
from fsmnet.protocols.slices import MeasuredSample, Sample, TrainingSlices
from fsmnet.transforms import CLIP, NormalisationRecipe, center_fit

NORMALISATION = NormalisationRecipe("sample", CLIP, CLIP, auxiliary="undersampled")


def zero_filled_slice(file: FastMRIFile, index: int, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Magnitude of a slice whose unmeasured lines are zero.

    Args:
        file: the volume.
        index: of the slice.
        mask: bool ``(W,)``.
        size: rows and columns to crop to.

    Returns:
        float32 ``size``.
    """
    return root_sum_of_squares(center_fit(Acquisition.from_kspace(_kspace(file, index), mask).coil_images, *size))


def target_slice(file: FastMRIFile, index: int, size: tuple[int, int]) -> Tensor:
    """Reference of a slice, float32, its middle ``size``."""
    return center_fit(torch.from_numpy(file.target(index)), *size)


def consistent_slice(file: FastMRIFile, index: int, mask: Tensor, image: Tensor) -> Tensor:
    """A network's magnitude with the measured lines put back (hard data consistency), as ``fsmnet reconstruct`` does.

    The image gets the phase of the zero-filled one, which also stands outside the cropped middle. Of several coils the
    sensitivities are estimated from the measured centre (:func:`fsmnet.physics.espirit.estimate_maps`), and the root of
    the sum of squares is taken of the coil images that agree with the measurement, as of the reference
    (:meth:`fsmnet.physics.acquisition.Acquisition.consistent_coils`).

    Args:
        file: the volume.
        index: of the slice.
        mask: bool ``(W,)``.
        image: ``(h, w)``, the reconstruction in the file's intensities.

    Returns:
        float32 ``(h, w)``.
    """
    kspace = _kspace(file, index)
    maps = estimate_maps(kspace * mask, mask) if len(kspace) > 1 else None
    acquisition = Acquisition.from_kspace(kspace, mask, maps)
    begins = [(whole - part) // 2 for whole, part in zip(acquisition.shape, image.shape, strict=True)]
    rows, columns = (slice(begin, begin + part) for begin, part in zip(begins, image.shape, strict=True))
    coils = acquisition.consistent_coils(acquisition.embedded(image, rows, columns))
    return root_sum_of_squares(coils[:, rows, columns])


def file_content(file: FastMRIFile) -> str:
    """What tells a volume: :func:`fsmnet.data.volume.content_hash` of its middle slice's reference."""
    return content_hash(file.target(file.slices // 2))


def pair_fingerprint(pair: FastMRIPair) -> str:
    """What a pair is, see :class:`fsmnet.protocols.cases.Slices`.

    Names, sizes and the references of the middle slices: whole files of k-space would take hours.
    """
    files = (pair.target, pair.auxiliary)
    told = "; ".join(f"{file.name} {file.slices} {file.columns}" for file in files)
    return exact_hash(told, *(file.target(file.slices // 2) for file in files))


def check_convention(file: FastMRIFile) -> None:
    """Refuse k-space that is not centred, or whose image lies otherwise than the reference; the middle slice tells.

    Raises:
        UserError: with the axes to shift, or the sign to change.
    """
    number = file.slices // 2
    kspace, reference = file.kspace(number), file.target(number)
    check_values(kspace.reshape(1, -1, *kspace.shape[-2:]), file.path)
    size = file.image_size
    coils = Acquisition.from_kspace(_kspace(file, number), torch.ones(file.columns, dtype=torch.bool)).coil_images
    image = root_sum_of_squares(coils).numpy()
    axes = rolled(image[None], center_fit(torch.from_numpy(reference), *size).numpy()[None])
    if axes:
        along = " and ".join(("rows", "columns")[axis] for axis in axes)
        raise UserError(
            f"{file.path}: the image of its k-space fits its {file.check_reference()} when rolled by half the field of "
            f"view along {along}: the k-space was made without ifftshift of the image; make it as "
            "fftshift(fft2(ifftshift(image)))"
        )


def consistent_volume(file: FastMRIFile, numbers: Sequence[int], mask: Mask, images: Tensor) -> Tensor:
    """:func:`consistent_slice` of several slices, ``(n, h, w)``."""
    columns = torch.from_numpy(mask.columns)
    return torch.stack([consistent_slice(file, n, columns, image) for n, image in zip(numbers, images, strict=True)])


def _kspace(file: FastMRIFile, index: int) -> Tensor:
    """k-space of a slice, ``(C, H, W)``; C = 1 of a single coil."""
    kspace = torch.from_numpy(file.kspace(index))
    return kspace if file.multicoil else kspace[None]


def measured_slices(file: FastMRIFile, numbers: Sequence[int], mask: Tensor) -> Acquisition:
    """What was measured of some slices, with the whole field of view; of several coils with maps from their centre."""
    stacked = torch.stack([_kspace(file, number) for number in numbers])
    maps = torch.stack([estimate_maps(one * mask, mask) for one in stacked]) if file.multicoil else None
    return Acquisition.from_kspace(stacked, mask, maps)


def accelerate_fastmri(pair: FastMRIPair, recipe: MaskRecipe, numbers: Sequence[int] | None = None) -> Accelerated:
    """Slices of a pair under the masks that belong to the names of the two files.

    Args:
        pair: the volumes.
        recipe: how masks are drawn.
        numbers: only these slices; all if None.
    """
    check_convention(pair.target)
    numbers = list(range(pair.slices)) if numbers is None else list(numbers)
    target, auxiliary = pair.target, pair.auxiliary
    mask = recipe.draw(target.columns, target.name)
    columns = torch.from_numpy(mask.columns)
    other = torch.from_numpy(recipe.draw(auxiliary.columns, auxiliary.name).columns)

    return Accelerated(
        Slices(
            torch.stack([target_slice(target, n, pair.size) for n in numbers]),
            torch.stack([target_slice(auxiliary, n, pair.size) for n in numbers]),
            numbers,
            file_content(target),
            pair_fingerprint(pair),
        ),
        torch.stack([zero_filled_slice(target, n, columns, pair.size) for n in numbers]),
        torch.stack([zero_filled_slice(auxiliary, n, other, pair.size) for n in numbers]),
        mask,
        target.acquisition,
        target.slices - pair.slices,
        measured=lambda part: measured_slices(target, numbers[part], columns),
        consistent=lambda images: consistent_volume(target, numbers, mask, images),
        whole=lambda part: Acquisition.from_kspace(torch.stack([_kspace(target, n) for n in numbers[part]]), columns),
    )


class FastMRISlices(TrainingSlices):
    """Training slices of several pairs, read when they are asked for.

    With seed ``"name"`` both volumes of a sample get masks of their own that follow from the seed and the position.

    Args:
        pairs: the training pairs.
        mask: how masks are drawn.
        seed: of the masks.
    """

    def __init__(self, pairs: Sequence[FastMRIPair], mask: MaskRecipe, *, seed: int = 0) -> None:
        self.pairs, self.mask, self.seed = list(pairs), mask, seed
        self.places = [(case, number) for case, pair in enumerate(self.pairs) for number in range(pair.slices)]
        for pair in self.pairs:
            check_convention(pair.target)
        self.contents = [file_content(pair.target) for pair in self.pairs]
        self.fingerprints = [pair_fingerprint(pair) for pair in self.pairs]

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Distinct slice sizes (H, W)."""
        return {pair.size for pair in self.pairs}

    def shape(self, case: int) -> tuple[int, ...]:
        """(H, W)."""
        return self.pairs[case].size

    def measured_shape(self, case: int, strip: int | None = None) -> tuple[int, ...]:
        """Coils, rows and columns of the k-space, then (H, W); without the rows where a strip is taken of them."""
        *coils, rows, columns = self.pairs[case].target.shape[1:]
        height, width = self.pairs[case].size
        return (*coils, columns, width, *(() if strip is not None else (rows, height)))

    def example_mask(self) -> Mask:
        """The mask of the first file."""
        first = self.pairs[0].target
        return self.mask.draw(first.columns, first.name)

    def sample(self, position: int, case: int, number: int) -> Sample:
        """Slice ``number`` of a case with the masks of a position."""
        pair = self.pairs[case]
        zero_filled, masked = (
            zero_filled_slice(file, number, self._mask(file, position, which), pair.size)[None]
            for which, file in enumerate((pair.target, pair.auxiliary))
        )
        target, auxiliary = (target_slice(file, number, pair.size)[None] for file in (pair.target, pair.auxiliary))
        inputs = NORMALISATION.inputs(zero_filled, auxiliary, masked)
        return Sample(inputs.target, inputs.auxiliary, NORMALISATION.target(target, inputs.normalisation))

    def measured(self, position: int, case: int, number: int) -> MeasuredSample:
        """What was measured of it, the auxiliary's reference around zeros, and the magnitude of the target's."""
        pair = self.pairs[case]
        scan = measured_slices(pair.target, [number], self._mask(pair.target, position, 0))[0]
        target, auxiliary = (target_slice(file, number, pair.size)[None] for file in (pair.target, pair.auxiliary))
        scale = pair.target.maximum or float(target.max()) or 1.0
        scan = replace(scan, lines=scan.lines / scale)
        return MeasuredSample.of(scan, center_fit(auxiliary, *scan.shape[-2:]), target / scale)

    def _mask(self, file: FastMRIFile, position: int, which: int) -> Tensor:
        if self.mask.seed == "name":
            drawn = self.mask.draw_sample(file.columns, (self.seed, position, which))
        else:
            drawn = self.mask.draw(file.columns, file.name)
        return torch.from_numpy(drawn.columns)
