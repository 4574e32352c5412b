"""Writing a figure of Matplotlib's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsmnet.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure in one step; the form is chosen by the name.

    It is drawn in memory, since what Matplotlib's PDF writer says of a full disk is no ``OSError``.

    Args:
        figure: is drawn.
        path: ends in a form that Matplotlib knows, such as ``.pdf``.
        options: of ``Figure.savefig``.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.removeprefix("."), **options)
    with atomic_write(path) as file:
        file.write(drawn.getbuffer())
