"""Lists of exams."""

from __future__ import annotations

import pytest

from exam_list import SHAPE, Place


@pytest.fixture
def place(tmp_path, write_nifti, smooth, checkpoint_file):
    """Function (number of cases, shape) -> the folder."""

    def make(n_cases: int, shape=SHAPE) -> Place:
        checkpoint = checkpoint_file(tmp_path / "best.safetensors", "mdunet", features=4, levels=2)
        return Place(tmp_path, n_cases, write_nifti, smooth, checkpoint, shape)

    return make
