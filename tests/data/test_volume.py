"""Volumes: which slices show something."""

from __future__ import annotations

import numpy as np

from fsmnet.data.volume import slices_with_content


def test_slices_with_content_by_their_share():
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 0, 0], data[2, 0, :3], data[3] = 1, 1, 1
    assert slices_with_content(data).tolist() == [False, True, True, True]
    assert slices_with_content(data, 0.1).tolist() == [False, False, True, True]  # 3 of 30 are 10%
    assert slices_with_content(data, 0.11).tolist() == [False, False, False, True]
