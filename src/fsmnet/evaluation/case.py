"""One case of an evaluation: accelerated, reconstructed by every model, scored. The list's task, wherever it runs."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fsmnet.checkpoint import open_model
from fsmnet.data.formats.fastmri import write_submission
from fsmnet.data.head import head_mask
from fsmnet.errors import UserError
from fsmnet.evaluation.extremes import Found
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import Row
from fsmnet.evaluation.show import Pictures
from fsmnet.evaluation.suitability import Purposes
from fsmnet.inference.auxiliary import Trial, try_auxiliary
from fsmnet.inference.device import choose_device
from fsmnet.inference.elsewhere import placed
from fsmnet.inference.here import in_turn
from fsmnet.inference.precision import for_inference
from fsmnet.inference.slices import reconstruct_case, reconstruct_slices
from fsmnet.inference.weighing import Weighing, try_weighing
from fsmnet.metrics import Metrics
from fsmnet.models import takes_acquisition
from fsmnet.models.classical import POCS, ZeroFilling
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.extent import interpolated
from fsmnet.physics.masks import save_mask, seed_from_name
from fsmnet.physics.weighed import weighed
from fsmnet.protocols import protocol_of
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated, Case
from fsmnet.transforms import NormalisationRecipe, center_fit, to_unit

logger = logging.getLogger(__name__)

CHUNK = 4  # slices that measured lines are put back into at a time
NOT_TOLD = "this protocol does not tell what was measured; leave --data-consistency out"


@dataclass(frozen=True)
class CaseScores:
    """What is told of a case.

    Attributes:
        rows: scores by model, of volumes or slices.
        planes: where volumes are scored, those of single slices.
        content: tells the target from others whatever its name.
        doubts: by model, why it may not be for this case.
        seconds: by model, time of its reconstruction, a trial of the auxiliary included.
        without_auxiliary: models that were scored without the auxiliary, since measured lines spoke against it.
        extremes: the worst and the best slice.
    """

    rows: list[Row]
    planes: list[Row]
    content: str
    doubts: Mapping[str, Sequence[str]]
    seconds: Mapping[str, float]
    without_auxiliary: Sequence[str]
    extremes: Found


@dataclass(frozen=True)
class Task:
    """A case to score.

    Attributes:
        number: of the case, from 0.
        count: of cases.
        case: its files.
        patient: whose it is.
    """

    number: int
    count: int
    case: Case
    patient: str


Tell = Callable[[str, Mapping[str, Sequence[str]]], None]


class Scorer:
    """The models of an evaluation, opened once in a process.

    Args:
        config: the options.
        files: by the models' names the files or names that they are opened by.
        tell: says the doubts of a case before it is reconstructed; None where whoever gets them says them.
        progress: whether bars are shown.

    Raises:
        UserError: a model that cannot be used.
    """

    def __init__(
        self, config: EvaluateConfig, files: Mapping[str, str], tell: Tell | None = None, progress: bool = False
    ) -> None:
        self.config, self.tell, self._progress = config, tell, progress
        self.protocol = protocol_of(config)
        self.recipe = self.protocol.mask_recipe(config)
        self.models = {name: open_model(file, self.recipe) for name, file in files.items()}
        self.purposes = Purposes(config, self.protocol, self.models)
        self.pictures = Pictures(config, self.protocol, self.models)

    def score(self, task: Task) -> CaseScores:
        """Reconstruct and score a case; also write its mask, and what else is kept of it.

        Raises:
            UserError: a case or a model that cannot be used.
        """
        config, protocol, pair, number = self.config, self.protocol, task.case, task.number
        case = protocol.accelerate(pair, self.recipe, resample=config.resample)
        doubts = self.purposes.find(pair, case.slices)
        if self.tell is not None:
            self.tell(pair.case, doubts)
        shown = self.pictures.choose(pair, case.slices) if number == 0 else 0
        save_mask(case.mask, config.out / "masks" / f"{pair.case}.npz")
        n_slices = len(case.slices.numbers)
        logger.info(
            "%s (%d of %d): %d slices, mask %s", pair.case, number + 1, task.count, n_slices, case.mask.describe()
        )
        if not protocol.measured and (doubt := interpolated(pair.case, case.slices.target.numpy(), case.mask.columns)):
            logger.warning(doubt, extra={"kind": "interpolated"})
        head = head_mask(case.slices.target.numpy())
        images: dict[str, Tensor] = {}
        seconds: dict[str, float] = {}
        rows: list[Row] = []
        planes: list[Row] = []
        without: list[str] = []
        for name, reconstruct in self._networks.items():
            started = time.perf_counter()
            made = reconstruct(pair.case, case, f"{pair.case}, {name}" if self._progress else "")
            images[name] = made.image
            if made.left_out is not None:
                logger.warning("%s: %s, %s", name, pair.case, made.left_out.why_not)
                without.append(name)
            seconds[name] = time.perf_counter() - started
            scored, single = _score(protocol, case, images[name])
            facts = (case.contrast, task.patient, "")
            inside = protocol.score_inside(case.slices.target, images[name], head)
            count = (1 if protocol.unit == "slice" else n_slices, case.mask.achieved_acceleration)
            rows += [
                Row(name, pair.case, n, metrics, *facts, part, *count)
                for (n, metrics), part in zip(scored, inside, strict=True)
            ]
            planes += [Row(name, pair.case, n, metrics, *facts, None, 1, count[1]) for n, metrics in single]
        if config.submission is not None:
            _submit(config.submission, pair, case, images)
        if number == 0:
            self.pictures.draw_first(pair, case, images, shown, rows)
        extremes = self.pictures.extremes_of(pair, case, images, number)
        return CaseScores(rows, planes, case.slices.content, doubts, seconds, without, extremes)

    @cached_property
    def _networks(self) -> dict[str, Reconstruct]:
        """By name what a model makes of a case."""
        device = choose_device(self.config.device, self.config.threads)
        return {name: self._network(name, device) for name in self.models}

    def _network(self, name: str, device: Any) -> Reconstruct:
        config, model = self.config, self.models[name].to(device)
        if isinstance(model, ZeroFilling):
            # Scored as it is stored: normalised and back, it would lose grey levels.
            return lambda name, case, progress: Made(case.zero_filled)
        classical = isinstance(model, POCS)
        back = "off" if classical else config.data_consistency
        model, precision = for_inference(model, config.precision, config.optimise and not classical)

        inside = takes_acquisition(model) and not classical
        trying = inside and not config.keep_auxiliary
        weighing = inside and back == "weighed"
        options = {"batch": config.batch, "device": device, "precision": precision, "name": name}

        def reconstruct(target: str, case: Accelerated, progress: str) -> Made:
            trial = tried(model, target, case, **options) if trying and case.measured is not None else None
            alone = trial is not None and not trial.helps
            weighs = tried_weighing(model, target, case, alone, **options) if weighing else None
            image = reconstruct_case(
                model,
                case,
                self.protocol,
                alone=alone,
                whole=classical,
                finished=back == "off",
                phase=weighing,
                progress=progress,
                **options,
            )
            if weighs is not None and not weighs.helps:
                logger.warning("%s: %s, %s", name, target, weighs.why_not)
                image = self.protocol.finish(center_fit(image.abs(), *case.zero_filled.shape[-2:]))
            elif back != "off":
                image = self.protocol.finish(lines_put_back(case, image, back, weighs))
            return Made(image, trial if alone else None)

        return reconstruct


class Made(NamedTuple):
    """What a model makes of a case."""

    image: Tensor  # (n, H, W)
    left_out: Trial | None = None  # why it did without the auxiliary


Reconstruct = Callable[[str, Accelerated, str], Made]  # the case's name, the case, text of the progress bar


def tried(model: nn.Module, target: str, case: Accelerated, **options: Any) -> Trial | None:
    """Whether measured lines that are kept back confirm what the auxiliary changes; None where too few are there."""

    def reconstruct(scan: Acquisition, other: Tensor | None) -> Tensor:
        recipe = NormalisationRecipe()  # not a k-space network's affair
        return reconstruct_slices(
            model, scan.zero_filled.abs(), other, recipe, measured=lambda _: scan, phase=True, **options
        )

    assert case.measured is not None
    auxiliary = to_unit(case.slices.auxiliary)
    return try_auxiliary(reconstruct, case.measured, auxiliary, case.mask.columns, seed_from_name(target))


def tried_weighing(model: nn.Module, target: str, case: Accelerated, alone: bool, **options: Any) -> Weighing:
    """What measured lines that are kept back say of weighing a k-space network; without auxiliary if ``alone``.

    Raises:
        UserError: a protocol that does not tell what was measured, or without noise and phase.
    """
    measured, auxiliary = lines_with_phase(case), to_unit(case.slices.auxiliary)
    recipe = NormalisationRecipe()  # not a k-space network's affair

    def reconstruct(scan: Acquisition, number: int) -> Tensor:
        other = None if alone else auxiliary[number, None]
        return reconstruct_slices(
            model, scan.zero_filled.abs(), other, recipe, measured=lambda _: scan, phase=True, **options
        )

    return try_weighing(reconstruct, measured, len(auxiliary), case.mask.columns, seed_from_name(target))


def lines_with_phase(case: Accelerated) -> Callable[[slice], Acquisition]:
    """What was measured of a case, to be weighed.

    Raises:
        UserError: a protocol that does not tell it, or of real images, whose symmetry would tell more than lines.
    """
    if case.measured is None:
        raise UserError(NOT_TOLD)
    if case.measured(slice(0, 1)).real:
        raise UserError("--data-consistency weighed reckons with noise and a phase, which this protocol lacks")
    return case.measured


_kept: dict[str, Scorer] = {}


def score_case(task: Task, config: EvaluateConfig, files: Mapping[str, str]) -> CaseScores:
    """:meth:`Scorer.score`, with the models of this process."""

    def score() -> CaseScores:
        key = repr((config, files))
        if key not in _kept:
            _kept.clear()
            _kept[key] = Scorer(placed(config), files)
        return _kept[key].score(task)

    return in_turn(score)


def lines_put_back(
    case: Accelerated, image: Tensor, how: Literal["hard", "weighed"] = "hard", weighing: Weighing | None = None
) -> Tensor:
    """Reconstructions ``(n, H, W)`` with the measured lines put back, or the simulated ones.

    Args:
        case: what was measured.
        image: the reconstructions; of a k-space network that is weighed with their phase and all columns.
        how: replace the network's lines, or weigh both (:mod:`fsmnet.physics.weighed`).
        weighing: how to weigh a k-space network's, from :func:`tried_weighing`.

    Raises:
        UserError: a protocol that does not tell the lines; see :func:`lines_with_phase`.
    """
    if case.consistent is not None and how == "hard":
        return case.consistent(image)
    if case.measured is None:
        raise UserError(NOT_TOLD)
    measured = lines_with_phase(case) if how == "weighed" else case.measured
    done = []
    for first in range(0, len(image), CHUNK):
        acquisition, part = measured(slice(first, first + CHUNK)), image[first : first + CHUNK]
        if how == "hard":
            whole = acquisition.consistent(part)
        elif weighing is not None:
            whole = center_fit(weighed(acquisition, part, share=weighing.share), *case.zero_filled.shape[-2:])
        else:
            begins = [(whole - own) // 2 for whole, own in zip(acquisition.shape[-2:], part.shape[-2:], strict=True)]
            place = [slice(begin, begin + own) for begin, own in zip(begins, part.shape[-2:], strict=True)]
            whole = weighed(acquisition, acquisition.embedded(part, *place).abs())[..., place[0], place[1]]
        done.append(whole.real if acquisition.real else whole.abs())
    return torch.cat(done)


Scored = list[tuple[int | None, Metrics]]


def _score(protocol: Protocol[Any], case: Accelerated, image: Tensor) -> tuple[Scored, Scored]:
    """Scores of a case with the numbers of their slices, and where volumes are scored those of single slices."""
    numbers: list[int | None] = [*case.slices.numbers] if protocol.unit == "slice" else [None]
    scores = protocol.score(case.slices.target, image)
    return [*zip(numbers, scores, strict=True)], [*protocol.score_planes(case.slices, image).items()]


def _submit(folder: Path, pair: Case, case: Accelerated, images: dict[str, Tensor]) -> None:
    """Write the volumes of a case as submissions."""
    if case.left_out:
        count = len(case.slices.numbers)
        logger.warning(
            "%s: the submission has %d of %d slices, as many as the auxiliary", pair.case, count, count + case.left_out
        )
    for name, run in _folders(list(images)).items():
        write_submission(images[name], folder / run / f"{pair.case}.h5")


def _folders(names: Sequence[str]) -> dict[str, str]:
    """A folder's name for each model: that of its run, if it is a checkpoint, with more where two would share it."""
    forms: dict[str, list[str]] = {}
    for name in names:
        path = Path(name).absolute()
        run = path.parent.name
        forms[name] = [run, f"{run}_{path.stem}", "_".join(path.parts[1:])] if path.suffix else [name]
    taken = Counter(form for own in forms.values() for form in own)
    return {name: next((form for form in own if taken[form] == 1), own[-1]) for name, own in forms.items()}
