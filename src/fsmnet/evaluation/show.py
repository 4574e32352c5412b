"""The pictures of an evaluation: one slice of the first case by all methods, the worst and the best slice of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fsmnet.data.contrast import contrast_of, spoken
from fsmnet.errors import UserError
from fsmnet.evaluation.extremes import Extremes, Found
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.picture import Shown, picture_of, save_shown
from fsmnet.evaluation.scores import Row
from fsmnet.models import recipe_of
from fsmnet.models.classical import CLASSICAL
from fsmnet.models.titles import titles_of
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated, Case, Slices
from fsmnet.transforms import to_unit

FILES = ("picture.png", "picture.npz", "picture_worst.png", "picture_best.png")


class Pictures:
    """Takes the cases one after the other; a picture names no case, since some are called after the patient.

    Args:
        config: which slice to show.
        protocol: of the scores.
        models: by name as given, in that order.

    Attributes:
        titles: by name as given what people call it.
        extremes: the worst and the best slice of all cases so far.
    """

    def __init__(self, config: EvaluateConfig, protocol: Protocol[Any], models: Mapping[str, nn.Module]) -> None:
        self.config, self.protocol = config, protocol
        self.titles = dict(zip(models, titles_of([recipe_of(model) for model in models.values()]), strict=True))
        networks = [name for name in models if name not in CLASSICAL]
        self.extremes = Extremes(self.titles[(networks or list(models))[-1]], {})

    def choose(self, pair: Case, slices: Slices) -> int:
        """Index among the prepared slices of the one to show.

        Raises:
            UserError: the slice asked for has no content.
        """
        wanted = self.config.picture_slice
        if wanted is None:
            return self.protocol.slice_to_show(slices)
        if wanted not in slices.numbers:
            first, last = slices.numbers[0], slices.numbers[-1]
            raise UserError(f"slice {wanted} of {pair.case} has no content; choose one of {first} to {last}")
        return slices.numbers.index(wanted)

    def extremes_of(self, pair: Case, case: Accelerated, images: Mapping[str, Tensor], place: int) -> Found:
        """The worst and the best slice of a case, the ``place``-th."""
        titled = {self.titles[name]: image for name, image in images.items()}
        own = Extremes(self.extremes.method, {})
        own.look(case.slices, titled, lambda index: self._shown(pair, case, titled, index, place))
        return own.found

    def draw_first(
        self, pair: Case, case: Accelerated, images: Mapping[str, Tensor], index: int, rows: Sequence[Row]
    ) -> None:
        """Write the picture of the first case, and keep its slice."""
        titled = {self.titles[name]: image for name, image in images.items()}
        number = case.slices.numbers[index]
        of = "this slice" if self.protocol.unit == "slice" else "volume"
        captions = {
            self.titles[row.model]: f"{of}: {row.metrics.psnr:.2f} dB, SSIM {row.metrics.ssim:.3f}"
            for row in rows
            if row.case == pair.case and row.slice in (number, None)
        }
        shown = self._shown(pair, case, titled, index, 0, captions)
        picture_of(shown).save(self.config.out / FILES[0])
        save_shown(shown, self.config.out / FILES[1])

    def draw_extremes(self) -> None:
        """Write the worst and the best slice."""
        self.extremes.draw(self.config.out)

    def _shown(
        self,
        pair: Case,
        case: Accelerated,
        titled: Mapping[str, Tensor],
        index: int,
        place: int,
        captions: Mapping[str, str] | None = None,
    ) -> Shown:
        names = self.protocol.contrasts(self.config, [pair])
        told = [names.get(role, "") for role in ("target", "auxiliary")]
        contrasts = [
            spoken(contrast_of(name) or name) or role for name, role in zip(told, ("target", "auxiliary"), strict=True)
        ]
        slices = case.slices
        return Shown(
            to_unit(slices.target[index]).numpy(),
            to_unit(slices.auxiliary[index]).numpy(),
            {title: to_unit(image[index]).numpy() for title, image in titled.items()},
            captions or {},
            f"case {place + 1}, slice {slices.numbers[index]}, {self.config.acceleration:g}x, "
            f"protocol {self.config.protocol}",
            (contrasts[0], contrasts[1]),
            case.mask.columns,
            slices.affine,
        )
