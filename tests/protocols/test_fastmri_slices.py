"""The knee's protocol, number for number, from formulas written down here with NumPy alone."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from fastmri_tree import centred, fft2c, ifft2c, knee, write_volume
from fsmnet.data.formats.fastmri import read_fastmri
from fsmnet.data.pairing.fastmri_lists import FastMRIPair
from fsmnet.physics.masks import MaskRecipe, mixed_mask
from fsmnet.protocols.fastmri_slices import FastMRISlices, accelerate_fastmri, consistent_slice, zero_filled_slice

AT_4X = MaskRecipe("random", 4.0, 0.08, "name")
SMALL = {"rows": 48, "columns": 40, "recon": 32}


def open_pair(folder, size=32, slices=(3, 2), **options) -> FastMRIPair:
    files = []
    for name, acquisition, count in zip(
        ("file1000323.h5", "file1000017.h5"), ("CORPDFS_FBK", "CORPD_FBK"), slices, strict=True
    ):
        path = write_volume(
            folder / name, knee(1, acquisition, size, count), acquisition=acquisition, seed=count, **options
        )
        files.append(read_fastmri(path))
    return FastMRIPair("file1000323", *files)


def columns_by_hand(seed, width: int, acceleration: float, centre: float) -> np.ndarray:
    """fastMRI's random mask, steps 1 to 3 of the specification."""
    state = np.random.RandomState(seed)
    state.randint(0, 1)
    low = round(centre * width)
    kept = state.uniform(size=width) < (width / acceleration - low) / (width - low)
    first = (width - low + 1) // 2
    kept[first : first + low] = True
    return kept


def zero_filled_by_hand(path, index: int, kept: np.ndarray, size: int) -> np.ndarray:
    with h5py.File(path, locking=False) as file:
        kspace = file["kspace"][index].astype(np.complex128) * kept
    return centred(np.abs(ifft2c(kspace)), size, size)


def normalised_by_hand(image: np.ndarray, statistics: np.ndarray) -> np.ndarray:
    return np.clip((image - statistics.mean()) / statistics.std(ddof=1), -6, 6)


def test_the_protocol_by_hand_in_full_size(tmp_path):
    pair = open_pair(tmp_path, size=96, slices=(2, 2))
    data = accelerate_fastmri(pair, AT_4X)
    names = [file.name for file in (pair.target, pair.auxiliary)]
    kept = [columns_by_hand(tuple(map(ord, name)), 368, 4, 0.08) for name in names]
    # From the specification: this very file name's first and last columns.
    assert kept[0].sum() == 79
    assert np.flatnonzero(kept[0])[:8].tolist() == [1, 6, 10, 18, 21, 28, 29, 30]
    assert np.flatnonzero(kept[0])[-5:].tolist() == [332, 334, 337, 356, 360]
    np.testing.assert_array_equal(data.mask.columns, kept[0])
    assert data.slices.numbers == [0, 1]
    for index in (0, 1):
        zero_filled = zero_filled_by_hand(pair.target.path, index, kept[0], 320)
        masked = zero_filled_by_hand(pair.auxiliary.path, index, kept[1], 320)
        np.testing.assert_allclose(data.zero_filled[index], zero_filled, rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(data.auxiliary_zero_filled[index], masked, rtol=1e-4, atol=1e-9)
        with h5py.File(pair.target.path, locking=False) as file:
            np.testing.assert_array_equal(data.slices.target[index], file["reconstruction_esc"][index])
        with h5py.File(pair.auxiliary.path, locking=False) as file:
            np.testing.assert_array_equal(data.slices.auxiliary[index], file["reconstruction_esc"][index])


def test_a_training_sample_by_hand(tmp_path):
    pair = open_pair(tmp_path, **SMALL)
    data = FastMRISlices([pair], AT_4X, seed=7)
    assert len(data) == 2  # as many as the shorter volume has
    assert data.sizes == {(32, 32)}
    sample = data[11, 1]
    kept = [columns_by_hand([7, 11, which], 40, 4, 0.08) for which in (0, 1)]
    zero_filled = zero_filled_by_hand(pair.target.path, 1, kept[0], 32)
    masked = zero_filled_by_hand(pair.auxiliary.path, 1, kept[1], 32)
    with h5py.File(pair.target.path, locking=False) as file, h5py.File(pair.auxiliary.path, locking=False) as helper:
        target, auxiliary = (f["reconstruction_esc"][1].astype(float) for f in (file, helper))
    expected = (
        normalised_by_hand(zero_filled, zero_filled),
        normalised_by_hand(auxiliary, masked),
        normalised_by_hand(target, zero_filled),
    )
    for image, reference in zip(sample, expected, strict=True):
        assert image.shape == (1, 32, 32)
        assert image.dtype == torch.float32
        np.testing.assert_allclose(image[0], reference, rtol=1e-4, atol=1e-4)
    assert float(sample.target.max()) <= 6


def test_training_masks_follow_from_seed_and_position(tmp_path):
    pair = open_pair(tmp_path, **SMALL)
    data, again, other = (FastMRISlices([pair], AT_4X, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(data[3, 0], again[3, 0], strict=True))
    assert not torch.equal(data[3, 0].zero_filled, data[4, 0].zero_filled)
    assert not torch.equal(data[3, 0].zero_filled, other[3, 0].zero_filled)


def test_mixed_accelerations_are_drawn_per_sample(tmp_path):
    pair = open_pair(tmp_path, **SMALL)
    choices = ((4.0, 0.08), (8.0, 0.04))
    data = FastMRISlices([pair], MaskRecipe("random", 4.0, 0.08, "name", choices), seed=0)
    masks = [data._mask(pair.target, position, 0) for position in range(40)]
    expected = [mixed_mask("random", 40, choices, (0, position, 0)).columns for position in range(40)]
    assert all(np.array_equal(a, b) for a, b in zip(masks, expected, strict=True))
    assert len({drawn.tobytes() for drawn in expected}) > 30
    by_hand = []
    for position in range(40):
        state = np.random.RandomState([0, position, 0])
        acceleration, centre = choices[state.randint(0, 2)]
        low = round(centre * 40)
        kept = state.uniform(size=40) < (40 / acceleration - low) / (40 - low)
        kept[(40 - low + 1) // 2 : (40 - low + 1) // 2 + low] = True
        by_hand.append(kept)
    np.testing.assert_array_equal(expected, by_hand)


def test_a_fixed_seed_gives_every_sample_the_same_mask(tmp_path):
    pair = open_pair(tmp_path, **SMALL)
    data = FastMRISlices([pair], MaskRecipe("random", 4.0, 0.08, 1337), seed=0)
    assert torch.equal(data[0, 0].zero_filled, data[9, 0].zero_filled)
    np.testing.assert_array_equal(data.example_mask().columns, columns_by_hand(1337, 40, 4, 0.08))


def test_several_coils_are_combined_by_the_root_of_their_squares(tmp_path):
    pair = open_pair(tmp_path, coils=3, **SMALL)
    everything = MaskRecipe("random", 4.0, 0.08, "name").draw(40, pair.target.name).columns
    with h5py.File(pair.target.path, locking=False) as file:
        coils = ifft2c(file["kspace"][0].astype(np.complex128) * everything)
        reference = file["reconstruction_rss"][0]
    expected = centred(np.sqrt((np.abs(coils) ** 2).sum(0)), 32, 32)
    data = accelerate_fastmri(pair, AT_4X)
    np.testing.assert_allclose(data.zero_filled[0], expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(data.slices.target[0], reference)
    full = zero_filled_slice(pair.target, 0, torch.ones(40, dtype=torch.bool), (32, 32))
    np.testing.assert_allclose(full, reference, rtol=1e-4, atol=1e-9)


def test_chosen_slices_only(tmp_path):
    pair = open_pair(tmp_path, **SMALL)
    every, one = accelerate_fastmri(pair, AT_4X), accelerate_fastmri(pair, AT_4X, [1])
    assert one.slices.numbers == [1]
    assert torch.equal(one.zero_filled[0], every.zero_filled[1])


def test_a_volume_narrower_than_the_crop(tmp_path):
    files = []
    for name, columns in (("a.h5", 26), ("b.h5", 40)):
        images = knee(0, "CORPD_FBK", 26, 2)
        files.append(read_fastmri(write_volume(tmp_path / name, images, rows=48, columns=columns, recon=32)))
    pair = FastMRIPair("a", *files)
    assert pair.size == (32, 26)
    data = accelerate_fastmri(pair, AT_4X)
    assert data.slices.target.shape == data.slices.auxiliary.shape == data.zero_filled.shape == (2, 32, 26)
    with h5py.File(files[1].path, locking=False) as file:
        np.testing.assert_array_equal(data.slices.auxiliary[0], file["reconstruction_esc"][0][:, 3:29])


@pytest.mark.parametrize("seed", ["name", 3])
def test_another_folder_changes_nothing(tmp_path, seed):
    recipe = MaskRecipe("random", 4.0, 0.08, seed)
    first = accelerate_fastmri(open_pair(tmp_path / "here", **SMALL), recipe)
    second = accelerate_fastmri(open_pair(tmp_path / "there" / "deeper", **SMALL), recipe)
    np.testing.assert_array_equal(first.mask.columns, second.mask.columns)
    assert torch.equal(first.zero_filled, second.zero_filled)
    assert torch.equal(first.auxiliary_zero_filled, second.auxiliary_zero_filled)


def test_the_measured_lines_come_back_by_hand(tmp_path):
    pair = open_pair(tmp_path, **SMALL)
    kept = columns_by_hand(1, 40, 4, 0.08)
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32) * 3e-4
    with h5py.File(pair.target.path, locking=False) as file:
        measured = file["kspace"][0].astype(np.complex128) * kept
    around = ifft2c(measured)
    full = around.copy()
    middle = centred(full, 32, 32)
    middle[:] = image * np.exp(1j * np.angle(middle))
    replaced = np.where(kept, measured, fft2c(full))
    result = consistent_slice(pair.target, 0, torch.from_numpy(kept), torch.from_numpy(image))
    np.testing.assert_allclose(result, centred(np.abs(ifft2c(replaced)), 32, 32), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("coils", [0, 3])
def test_consistency_improves_an_image_and_keeps_the_truth(tmp_path, coils):
    pair = open_pair(tmp_path, coils=coils, noise=1e-4, **SMALL)
    mask = torch.from_numpy(columns_by_hand(1, 40, 4, 0.15))
    truth = torch.from_numpy(pair.target.target(1))
    wrong = truth * torch.linspace(0.8, 1.2, 32)
    zero_filled = zero_filled_slice(pair.target, 1, mask, (32, 32))
    everything = torch.ones(40, dtype=torch.bool)

    def error(image):
        return float((image - truth).norm() / truth.norm())

    better = error(consistent_slice(pair.target, 1, mask, wrong))
    assert better < 0.8 * error(wrong)
    assert better < error(zero_filled)
    assert error(consistent_slice(pair.target, 1, everything, wrong)) < 1e-5


def test_what_must_be_alike_in_a_batch_of_k_space(tmp_path):
    """Files of one image size may differ in lines, which only a network that takes them minds."""
    pairs = [open_pair(tmp_path / name, **SMALL | {"columns": columns}) for name, columns in (("a", 40), ("b", 44))]
    data = FastMRISlices(pairs, AT_4X)
    assert data.shape(0) == data.shape(1) == (32, 32)
    for strip in (None, 8):
        first, second = (data.measured_shape(case, strip) for case in (0, 1))
        assert first != second
        assert (48 in first) is (strip is None)
