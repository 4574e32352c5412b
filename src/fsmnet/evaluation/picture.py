"""One slice by several methods, as it is shown and as it is kept for a figure or a page that is made later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fsmnet.errors import NOT_CLINICAL, UserError
from fsmnet.files import atomic_write, json_text, open_numpy, parse_json
from fsmnet.pictures.panels import ERROR_SCALE, PERCENTILE, Panel, Picture, content, window
from fsmnet.pictures.view import View, view_of

Image = npt.NDArray[np.floating]
ARRAYS = ("reference", "auxiliary", "images", "columns", "affine", "about")


@dataclass(frozen=True)
class Shown:
    """A slice of a case that was scored.

    Attributes:
        reference: fully sampled, ``(H, W)``.
        auxiliary: the other contrast, ``(H, W)``.
        images: method, in a name that people know -> its slice, on the reference's scale.
        captions: method -> a second line under its name, e.g. its PSNR.
        title: what it is.
        contrasts: names of target and auxiliary.
        columns: the mask, bool ``(W,)``; None for none.
        affine: of the volume; None where it is not placed.
    """

    reference: Image
    auxiliary: Image
    images: Mapping[str, Image]
    captions: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    contrasts: tuple[str, str] = ("target", "auxiliary")
    columns: npt.NDArray[np.bool_] | None = None
    affine: npt.NDArray[np.float64] | None = None

    @property
    def view(self) -> View:
        """How it lies for the eye."""
        return view_of(self.affine)

    def errors(self) -> dict[str, Image]:
        """By method ``|image - reference|``, in percent of the reference's maximum."""
        maximum = float(self.reference.max()) or 1.0
        return {name: 100 * np.abs(image - self.reference) / maximum for name, image in self.images.items()}


def worst_window(errors: Mapping[str, Image]) -> float:
    """One scale for several maps: the worst's percentile, so that a few pixels do not hide everything else."""
    return max(window(error) if error.any() else 0.0 for error in errors.values()) or 1.0


def picture_of(shown: Shown) -> Picture:
    """Reference and reconstructions above; auxiliary and error maps, on one scale, below."""
    rows, columns = content(shown.reference)
    view, top, errors = shown.view, window(shown.reference), shown.errors()

    def cut(image: Image) -> Image:
        return view(image[rows, columns])

    worst = worst_window(errors)
    above = [Panel(f"{shown.contrasts[0]}, fully sampled", cut(shown.reference), top)]
    above += [Panel(name, cut(image), top, shown.captions.get(name, "")) for name, image in shown.images.items()]
    below = [Panel(f"{shown.contrasts[1]} (auxiliary)", cut(shown.auxiliary), window(shown.auxiliary[rows, columns]))]
    below += [Panel("|error|", cut(error), worst, "", ERROR_SCALE) for error in errors.values()]
    note = f"grey: 0 to the {PERCENTILE:g}th percentile of the pixels above zero; {NOT_CLINICAL}"
    return Picture([above, below], view, shown.title, shown.columns, (note,))


def save_shown(shown: Shown, path: Path) -> None:
    """Keep a slice as ``.npz``."""
    about = {"names": list(shown.images), "captions": dict(shown.captions), "title": shown.title}
    arrays = {
        "reference": shown.reference,
        "auxiliary": shown.auxiliary,
        "images": np.stack([*shown.images.values()]),
        "columns": np.zeros(0, bool) if shown.columns is None else shown.columns,
        "affine": np.zeros((0, 0)) if shown.affine is None else shown.affine,
        "about": np.frombuffer(json_text(about | {"contrasts": shown.contrasts}).encode(), np.uint8),
    }
    with atomic_write(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_shown(path: Path) -> Shown:
    """What :func:`save_shown` kept.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    file = open_numpy(path)
    try:
        if not {*ARRAYS} <= {*file.names}:
            raise KeyError
        reference, auxiliary, images, columns, affine, about = (file.read(name) for name in ARRAYS)
        told = parse_json(about.tobytes().decode())
        return Shown(
            reference,
            auxiliary,
            {str(name): image for name, image in zip(told["names"], images, strict=True)},
            {str(name): str(text) for name, text in told["captions"].items()},
            str(told["title"]),
            (str(told["contrasts"][0]), str(told["contrasts"][1])),
            columns if columns.size else None,
            affine if affine.size else None,
        )
    except (KeyError, IndexError, TypeError, ValueError, json.JSONDecodeError):
        raise UserError(f"{path}: is not the slice of an evaluation; run 'fsmnet evaluate' again") from None
