"""Pairs by content: the right ones among forty knees, doubt where there is no right one, never across folders."""

from __future__ import annotations

import csv
import logging

import h5py
import numpy as np
import pytest
import torch
from scipy import ndimage

import golden
from fastmri_tree import SIGNALS, knee, write_volume
from fsmnet.data.formats import read_volume
from fsmnet.data.formats.fastmri import FastMRIFile, read_fastmri
from fsmnet.data.pairing import content as match
from fsmnet.data.pairing.content import edge_features, match_volumes, write_pairs
from fsmnet.data.pairing.names import find_pairs
from fsmnet.errors import UserError
from fsmnet.transforms import center_fit

SIZE, SLICES = 64, 18
PD, FS = SIGNALS


def scan(path, subject: int, acquisition: str, seed: int, size: int = SIZE, slices: int = SLICES) -> FastMRIFile:
    """A volume with up to four slices less, shifted by up to 3% of the field of view, with noise."""
    rng = np.random.default_rng((seed, subject))
    first, last = rng.integers(0, 3), slices - rng.integers(0, 3)
    images = knee(subject, acquisition, size, slices)[first:last]
    images = ndimage.shift(images, (0, *rng.uniform(-0.03, 0.03, 2) * size), order=1, mode="nearest")
    sides = {"rows": size, "columns": size, "recon": size}
    write_volume(path, images, acquisition=acquisition, noise=0.02, seed=1000 * seed + subject, **sides)
    return read_fastmri(path)


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """PD and FS volumes of forty subjects; nothing about the names or their order tells the subject."""
    folder = tmp_path_factory.mktemp("tree") / "singlecoil_train"
    order = np.random.default_rng(0).permutation(80)
    volumes = {
        (subject, k): scan(folder / f"file{1000000 + order[2 * subject + k]}.h5", subject, acquisition, k)
        for subject in range(40)
        for k, acquisition in enumerate((PD, FS))
    }
    pd, fs = ([volumes[subject, k] for subject in range(40)] for k in (0, 1))
    return pd, fs, {volume.path: subject for (subject, _), volume in volumes.items()}


def test_forty_knees_find_their_other_contrast(knees, monkeypatch):
    pd, fs, subject = knees
    compared = []
    similarity = match._similarity
    monkeypatch.setattr(match, "_similarity", lambda a, b: (compared.append(1), similarity(a, b))[1])
    matches = match_volumes(pd, fs)
    wrong = [m for m in matches if subject[m.auxiliary.path] != subject[m.target.path]]
    assert len(wrong) <= 1
    assert all(m.doubtful for m in wrong)
    assert sum(m.doubtful for m in matches) <= 4
    assert len({m.auxiliary.path for m in matches}) == len({m.target.path for m in matches}) == 40
    assert {m.auxiliary.slices for m in matches} >= {SLICES - 3, SLICES - 2}  # they were not all of one length
    assert len(compared) <= 2 * match.CANDIDATES * 40  # of 1600


def test_volumes_without_a_partner_are_doubtful(knees):
    pd, fs, subject = knees
    matches = match_volumes(pd[:10], fs[3:12])
    right = [m for m in matches if subject[m.auxiliary.path] == subject[m.target.path]]
    wrong = [m for m in matches if m not in right]
    assert len(matches) == 9
    assert len(right) == 7
    assert len(wrong) == 2  # their PD volumes are not there
    assert all(m.doubtful for m in wrong)


def test_the_order_of_the_files_does_not_matter(knees):
    pd, fs, _ = knees
    first, second = match_volumes(pd[:5], fs[:5]), match_volumes(pd[4::-1], fs[4::-1])
    assert [(m.auxiliary, m.target) for m in first] == [(m.auxiliary, m.target) for m in second]
    np.testing.assert_allclose([m.margin for m in first], [m.margin for m in second], atol=1e-5)


def test_no_pair_across_splits(tmp_path, caplog):
    pd = [scan(tmp_path / "singlecoil_train" / "a.h5", 0, PD, 0), scan(tmp_path / "singlecoil_val" / "b.h5", 1, PD, 0)]
    fs = [scan(tmp_path / "singlecoil_train" / "c.h5", 1, FS, 1), scan(tmp_path / "singlecoil_val" / "d.h5", 0, FS, 1)]
    matches = match_volumes(pd, fs)
    assert [(m.auxiliary.folder, m.target.folder) for m in matches] == [
        ("singlecoil_train",) * 2,
        ("singlecoil_val",) * 2,
    ]
    with caplog.at_level(logging.WARNING):
        assert len(match_volumes(pd[:1], fs)) == 1
    assert "singlecoil_val: holds only one of the two contrasts" in caplog.text
    with pytest.raises(UserError, match="no folder holds volumes of both contrasts"):
        match_volumes(pd[:1], fs[1:])


def test_a_volume_that_cannot_be_read_is_left_out(tmp_path, caplog):
    pd, fs = ([scan(tmp_path / "t" / f"{a}{n}.h5", n, a, k) for n in (0, 1)] for k, a in enumerate((PD, FS)))
    with h5py.File(fs[1].path, "a") as file:
        file["reconstruction_esc"][:] = np.nan
    fs[1] = read_fastmri(fs[1].path)
    with caplog.at_level(logging.WARNING):
        (found,) = match_volumes(pd, fs)
    assert (found.auxiliary, found.target) == (pd[0], fs[0])
    assert f"left out: {fs[1].path}: reconstruction_esc of slice" in caplog.text
    with pytest.raises(UserError, match="no folder holds volumes of both contrasts"):
        match_volumes(pd, fs[1:])


def test_a_list_is_minets_with_more_columns(tmp_path):
    pd, fs = scan(tmp_path / "t" / "file1.h5", 0, PD, 0), scan(tmp_path / "t" / "file2.h5", 0, FS, 1)
    pairs = match_volumes([pd], [fs])
    write_pairs(pairs, tmp_path / "pairs.csv")
    (row,) = csv.reader((tmp_path / "pairs.csv").read_text().splitlines())
    assert row[:2] == ["file1", "file2"]
    assert float(row[2]) == pytest.approx(1 - pairs[0].score, abs=1e-4)
    assert row[3:5] == ["inf", "t"]
    assert row[5] == ("" if pd.slices == fs.slices else f"{pd.slices} and {fs.slices} slices")


def test_features_do_not_see_whether_an_edge_rises_or_falls():
    image = knee(0, PD, 96, 3)[1]
    features = edge_features(image)
    assert features.shape == (3, 64, 64)
    np.testing.assert_allclose(edge_features(image.max() - image), features, atol=1e-4)
    np.testing.assert_allclose(edge_features(7 * image), features, atol=1e-4)


def test_features_turn_with_the_image():
    image = knee(0, PD, 64, 3)[1]
    square, difference, product = edge_features(image)
    turned = edge_features(image.T)
    np.testing.assert_allclose(turned, [square.T, -difference.T, product.T], atol=1e-5)


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_short_volumes_can_be_compared(tmp_path, slices):
    files = []
    for name, acquisition in (("a.h5", PD), ("b.h5", FS)):
        images = knee(0, acquisition, 32, 5)[:slices]
        files.append(read_fastmri(write_volume(tmp_path / name, images, rows=32, columns=32, recon=32)))
    (found,) = match_volumes(files[:1], files[1:])
    assert 0.2 < found.score <= 1
    assert found.margin == np.inf


SCANS = golden.SHARED / "data" / "volumes"


@pytest.mark.skipif(not SCANS.is_dir(), reason="the real scans (../shared/data) are not here")
def test_real_scans_find_their_other_contrast(tmp_path):
    sides: list[list[FastMRIFile]] = [[], []]
    for number, pair in enumerate(find_pairs(SCANS, "t2", "t1")):
        for k, path in enumerate((pair.auxiliary, pair.target)):
            images = center_fit(torch.from_numpy(read_volume(path).data[::20]), 240, 240).numpy()
            name = tmp_path / "t" / f"file{3 * number % 7 + 10 * k}.h5"
            write_volume(name, images, acquisition=(PD, FS)[k], rows=240, columns=240, recon=240, seed=2 * number + k)
            sides[k].append(read_fastmri(name))
    right = {(a.path, t.path) for a, t in zip(*sides, strict=True)}
    matches = match_volumes(*sides)
    assert len(right) == len(sides[0]) >= 5
    assert {(m.auxiliary.path, m.target.path) for m in matches} == right
    assert not any(m.doubtful for m in matches)
