"""Writing a figure of Matplotlib's."""

from __future__ import annotations

import pytest

from fsmnet.errors import UserError
from fsmnet.pictures.figures import save_figure
from full_disk import full_disk


class Drawn:
    """A figure, in short. Matplotlib's PDF writer says ``AttributeError`` of a disk that is full in the wrong place."""

    def savefig(self, target, **options):
        assert options == {"format": "pdf", "dpi": 90}
        target.write(bytes(1000))


def test_a_full_disk_is_told_in_words(tmp_path):
    message = r"a\.pdf: cannot be written \(file too large\); free space or"
    with full_disk(500), pytest.raises(UserError, match=message):
        save_figure(Drawn(), tmp_path / "a.pdf", dpi=90)
    assert list(tmp_path.iterdir()) == []
    save_figure(Drawn(), tmp_path / "a.pdf", dpi=90)
    assert (tmp_path / "a.pdf").stat().st_size == 1000
