"""The picture beside a result: its slice with most content, before and after, and the error where it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fsmnet.data.contrast import spoken
from fsmnet.data.volume import Array
from fsmnet.models.titles import title_of
from fsmnet.pictures.panels import ERROR_SCALE, PERCENTILE, Panel, Picture, content, window
from fsmnet.pictures.view import view_of
from fsmnet.reconstruction.inputs import Inputs
from fsmnet.reconstruction.measured import Measured


def slice_to_show(images: Array) -> int:
    """Index of the slice of ``(n, H, W)`` with most signal: noise is everywhere above zero."""
    return int(np.square(images, dtype=np.float64).sum((1, 2)).argmax())


def contrast_title(inputs: Inputs, role: str) -> str:
    """``T2``, or the role itself where nothing says which contrast it is."""
    facts = inputs.facts.target if role == "target" else inputs.facts.auxiliary
    return spoken(facts.contrast.name) if facts is not None and facts.contrast.name else role


def picture_of(
    inputs: Inputs,
    measured: Measured,
    result: Array,
    numbers: npt.NDArray[np.intp],
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, float | None]] | None,
) -> Picture:
    """One slice of a reconstruction.

    Args:
        inputs: what it was computed from.
        measured: the same as the network got it; ``n`` slices.
        result: ``(S, H, W)`` in the target's intensities.
        numbers: int ``(n,)``, which slices of the volume they are.
        recipe: of the network.
        metrics: the record's scores.
    """
    volume, target = inputs.target.volume, contrast_title(inputs, "target")
    place = slice_to_show(result[numbers])
    number = int(numbers[place])
    zero_filled = np.abs(measured.zero_filled[place].numpy()) * volume.maximum
    reference = None if measured.reference is None else measured.reference[place].numpy() * volume.maximum
    truth = result[number] if reference is None else reference
    rows, columns = content(truth)
    view, top = view_of(volume.affine, volume.placed), window(truth)
    images = {"Zero-filled" if measured.mask is not None else f"{target} as given": zero_filled}
    images[title_of(recipe)] = result[number]
    scores = [None, None] if metrics is None else [metrics["zero_filling"], [*metrics.values()][-1]]
    above: list[Panel | None] = [
        Panel(title, view(image[rows, columns]), top, _caption(score))
        for (title, image), score in zip(images.items(), scores, strict=True)
    ]
    below: list[Panel | None] = []
    if reference is not None:
        above.append(Panel(f"{target}, fully sampled", view(reference[rows, columns]), top))
        maximum = float(reference.max()) or 1.0
        errors = {title: 100 * np.abs(image - reference)[rows, columns] / maximum for title, image in images.items()}
        worst = max(window(error) for error in errors.values())
        below = [Panel(f"|error|, {title}", view(error), worst, "", ERROR_SCALE) for title, error in errors.items()]
    if inputs.auxiliary is not None:
        helper = inputs.auxiliary.data[number][rows, columns]
        above.append(Panel(f"{contrast_title(inputs, 'auxiliary')} (auxiliary)", view(helper), window(helper)))
    plane = f"{view.plane} " if view.plane else ""
    return Picture(
        [above, below] if below else [above],
        view,
        f"{target}, {plane}slice {number} of 0 to {len(result) - 1}",
        None if measured.mask is None else measured.mask.columns,
        (f"grey: 0 to the {PERCENTILE:g}th percentile of the pixels above zero; research software, not clinical",),
    )


def _caption(score: Mapping[str, float | None] | None) -> str:
    """The scores, and of what they are: not of the slice above them."""
    if score is None:
        return ""
    psnr, ssim = score["psnr"], score["ssim"]
    return (
        "volume: "
        + ("identical" if psnr is None else f"{psnr:.2f} dB")
        + ("" if ssim is None else f", SSIM {ssim:.3f}")
    )
