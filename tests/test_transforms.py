"""Steps between image and network undo themselves; both contrasts are shifted alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsmnet.transforms import Normalisation, center_fit, pad_to_multiple, shift_pair, unpad

sizes = st.integers(1, 40)


def image(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, dtype=np.float32))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_normalisation_of_a_known_image():
    picture = torch.tensor([[1.0, 3.0], [1.0, 3.0]])  # mean 2, population deviation 1
    normalisation = Normalisation.fit(picture)
    assert (float(normalisation.mean), float(normalisation.std)) == (2, 1)
    assert torch.equal(normalisation.apply(picture), torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    assert torch.equal(normalisation.apply(torch.tensor([[12.0]])), torch.tensor([[6.0]]))  # another image, clipped
    assert torch.equal(normalisation.apply(torch.tensor([[-12.0]])), torch.tensor([[-6.0]]))
    assert torch.equal(normalisation.apply(torch.tensor([[12.0]]), clip=3), torch.tensor([[3.0]]))
    assert torch.equal(normalisation.apply(torch.tensor([[12.0]]), clip=None), torch.tensor([[10.0]]))
    assert torch.equal(normalisation.undo(torch.tensor([[10.0]])), torch.tensor([[12.0]]))


@given(sizes, sizes, st.integers(0, 1000), st.floats(0.01, 1000), st.floats(-100, 100))
def test_normalisation_is_undone(height, width, seed, scale, offset):
    picture = image(seed, 2, 1, height + 1, width).double() * scale + offset
    normalisation = Normalisation.fit(picture)
    scaled = normalisation.apply(picture, clip=None)
    assert scaled.mean((-2, -1)).abs().max() < 1e-6
    assert scaled.std((-2, -1), correction=0).numpy() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(normalisation.undo(scaled), picture)


def test_each_image_of_a_batch_has_its_own_statistics():
    pictures = torch.stack([image(0, 1, 8, 9), 5 * image(1, 1, 8, 9) + 3])
    together = Normalisation.fit(pictures)
    assert together.mean.shape == together.std.shape == (2, 1, 1, 1)
    for number in range(2):
        assert torch.equal(
            together.apply(pictures)[number], Normalisation.fit(pictures[number]).apply(pictures[number])
        )


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 200 / 255])
def test_a_constant_image_stays_finite_and_is_undone(value):
    picture = torch.full((1, 240, 240), value)
    normalisation = Normalisation.fit(picture)
    scaled = normalisation.apply(picture)
    assert scaled.isfinite().all()
    if value != 200 / 255:  # its mean is not exact in float32, so that the error is divided by itself
        assert not scaled.any()
    torch.testing.assert_close(normalisation.undo(scaled), picture)


@given(sizes, sizes, st.sampled_from([1, 2, 8, 16, 32]))
def test_padding_is_undone_at_any_size(height, width, multiple):
    picture = image(0, 1, 2, height, width)
    padded = pad_to_multiple(picture, multiple)
    rows, columns = padded.shape[-2:]
    assert rows % multiple == columns % multiple == 0
    assert 0 <= rows - height < multiple
    assert 0 <= columns - width < multiple
    assert torch.equal(unpad(padded, height, width), picture)
    top, left = (rows - height) // 2, (columns - width) // 2
    around = ((top, rows - height - top), (left, columns - width - left))
    assert np.array_equal(padded[0, 0].numpy(), np.pad(picture[0, 0].numpy(), around, mode="edge"))


def test_centring_of_known_images():
    # One row is missing: it goes below. Two columns are too many: one goes from each side.
    picture = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert center_fit(picture, 3, 2).tolist() == [[2, 3], [6, 7], [0, 0]]
    # Three rows are missing: one above, two below. One column is too many: the last one goes.
    assert center_fit(picture, 5, 3).tolist() == [[0, 0, 0], [1, 2, 3], [5, 6, 7], [0, 0, 0], [0, 0, 0]]
    # One row is too many: the last one goes. Three columns are missing: one before, two after.
    assert center_fit(picture, 1, 7).tolist() == [[0, 1, 2, 3, 4, 0, 0]]
    assert center_fit(picture, 2, 4) is picture


@given(sizes, sizes, sizes, sizes)
def test_centring_puts_every_pixel_where_the_definition_says(height, width, rows, columns):
    picture = image(0, 2, height, width)
    expected = np.zeros((2, rows, columns), dtype=np.float32)
    for i in range(rows):
        for j in range(columns):
            # Half the difference, rounded down, goes before: added where there is too little, taken where too much.
            k = i - (rows - height) // 2 if height < rows else i + (height - rows) // 2
            m = j - (columns - width) // 2 if width < columns else j + (width - columns) // 2
            if 0 <= k < height and 0 <= m < width:
                expected[:, i, j] = picture[:, k, m]
    assert np.array_equal(center_fit(picture, rows, columns).numpy(), expected)


def windows(picture: torch.Tensor, margin: int) -> dict[bytes, tuple[int, int]]:
    """Every window of the reflect-padded image -> its place."""
    height, width = picture.shape[-2:]
    before, after = margin // 2, margin - margin // 2
    padded = np.pad(picture[0].numpy(), ((before, after), (before, after)), mode="reflect")
    return {
        padded[i : i + height, j : j + width].tobytes(): (i, j) for i in range(margin + 1) for j in range(margin + 1)
    }


@pytest.mark.parametrize("margin", [4, 5])
def test_shifts_are_windows_of_the_reflected_image_and_reach_all_of_it(margin):
    target, auxiliary = image(0, 1, 9, 12), image(1, 1, 9, 12)
    of_target, of_auxiliary = windows(target, margin), windows(auxiliary, margin)
    random = generator(0)
    places = set()
    for _ in range(300):
        shifted = shift_pair(target, auxiliary, margin, random)
        place = of_target[shifted[0].numpy().tobytes()]
        assert place == of_auxiliary[shifted[1].numpy().tobytes()]  # the same window for both
        places.add(place)
    assert len(places) == (margin + 1) ** 2


def test_shifts_follow_from_the_generator():
    target, auxiliary = image(0, 1, 20, 24), image(1, 1, 20, 24)
    first, again, other = (shift_pair(target, auxiliary, 16, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_a_margin_of_zero_changes_nothing():
    target, auxiliary = image(0, 1, 6, 7), image(1, 1, 6, 7)
    shifted = shift_pair(target, auxiliary, 0, generator(0))
    assert torch.equal(shifted[0], target)
    assert torch.equal(shifted[1], auxiliary)
