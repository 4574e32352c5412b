"""Volumes: which slices show something."""

from __future__ import annotations

import numpy as np

from fsmnet.data.volume import content_hash, slices_with_content


def test_slices_with_content_by_their_share():
    data = np.zeros((4, 5, 6), np.float32)
    data[1, 0, 0], data[2, 0, :3], data[3] = 1, 1, 1
    assert slices_with_content(data).tolist() == [False, True, True, True]
    assert slices_with_content(data, 0.1).tolist() == [False, False, True, True]  # 3 of 30 are 10%
    assert slices_with_content(data, 0.11).tolist() == [False, False, False, True]


def test_a_volume_is_known_by_its_voxels_whatever_their_order():
    data = np.random.default_rng(0).random((4, 20, 30)).astype(np.float32)
    data[0, :5] = 0
    known = content_hash(data)
    assert len(known) == 32
    assert content_hash(data[::-1].swapaxes(1, 2).copy()) == known
    assert content_hash(np.pad(data, ((1, 0), (0, 3), (2, 2)))) == known
    changed = data.copy()
    changed[2, 3, 4] = np.nextafter(changed[2, 3, 4], np.float32(2))
    assert content_hash(changed) != known
    assert content_hash(data[:3]) != known
