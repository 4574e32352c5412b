"""Reconstruct one scan, image or k-space: two files in, one out in the same place, and a record of how it was made."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fsmnet.errors import UserError
from fsmnet.options import build
from fsmnet.reconstruction.again import Check
from fsmnet.reconstruction.inputs import Inputs, alone_at, read_inputs
from fsmnet.reconstruction.options import ReconstructConfig
from fsmnet.reconstruction.stages import Reconstruction, compute, load_network, write


def reconstruct(
    target: str | Path | None = None,
    auxiliary: str | Path | None = None,
    out: str | Path | None = None,
    *,
    kspace: str | Path | None = None,
    **options: Any,
) -> Reconstruction:
    """Reconstruct a target with the help of a fully sampled auxiliary, without the checks of :mod:`fsmnet.trust`.

    :func:`fsmnet.reconstruct` makes them too, as ``fsmnet reconstruct`` does.

    Args:
        target: file or DICOM folder of the contrast to reconstruct.
        auxiliary: file or DICOM folder of the fully sampled contrast on the same grid.
        out: result, ``.nii.gz``, or a new folder for DICOM; the mask (``_mask.npz``) and a JSON record are written
            beside it.
        kspace: measured k-space instead of a target, see :func:`fsmnet.read_kspace`.
        options: the other fields of :class:`fsmnet.reconstruction.options.ReconstructConfig`, e.g. ``checkpoint``.

    Raises:
        UserError: files or options that cannot be used.
    """
    return run(configured({"target": target, "auxiliary": auxiliary, "out": out, "kspace": kspace} | options))


def configured(values: dict[str, Any]) -> ReconstructConfig:
    """A configuration from what :func:`reconstruct` was given, by name.

    Raises:
        UserError: no result is named, or options that cannot be used.
    """
    if values["out"] is None:
        raise UserError("out is missing; name the result")
    return build(ReconstructConfig, values)


def run(config: ReconstructConfig, trust: Check | None = None) -> Reconstruction:
    """Reconstruct as configured: read, compute, write.

    Args:
        config: the options.
        trust: checks the reconstruction; its answer goes into the record.
    """
    with alone_at(config), ThreadPoolExecutor(1) as beside:  # the files are decompressed while the network is loaded
        return finish(config, beside.submit(read_inputs, config), trust)


def finish(config: ReconstructConfig, reading: Future[Inputs], trust: Check | None = None) -> Reconstruction:
    """The rest of :func:`run`, once the files are being read."""
    network = load_network(config)
    return write(compute(reading.result(), network, progress="reconstructing", trust=trust))
