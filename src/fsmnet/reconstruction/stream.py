"""What becomes of slices that the network is done with, while it computes the next ones."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsmnet.data.formats.nifti import NiftiWriter
from fsmnet.data.head import head_mask
from fsmnet.data.scan import Scan
from fsmnet.data.volume import counted_slices
from fsmnet.errors import warn_of_each
from fsmnet.inference.slices import Batch
from fsmnet.metrics import WINDOW, VolumeScores
from fsmnet.physics.acquisition import with_phase
from fsmnet.reconstruction.measured import Consistency, Measured

logger = logging.getLogger(__name__)


class Finishing:
    """Puts measured lines back at once; scores and packs the slices in a thread beside the network.

    That thread uses NumPy, zlib and SimpleITK, which leave the interpreter free and take one core. PyTorch it leaves
    alone: another team of its threads would wait for the network's at every turn.

    Attributes:
        result: float32 ``(S, H, W)`` in the target's intensities; zero where nothing was reconstructed.
        writer: the same as NIfTI, complete after :meth:`wait`; None for other forms.
        n_below_zero: voxels of the result that were negative and became 0.
        network: time of the network's passes, in seconds.
        consistency: time until the measured lines were put back, in seconds.
        n_scored: slices that the scores are of, see :func:`fsmnet.data.volume.counted_slices`; 0 without a reference.
    """

    def __init__(
        self,
        scan: Measured,
        target: Scan,
        keep: Tensor,
        writer: NiftiWriter | None,
        beside: Callable[[], Any],
        *,
        consistency: Consistency,
        inside: bool = False,
    ) -> None:
        """Nothing happens yet.

        Args:
            scan: what the network gets.
            target: the scan that it was made from.
            keep: bool ``(S,)``, the slices with content.
            writer: see ``writer``.
            beside: other work for the thread, done after the first slices; :meth:`wait` gives its result.
            consistency: what to do with the measured lines, where they are known.
            inside: the network has data consistency inside; its images are complex, of all columns.

        Raises:
            UserError: a reference that nothing can be compared with.
        """
        self.result = np.zeros_like(target.volume.data)
        self.writer = writer
        self.n_below_zero, self.network, self.consistency = 0, 0.0, 0.0
        self._scan, self._numbers, self._maximum = scan, np.flatnonzero(keep.numpy()), target.volume.maximum
        self._consistency, self._inside = consistency if scan.acquisition is not None else None, inside
        names = ("zero_filling", "network", *(() if self._consistency is None else ("consistent",)))
        reference = None if scan.reference is None else scan.reference.numpy()
        if reference is not None and min(reference.shape[-2:]) < WINDOW:
            height, width = reference.shape[-2:]
            warn_of_each(
                logger,
                "%s: slices of %d x %d pixels are too small for SSIM, which looks at %d x %d; not scored",
                *(target.volume.name, height, width, WINDOW, WINDOW),
            )
            reference = None
        self._scores = {}
        self.n_scored = 0
        if reference is not None:
            self._reference, self._counted = reference, counted_slices(target.volume.data)[keep.numpy()]
            self.n_scored = int(self._counted.sum())
            self._scores = {name: VolumeScores(reference, counted=self._counted) for name in names}
        self._residuals: dict[str, list[float]] = {}
        self._complex: list[Tensor] = []
        self._packed = 0  # slices that the writer has
        self._pool = ThreadPoolExecutor(1)
        self._beside, self._jobs = beside, list[Future[Any]]()

    def __enter__(self) -> Finishing:
        """The thread starts with the first slices."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=kind is not None)

    def take(self, batch: Batch) -> None:
        """The next slices of the network."""
        started = time.perf_counter()
        part, image = batch.part, batch.image
        zero_filled = self._scan.zero_filled[part]
        network = image[..., self._scan.place[1]].abs() if self._inside else image
        below, images = network < 0, {"zero_filling": zero_filled.abs(), "network": network.clamp_min(0)}
        if self._consistency is not None:
            image = self._consistent(image, part)
            if not image.is_complex():
                below = image < 0
            images["consistent"] = image.abs() if image.is_complex() else image.clamp_min(0)  # a magnitude
        elif self._inside:
            image = self._consistent(image, part)
        elif zero_filled.is_complex():
            image = with_phase(image, zero_filled)
        if image.is_complex():
            self._complex.append(image)
        self.n_below_zero += int(below.sum())
        self.network += batch.seconds
        self.consistency += time.perf_counter() - started
        if not self._jobs:
            self._jobs += [self._pool.submit(self._beside), self._pool.submit(self._find_head)]
        self._jobs.append(self._pool.submit(self._finish, part, images))

    def wait(self) -> Any:
        """Until everything is done; the result of the other work."""
        self._jobs.append(self._pool.submit(self._pack, len(self.result)))
        first, *_ = [job.result() for job in self._jobs]
        return first

    def complex_image(self) -> Tensor | None:
        """The result from k-space with its phase, complex64 ``(n, H, W)``; None for an image."""
        return torch.cat(self._complex) if self._complex else None

    def metrics(self) -> dict[str, dict[str, float | None]] | None:
        """Scores by name, in the order the images were made; None without a reference, or where one is infinite."""

        def one(scores: VolumeScores) -> dict[str, float | None]:
            found = scores.metrics()._asdict() | {f"head_{k}": v for k, v in scores.masked()._asdict().items()}
            return {name: value if math.isfinite(value) else None for name, value in found.items()}

        return {name: one(scores) for name, scores in self._scores.items()} or None

    def record(self) -> dict[str, Any] | None:
        """What the record says of the measured lines; None if nobody looked at them."""
        residuals = {name: float(np.mean(values)) for name, values in self._residuals.items()}
        if self._consistency is not None:
            return self._scan.describe(self._consistency) | residuals
        return {"Kind": "inside the network"} | residuals if self._inside else None

    def _consistent(self, image: Tensor, part: slice) -> Tensor:
        slices = []
        for number, one in zip(range(part.start, part.stop), image, strict=False):  # the last batch may be smaller
            if self._consistency is not None:
                consistent, residuals = self._scan.put_back(one, number, self._consistency)
            else:
                consistent, residuals = self._scan.residual(one, number)
            slices.append(consistent)
            for name, value in residuals.items():
                self._residuals.setdefault(name, []).append(value)
        return torch.stack(slices)

    def _find_head(self) -> None:
        if self._scores:
            head = np.zeros(self._reference.shape, dtype=bool)
            head[self._counted] = head_mask(self._reference[self._counted])
            for scores in self._scores.values():
                scores.mask = head

    def _finish(self, part: slice, images: dict[str, Tensor]) -> None:
        for name, scores in self._scores.items():
            scores.add(part, images[name].numpy())
        numbers = self._numbers[part]
        self.result[numbers] = list(images.values())[-1].numpy() * np.float32(self._maximum)
        self._pack(numbers[-1] + 1)

    def _pack(self, stop: int) -> None:
        if self.writer is not None:
            self.writer.add(self.result[self._packed : stop])
        self._packed = stop
