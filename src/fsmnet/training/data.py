"""What a run learns from and is judged by: the split, training slices, validation slices."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fsmnet.data.split import Split, load_split
from fsmnet.errors import UserError
from fsmnet.files import make_folder
from fsmnet.models import model_class, takes_acquisition
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols import protocol_of
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated, Case
from fsmnet.protocols.slices import MeasuredSlices, RunSampler, TrainingSlices
from fsmnet.training.options import TrainConfig
from fsmnet.training.signals import WorkerDeaths, leave_interrupts_to_the_main_process


@dataclass(frozen=True)
class TrainingData:
    """Cases on each side, and their slices.

    Attributes:
        protocol: how cases are accelerated and scored.
        masks: how masks are drawn.
        split: names of the cases.
        fingerprints: case -> what it is exactly, see :class:`fsmnet.protocols.cases.Slices`; where it is known.
        contrasts: names of target and auxiliary, as far as they are known.
        slices: what is trained on.
        samples: the same, as the network takes them.
        shapes: of each slice what it must have in common with others to share a batch.
        validation: the validation cases, under-sampled.
        heads: of the training cases, see :attr:`fsmnet.checkpoint.Header.heads`.
    """

    protocol: Protocol[Any]
    masks: MaskRecipe
    split: Split
    fingerprints: dict[str, str]
    contrasts: dict[str, str]
    slices: TrainingSlices
    samples: Dataset[Any]
    shapes: list[tuple[int, ...]]
    validation: list[Accelerated]
    heads: str


def read_data(config: TrainConfig, earlier: Split | None, before: Split | None = None) -> TrainingData:
    """Find the cases and prepare their slices; makes the output folder once the cases are known to be there.

    Args:
        config: options of the run.
        earlier: the split of the run which is continued; None for a new run.
        before: the split that the initial weights were trained with, if they were.

    Raises:
        UserError: data that cannot be used.
    """
    protocol = protocol_of(config)
    masks = protocol.training_recipe(config)
    cases = {case.case: case for case in protocol.named_cases(config, config.out, config.cases)}
    patients = protocol.patients([*cases.values()], config)
    split = _split(config, protocol, cases, patients, earlier, before)
    _check_split(config, split, cases)
    make_folder(config.out)
    cache = (config.cache_folder or config.out / "cache") if config.cache == "disk" else None
    chosen = [cases[name] for name in split.train]
    slices = protocol.training_slices(
        chosen, masks, seed=config.seed, augment=config.augment, resample=config.resample, cache=cache
    )
    samples: Dataset[Any] = slices
    shapes = [slices.shape(case) for case in range(len(chosen))]
    if takes_acquisition(model_class(config.model)):
        samples = MeasuredSlices(slices, seed=config.seed, strip=config.strip, blank=config.blank_auxiliary)
        shapes = [slices.measured_shape(case, config.strip) for case in range(len(chosen))]
    most = max(1, config.validate_slices // max(1, len(split.validation))) if config.validate_slices else None
    validation = [
        protocol.accelerate(cases[name], masks, resample=config.resample, cache=cache, most=most)
        for name in split.validation
    ]
    read = [*zip(split.train, slices.contents, strict=False)]  # a protocol from outside may tell none
    read += [(name, case.slices.content) for name, case in zip(split.validation, validation, strict=True)]
    split = replace(split, contents=split.contents | {name: content for name, content in read if content})
    known = [*zip(split.train, slices.fingerprints, strict=False)]
    known += [(name, case.slices.fingerprint) for name, case in zip(split.validation, validation, strict=True)]
    return TrainingData(
        protocol,
        masks,
        split,
        {name: fingerprint for name, fingerprint in known if fingerprint},
        protocol.contrasts(config, chosen),
        slices,
        samples,
        [shapes[case] for case, _ in slices.places],
        validation,
        slices.heads(),
    )


def _split(
    config: TrainConfig,
    protocol: Protocol[Any],
    cases: Mapping[str, Case],
    patients: Mapping[str, str],
    earlier: Split | None,
    before: Split | None,
) -> Split:
    """The split that a file names, or a new one; of a run that is continued its own, which a file must agree with."""
    given = None
    if config.split is not None:
        given = load_split(config.split).with_cases(patients, config.split)
    if earlier is not None:
        if given is not None and (difference := earlier.difference(given)):
            raise UserError(
                f"{config.split}: is another split than that of the run in {config.out}: {difference}; leave it as it "
                "was, or choose another --out"
            )
        return earlier
    made = given or protocol.split([*cases.values()], config, patients).with_cases(patients, "the split")
    made = made if before is None else made.after(before)
    made.warn_of_patients_across(config.split or "the split")
    return made


def _check_split(config: TrainConfig, split: Split, cases: Mapping[str, Case]) -> None:
    if missing := sorted({*split.train, *split.validation} - set(cases)):
        raise UserError(f"{config.data}: the split names cases that are not there: {', '.join(missing)}")
    if not split.train:
        raise UserError("the split has no case to train on")


def batches(
    config: TrainConfig, data: TrainingData, start: int, accelerator: Accelerator
) -> Generator[Sequence[Tensor], None, None]:
    """This process's share of every batch behind step ``start``, without end.

    Yields:
        Normalised zero-filled target, auxiliary and target, ``(B, 1, H, W)`` each; for a k-space network the fields of
        :class:`fsmnet.protocols.slices.MeasuredSample`.

    Raises:
        UserError: a file that cannot be used; from a worker, without the traceback PyTorch puts around the sentence.
            Or a worker that died.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    loader: DataLoader[Any] = DataLoader(
        data.samples,
        batch_sampler=RunSampler(len(data.slices), config.batch, config.seed, start, rank, world, data.shapes),
        num_workers=config.workers,
        worker_init_fn=leave_interrupts_to_the_main_process,
        generator=torch.Generator(),  # else every start of the loader would draw from the weights' generator
        persistent_workers=config.workers > 0,
        pin_memory=accelerator.device.type == "cuda",
    )
    try:
        iterator = iter(loader)
        if not config.workers:
            yield from iterator
        with closing(WorkerDeaths()) as deaths:
            while True:
                with deaths.answered():
                    batch = next(iterator)
                yield batch
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from None
    except (RuntimeError, MemoryError, OSError) as error:
        if not config.workers or not (fault := worker_fault(str(error))):
            raise
        raise UserError(fault) from None


def worker_fault(said: str) -> str:
    """What happened to a data worker, its likely cause and the remedy; empty where an error is about something else.

    Args:
        said: PyTorch's words for it.
    """
    if "Bus error" in said or "shared memory" in said or "shm" in said:
        return (
            "a data worker found no room in shared memory (/dev/shm); make it larger (docker run --shm-size=2g), lower "
            "workers or batch, or set workers to 0"
        )
    if "Too many open files" in said or "ancdata" in said:
        return "the data workers have too many files open; raise the limit (ulimit -n 4096) or lower workers"
    if "MemoryError" in said or "allocate memory" in said:
        return "a data worker ran out of memory; lower workers, or set cache to disk"
    if "killed by signal: Killed" in said:
        return (
            "a data worker was killed from outside (SIGKILL), as the system does when memory runs out; lower workers, "
            "or set cache to disk"
        )
    if "DataLoader worker" in said and ("killed by signal" in said or "exited unexpectedly" in said):
        return f"a data worker ended unexpectedly ({said.splitlines()[0].strip(' .')}); set workers to 0 to see why"
    return ""
