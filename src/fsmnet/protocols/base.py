"""What a protocol answers: how cases are found, accelerated, shown to a network, and scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fsmnet.data.options import PairOptions, SplitOptions
from fsmnet.data.patients import cases_named, patients_of
from fsmnet.data.split import Split, make_split
from fsmnet.errors import UserError
from fsmnet.metrics import Metrics, masked_metrics, volume_metrics
from fsmnet.physics.masks import MaskKind, MaskRecipe, default_center_fraction
from fsmnet.physics.options import MaskOptions, TrainingMaskOptions
from fsmnet.protocols.cases import Accelerated, Case, Slices
from fsmnet.protocols.slices import TrainingSlices
from fsmnet.transforms import NormalisationRecipe

C = TypeVar("C", bound=Case)


class Protocol(ABC, Generic[C]):
    """A way to simulate and to score, always named with a result; ``C`` is the kind of its cases.

    Where a method is not abstract, what it does is usual: random masks by the file's name with fastMRI's centre, scores
    in float for each volume.

    Attributes:
        name: of the protocol.
        unit: of a score; means and deviations are over these.
        normalisation: of a network's images.
        caveat: what a reader of its scores should know; empty if nothing.
        measured: whether the target's k-space is a scanner's, so that lines can be put back and volumes submitted.
    """

    name: str
    unit: Literal["slice", "volume"] = "volume"
    normalisation: NormalisationRecipe = NormalisationRecipe()
    caveat: str = ""
    measured: bool = False

    def configured(self, options: PairOptions) -> Protocol[C]:
        """The protocol as the options of its own make it; here there are none."""
        return self

    def mask_recipe(self, options: MaskOptions) -> MaskRecipe:
        """How masks are drawn: what the options give, over the protocol's own."""
        return given_over("random", default_center_fraction(options.acceleration), "name", options)

    def training_recipe(self, options: TrainingMaskOptions) -> MaskRecipe:
        """How masks of training samples are drawn: of several accelerations, if there are several."""
        one = self.mask_recipe(options)
        mixed = one.mixing(options.mixed_accelerations, options.mixed_center_fractions)
        return mixed.spanning(options.acceleration_span)

    @abstractmethod
    def find_cases(self, options: PairOptions, out: Path, cases: Sequence[str] | None = None) -> list[C]:
        """The cases that the options describe.

        Args:
            options: data folder, contrasts.
            out: output folder, in which an index of the files may be kept.
            cases: only these; each must be there.

        Raises:
            UserError: no case, or one that is not there.
        """

    def named_cases(self, options: PairOptions, out: Path, names: Sequence[str] | None) -> list[C]:
        """:meth:`find_cases` of cases, or of patients, whose names stand for all their cases.

        Raises:
            UserError: no case, or a name that is neither a case's nor a patient's.
        """
        try:
            return self.find_cases(options, out, names)
        except UserError:
            if names is None:
                raise
            everyone = self.find_cases(options, out)
            cases = cases_named(names, self.patients(everyone, options))
            if cases == list(names):
                raise
        return self.find_cases(options, out, cases)

    def patients(self, cases: Sequence[C], options: PairOptions) -> dict[str, str]:
        """Case -> patient: as the options say, else by the names; see :mod:`fsmnet.data.patients`."""
        return patients_of([case.case for case in cases], options)

    def split(self, cases: Sequence[C], options: SplitOptions, patients: Mapping[str, str] | None = None) -> Split:
        """Cases for training, validation and testing by the options' shares of the patients."""
        shares = (options.split_seed, options.validation_fraction, options.test_fraction)
        return make_split([case.case for case in cases], *shares, patients)

    def contrasts(self, options: PairOptions, cases: Sequence[C] = ()) -> dict[str, str]:
        """Names of ``target`` and ``auxiliary``, for the header of a checkpoint; one that is not known is left out."""
        return {"target": options.target, "auxiliary": options.auxiliary}

    @abstractmethod
    def accelerate(
        self, case: C, recipe: MaskRecipe, *, resample: bool = False, cache: Path | None = None, most: int | None = None
    ) -> Accelerated:
        """A case under-sampled by the mask that belongs to it, the same at every call.

        Args:
            case: the files.
            recipe: how masks are drawn.
            resample: bring the auxiliary onto the target's grid.
            cache: folder of prepared slices, where there is something to prepare.
            most: slices at most, spread evenly; all if None.
        """

    @abstractmethod
    def training_slices(
        self,
        cases: Sequence[C],
        recipe: MaskRecipe,
        *,
        seed: int = 0,
        augment: bool = True,
        resample: bool = False,
        cache: Path | None = None,
    ) -> TrainingSlices:
        """The slices of several cases to train on.

        Args:
            cases: the training cases.
            recipe: how masks are drawn; with seed ``"name"`` every sample gets a mask of its own.
            seed: of all that is random about a sample.
            augment: shift both contrasts before under-sampling, where there is an image to shift.
            resample: bring auxiliaries onto the targets' grids.
            cache: folder for prepared slices; memory if None.
        """

    def finish(self, image: Tensor) -> Tensor:
        """A reconstruction in the target's intensities, ``(..., H, W)``, as it is scored; here as it is."""
        return image

    def data_range(self, reference: Tensor) -> float:
        """Of PSNR and SSIM, for the slices of one case ``(n, H, W)``; here their maximum."""
        return float(reference.max())

    def score(self, reference: Tensor, image: Tensor) -> list[Metrics]:
        """Metrics of one case, ``(n, H, W)`` each: one row for each :attr:`unit`."""
        return [volume_metrics(reference.numpy(), image.numpy(), self.data_range(reference))]

    def score_inside(self, reference: Tensor, image: Tensor, mask: npt.NDArray[np.bool_]) -> list[Metrics]:
        """:meth:`score` of the voxels inside a mask, bool ``(n, H, W)``; NaN where it is empty."""
        g, p, full = reference.numpy(), image.numpy(), self.data_range(reference)
        parts = [slice(None)] if self.unit == "volume" else [slice(i, i + 1) for i in range(len(g))]
        return [masked_metrics(g[part], p[part], mask[part], full) for part in parts]

    def score_planes(self, slices: Slices, image: Tensor) -> dict[int, Metrics]:
        """Scores of single slices by number, beside those of the volume; here none."""
        return {}

    def slice_to_show(self, slices: Slices) -> int:
        """Index of the slice for a picture: the one with most pixels above zero."""
        return int((slices.target > 0).sum((-2, -1)).argmax())


def given_over(kind: MaskKind, center_fraction: float, seed: int | str, options: MaskOptions) -> MaskRecipe:
    """A protocol's own recipe, with what the options give in its place."""
    return MaskRecipe(
        options.mask_kind or kind,
        float(options.acceleration),
        center_fraction if options.center_fraction is None else options.center_fraction,
        seed if options.mask_seed is None else options.mask_seed,
    )
