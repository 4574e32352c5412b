"""Training slices: prepared once, the same for the same position, wherever and however often they are asked for."""

from __future__ import annotations

import os
from itertools import islice, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fsmnet.data.pairing.names import Pair, find_pairs, load_pair
from fsmnet.errors import UserError
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols import volumes as datasets
from fsmnet.protocols.brats import BRATS, brats_mask
from fsmnet.protocols.float import FLOAT
from fsmnet.protocols.slices import RunSampler
from fsmnet.protocols.volumes import SlicePairs, prepared_slices

FIXED = MaskRecipe("random", 4.0, 0.10, 1337)
BY_NAME = MaskRecipe("random", 4.0, 0.08, "name")


@pytest.fixture
def pairs(brats_folder) -> list[Pair]:
    return find_pairs(brats_folder, "t2", "t1")


@pytest.fixture
def no_reading(monkeypatch):
    """Function after which a file that is decompressed again fails the test."""

    def refuse(*_):
        pytest.fail("a volume was read again")

    return lambda: monkeypatch.setattr("fsmnet.data.pairing.names.read_volume", refuse)


def equal(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --- samples ---------------------------------------------------------------------------------------------------------


def normalised(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.clip((image - like.mean()) / like.std(), -6, 6)


def by_the_protocol(target: np.ndarray, auxiliary: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a network is given of two 8-bit slices: zero-filled, auxiliary and full target, normalised."""
    full, helper = target / 255, auxiliary / 255
    kspace = np.fft.fftshift(np.fft.fft2(full)) * brats_mask(4).columns
    magnitude = np.abs(np.fft.ifft2(np.fft.ifftshift(kspace)))
    zero_filled = np.floor(255 * np.clip(magnitude, 0, 1)) / 255
    return normalised(zero_filled, zero_filled), normalised(helper, helper), normalised(full, zero_filled)


def assert_sample(sample, expected) -> None:
    for image, reference in zip(sample, expected, strict=True):
        assert image.shape == (1, 240, 240)
        assert image.dtype == torch.float32
        np.testing.assert_allclose(image[0].numpy(), reference, atol=1e-4)


def test_a_sample_is_the_protocol_step_by_step(pairs):
    data = SlicePairs(pairs, BRATS, FIXED, augment=False)
    assert len(data) == 4 + 5 + 6
    assert data.sizes == {(240, 240)}
    slices = BRATS.prepare(*load_pair(pairs[1].target, pairs[1].auxiliary))
    # Slice 5 of the data set is slice 1 of the second case.
    assert_sample(data[0, 5], by_the_protocol(slices.target[1].numpy(), slices.auxiliary[1].numpy()))


def window(padded: np.ndarray, row: int, column: int) -> np.ndarray:
    return padded[row : row + 240, column : column + 240]


def test_shifting_comes_before_undersampling_and_keeps_both_contrasts_together(pairs):
    data = SlicePairs(pairs[:1], BRATS, FIXED)
    case = data.cases[0]
    target, auxiliary = (np.pad(images[0].numpy(), 8, mode="reflect") for images in (case.target, case.auxiliary))
    choices = {place: window(auxiliary / 255, *place) for place in product(range(17), repeat=2)}
    places = []
    for position in (0, 1):
        sample = data[position, 0]
        helper = sample.auxiliary[0].numpy()
        (place,) = (p for p, choice in choices.items() if np.allclose(helper, normalised(choice, choice), atol=1e-3))
        assert_sample(sample, by_the_protocol(window(target, *place), window(auxiliary, *place)))
        places.append(place)
    assert places[0] != places[1]


def test_a_sample_follows_from_its_position_alone(pairs):
    first, again = (SlicePairs(pairs, BRATS, FIXED, seed=3) for _ in range(2))
    keys = [(7, 2), (0, 0), (7, 3), (8, 2)]
    samples = {key: first[key] for key in keys}
    for key in reversed(keys):
        assert equal(samples[key], again[key])
    assert not equal(samples[7, 2], samples[8, 2])  # another shift of the same slice
    assert not equal(samples[7, 2], SlicePairs(pairs, BRATS, FIXED, seed=4)[7, 2])
    plain = SlicePairs(pairs, BRATS, FIXED, augment=False)
    assert equal(plain[7, 2], plain[8, 2])


def test_masks_by_name_are_new_for_every_position(pairs):
    data = SlicePairs(pairs, FLOAT, BY_NAME, augment=False)
    assert data.sizes == {(84, 80)}
    images = [data[position, 0].zero_filled for position in range(4)]
    assert len({image.numpy().tobytes() for image in images}) == 4
    assert torch.equal(data[2, 0].zero_filled, images[2])
    # In the float protocol with one seed the mask stays.
    fixed = SlicePairs(pairs, FLOAT, MaskRecipe("random", 4.0, 0.08, 5), augment=False)
    assert equal(fixed[0, 0], fixed[1, 0])


def test_sizes_of_all_cases_are_told(tmp_path, write_nifti, smooth):
    pairs = []
    for name, shape in (("a", (20, 24, 3)), ("b", (20, 24, 2)), ("c", (22, 24, 2))):
        files = [write_nifti(tmp_path / f"{name}_t{seed}.nii.gz", smooth(seed, shape)) for seed in (2, 1)]
        pairs.append(Pair(name, *files))
    data = SlicePairs(pairs, FLOAT, BY_NAME)
    assert data.sizes == {(20, 24), (22, 24)}
    assert len(data) == 7
    assert data[0, 6].target.shape == (1, 22, 24)


def test_workers_give_the_same_samples(pairs):
    data = SlicePairs(pairs[:1], BRATS, FIXED)
    keys = [[(0, 1), (1, 0)], [(2, 2), (3, 1)]]
    alone, shared = (list(DataLoader(data, batch_sampler=keys, num_workers=workers)) for workers in (0, 1))
    assert all(equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert alone[0][0].shape == (2, 1, 240, 240)


def test_a_plain_loader_shuffles_slices_and_finds_their_end(pairs):
    data = BRATS.training_slices(pairs[:2], FIXED)
    loader = DataLoader(data, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(0))
    assert [len(batch.target) for batch in loader] == [4, 4, 1]
    assert all(equal(data[index], data[index, index]) for index in (0, 5))  # always the same augmentation
    assert len([*data]) == len(data) == 9
    with pytest.raises(IndexError, match="there is no slice 9; slices are 0 to 8"):
        data[0, 9]


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [BRATS, FLOAT])
def test_the_disk_cache_equals_memory_and_is_read_without_decompressing(pairs, tmp_path, no_reading, protocol):
    cache = tmp_path / "cache"
    in_memory = SlicePairs(pairs, protocol, FIXED)
    on_disk = SlicePairs(pairs, protocol, FIXED, cache=cache)
    no_reading()
    once_more = SlicePairs(pairs, protocol, FIXED, cache=cache)
    for data in (on_disk, once_more):
        assert data.places == in_memory.places
        assert [case.numbers for case in data.cases] == [case.numbers for case in in_memory.cases]
        assert all(equal(data[position, position], in_memory[position, position]) for position in range(0, 15, 4))
    assert len(list(cache.iterdir())) == 5 * len(pairs)
    assert not list(cache.glob(".part*"))


def test_changing_a_cached_slice_in_memory_leaves_the_file_alone(pairs, tmp_path):
    slices = prepared_slices(pairs[0], BRATS, cache=tmp_path)
    before = slices.target.clone()
    slices.target.zero_()
    assert torch.equal(prepared_slices(pairs[0], BRATS, cache=tmp_path).target, before)


def test_a_changed_file_is_prepared_again(pairs, tmp_path, write_nifti, smooth):
    cache, pair = tmp_path / "cache", pairs[0]
    before = prepared_slices(pair, BRATS, cache=cache).target.clone()
    write_nifti(pair.target, smooth(99, (84, 80, 4)).astype(np.int16))
    os.utime(pair.target, ns=(1, 1))
    assert not torch.equal(prepared_slices(pair, BRATS, cache=cache).target, before)


def test_protocols_and_auxiliaries_do_not_share_cached_slices(brats_folder, pairs, tmp_path):
    cache = tmp_path / "cache"
    by_t1 = prepared_slices(pairs[0], BRATS, cache=cache)
    by_flair = prepared_slices(find_pairs(brats_folder, "t2", "flair")[0], BRATS, cache=cache)
    in_float = prepared_slices(pairs[0], FLOAT, cache=cache)
    assert torch.equal(by_t1.target, by_flair.target)
    assert not torch.equal(by_t1.auxiliary, by_flair.auxiliary)
    assert in_float.target.dtype == torch.float32
    assert len(list(cache.iterdir())) == 15


def test_a_cache_that_was_interrupted_is_completed(pairs, tmp_path):
    cache = tmp_path / "cache"
    complete = prepared_slices(pairs[0], BRATS, cache=cache)
    next(cache.glob("*-numbers.npy")).unlink()
    again = prepared_slices(pairs[0], BRATS, cache=cache)
    assert again.numbers == complete.numbers
    assert torch.equal(again.target, complete.target)


def test_missing_files_are_refused_in_words_even_with_a_cache(pairs, tmp_path):
    prepared_slices(pairs[0], BRATS, cache=tmp_path)
    pairs[0].auxiliary.unlink()
    with pytest.raises(UserError, match=r"case-1_t1\.nii\.gz: no such file"):
        prepared_slices(pairs[0], BRATS, cache=tmp_path)


def test_no_case_is_read_that_was_not_asked_for(pairs, monkeypatch):
    read = []
    monkeypatch.setattr(datasets, "load_pair", lambda *paths: read.append(paths[0].name) or load_pair(*paths))
    SlicePairs(pairs[1:2], BRATS, FIXED)
    assert read == ["case-2_t2.nii.gz"]


# --- order -----------------------------------------------------------------------------------------------------------


def batches(count: int, *args, **options) -> list[list[tuple[int, int]]]:
    return list(islice(RunSampler(*args, **options), count))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 100))
def test_every_epoch_is_a_permutation_and_every_batch_full(n_slices, batch, seed):
    epochs = 3
    steps = -(-epochs * n_slices // batch)
    drawn = batches(steps, n_slices, batch, seed)
    assert all(len(keys) == batch for keys in drawn)
    keys = [key for step in drawn for key in step]
    assert [position for position, _ in keys] == list(range(steps * batch))
    for epoch in range(epochs):
        order = [index for _, index in keys[epoch * n_slices : (epoch + 1) * n_slices]]
        assert sorted(order) == list(range(n_slices))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 20))
def test_a_resumed_run_goes_on_where_it_stopped(n_slices, batch, start):
    assert batches(6, n_slices, batch, 7, start=start) == batches(start + 6, n_slices, batch, 7)[start:]


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 4))
def test_processes_share_every_batch_between_them(n_slices, share, world):
    together = batches(10, n_slices, share * world, 7)
    ranks = [batches(10, n_slices, share * world, 7, rank=rank, world=world) for rank in range(world)]
    for step in range(10):
        assert [key for rank in ranks for key in rank[step]] == together[step]


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 15))
def test_slices_of_two_sizes_never_share_a_batch(few, many, share, world, start):
    sizes, batch = [(1,)] * few + [(2,)] * many, share * world
    n_slices, steps = len(sizes), 40
    drawn = batches(steps, n_slices, batch, 7, sizes=sizes)
    assert all(len({sizes[index] for _, index in keys}) == 1 and len(keys) == batch for keys in drawn)
    # What waits for others of its size is less than a batch of each, so every slice comes once an epoch.
    epochs = (steps * batch) // n_slices
    seen = [index for keys in drawn for _, index in keys]
    assert all(abs(seen.count(index) - epochs) <= 2 + 2 * batch for index in range(n_slices))
    positions = [position for keys in drawn for position, _ in keys]
    assert len({*positions}) == len(positions)
    assert max(positions) < steps * batch + 2 * batch
    assert (
        batches(6, n_slices, batch, 7, start, sizes=sizes)
        == batches(start + 6, n_slices, batch, 7, sizes=sizes)[start:]
    )
    ranks = [batches(steps, n_slices, batch, 7, 0, rank, world, sizes) for rank in range(world)]
    assert [[key for rank in ranks for key in rank[step]] for step in range(steps)] == drawn


def test_one_size_is_drawn_as_if_none_were_told():
    assert batches(9, 10, 4, 7, 3, sizes=[(5, 5)] * 10) == batches(9, 10, 4, 7, 3)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(index for _, index in batches(2, 50, 50, seed)[epoch]) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert batches(3, 50, 4, 0) == batches(3, 50, 4, 0)


def test_a_sampler_can_be_started_over():
    sampler = RunSampler(10, 3, 0, start=2)
    assert list(islice(sampler, 4)) == list(islice(sampler, 4))


def test_impossible_orders_are_refused_in_words():
    with pytest.raises(UserError, match="there is no slice to train on"):
        RunSampler(0, 4, 0)
    with pytest.raises(UserError, match="a batch of 4 cannot be shared by 3 processes; make it a multiple of 3"):
        RunSampler(10, 4, 0, world=3)
