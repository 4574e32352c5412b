"""Sampling masks: the published columns, portable seeds, files, and every refusal in words."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fsmnet.errors import UserError
from fsmnet.physics.masks import (
    MASK_KINDS,
    Mask,
    MaskRecipe,
    check_centre,
    default_center_fraction,
    load_mask,
    make_mask,
    mixed_mask,
    register_mask_kind,
    save_mask,
    seed_from_name,
)

FASTMRI_FILE = "file1000323.h5"


def ranges(text: str) -> list[int]:
    """ "1 4-6" to [1, 4, 5, 6]."""
    columns: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        columns += range(int(first), int(last or first) + 1)
    return columns


def kept(mask: Mask) -> list[int]:
    return np.flatnonzero(mask.columns).tolist()


def test_the_usual_centre_is_in_proportion():
    assert [default_center_fraction(a) for a in (4, 8)] == pytest.approx([0.08, 0.04])


@pytest.mark.parametrize(
    ("kind", "acceleration", "center", "columns"),
    [
        ("random", 4, 0.08, "0 7 13 19 25 44-51 55 56 62 71 76 80 92"),
        ("equispaced", 4, 0.08, "3 7 11 15 19 23 27 31 35 39 43 44-51 55 59 63 67 71 75 79 83 87 91 95"),
        ("equispaced_fraction", 8, 0.04, "4 16 27 38 46-50 62 73 84"),
        ("magic", 4, 0.08, "1 5 9 13 17 21 25 29 33 37 41 44-51 53 57 61 65 69 73 77 81 85 89 93"),
        ("magic_fraction", 8, 0.04, "5 17 29 41 46-49 53 65 77 89"),
    ],
)
def test_columns_of_every_kind(kind, acceleration, center, columns):
    assert kept(make_mask(kind, 96, acceleration, center, seed=7)) == ranges(columns)


@pytest.mark.parametrize(("acceleration", "center", "count"), [(4, 0.08, 77), (8, 0.04, 42)])
def test_numbers_of_columns_of_fastmri(acceleration, center, count):
    assert len(kept(make_mask("random", 320, acceleration, center, seed=1337))) == count


def test_columns_of_a_fastmri_file_by_its_name():
    columns = kept(make_mask("random", 368, 4, 0.08, seed_from_name(FASTMRI_FILE)))
    assert len(columns) == 79
    assert columns[:8] == [1, 6, 10, 18, 21, 28, 29, 30]
    assert columns[-5:] == [332, 334, 337, 356, 360]


def test_seed_of_a_name_ignores_its_folder():
    assert seed_from_name("ab.h5") == (97, 98, 46, 104, 53)
    for place in ("/data/a", "elsewhere/b", "."):
        assert seed_from_name(Path(place) / FASTMRI_FILE) == seed_from_name(FASTMRI_FILE)
        assert seed_from_name(f"{place}/{FASTMRI_FILE}") == seed_from_name(FASTMRI_FILE)
    assert seed_from_name("file1000324.h5") != seed_from_name(FASTMRI_FILE)


def test_the_same_seed_gives_the_same_columns_in_another_process():
    script = (
        "from fsmnet.physics.masks import make_mask, seed_from_name\n"
        f"m = make_mask('random', 368, 4, 0.08, seed_from_name('/elsewhere/{FASTMRI_FILE}'))\n"
        "print(*m.columns.nonzero()[0])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ranges(result.stdout) == kept(make_mask("random", 368, 4, 0.08, seed_from_name(FASTMRI_FILE)))


def test_without_a_seed_every_draw_is_new_and_numpys_global_state_untouched():
    np.random.seed(0)  # noqa: NPY002 - the legacy state is what must not be touched
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    masks = [make_mask("random", 240, 4, 0.08).columns.tobytes() for _ in range(5)]
    assert len(set(masks)) == 5
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@given(
    st.sampled_from(list(MASK_KINDS)),
    st.integers(16, 400),
    st.sampled_from([2, 3, 4, 5.5, 8, 12]),
    st.sampled_from([0.02, 0.04, 0.08]),
    st.integers(0, 2**32 - 1),
)
def test_every_mask_keeps_its_centre_and_says_what_it_achieves(kind, columns, acceleration, center, seed):
    n_low = round(center * columns)
    assume(n_low >= 1)
    mask = make_mask(kind, columns, acceleration, center, seed)
    low = min(n_low, round(columns / acceleration)) if kind == "magic_fraction" else n_low
    first = (columns - max(low, 1) + 1) // 2
    assert mask.columns.shape == (columns,)
    assert mask.columns[first : first + low].all()
    assert mask.columns[columns // 2]  # the zero frequency
    assert mask.achieved_acceleration == columns / len(kept(mask))
    assert np.array_equal(mask.columns, make_mask(kind, columns, acceleration, center, seed).columns)
    assert f"{len(kept(mask))} of {columns} columns, {acceleration:g}x requested" in mask.describe()


@given(st.integers(0, 10_000))
def test_kinds_with_a_fraction_achieve_the_acceleration_asked_for(seed):
    # Offset lines that fall into the centre are not made up for in magic_fraction, by its definition.
    for kind, tolerance in (("equispaced_fraction", 0.05), ("magic_fraction", 0.1)):
        for acceleration, center in ((4, 0.08), (8, 0.04)):
            achieved = make_mask(kind, 320, acceleration, center, seed).achieved_acceleration
            assert achieved == pytest.approx(acceleration, rel=tolerance)
    # Plain equispaced lines count the centre on top.
    assert make_mask("equispaced", 320, 4, 0.08, seed).achieved_acceleration < 3.4


def test_random_masks_achieve_the_acceleration_on_average():
    counts = [len(kept(make_mask("random", 240, 4, 0.10, seed))) for seed in range(300)]
    assert np.mean(counts) == pytest.approx(60, abs=1.2)  # 36 draws of probability 1/6 have deviation 5.5


ORIGINAL = make_mask("random", 96, 4, 0.08, seed=7)


@pytest.mark.parametrize(("name", "recipe"), [("mask.npz", ("random", 4.0, 0.08)), ("mask.npy", ("file", None, None))])
def test_files_are_a_round_trip(tmp_path, name, recipe):
    path = tmp_path / "new folder" / name
    save_mask(ORIGINAL, path)
    again = load_mask(path, columns=96)
    assert np.array_equal(again.columns, ORIGINAL.columns)
    assert again.columns.dtype == np.bool_
    assert (again.kind, again.acceleration, again.center_fraction) == recipe
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_a_mask_without_a_recipe_is_a_round_trip(tmp_path):
    save_mask(Mask(ORIGINAL.columns, "file"), tmp_path / "mask.npz")
    again = load_mask(tmp_path / "mask.npz")
    assert (again.kind, again.acceleration, again.center_fraction) == ("file", None, None)
    assert again.describe() == "file: 20 of 96 columns, 4.80x achieved"


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (1, 1, 96, 1)])
def test_masks_of_others_are_read_in_any_type_and_with_single_axes(tmp_path, dtype, shape):
    np.save(tmp_path / "plain.npy", ORIGINAL.columns.astype(dtype).reshape(shape))
    np.savez_compressed(tmp_path / "only.npz", columns=ORIGINAL.columns.astype(dtype).reshape(shape))
    for name in ("plain.npy", "only.npz"):
        assert np.array_equal(load_mask(tmp_path / name).columns, ORIGINAL.columns)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("random", 240, 0, 0.08), "acceleration 0 is impossible with 240 columns; give more than 1, at most 240"),
        (("random", 240, 1, 0.08), "acceleration 1 is impossible"),
        (("random", 240, 241, 0), "acceleration 241 is impossible"),
        (("random", 240, -4, 0.08), "acceleration -4 is impossible"),
        (("random", 240, float("nan"), 0.08), "acceleration nan is impossible"),
        (("random", 240, float("inf"), 0.08), "acceleration inf is impossible"),
        (("random", 0, 4, 0.08), "at least 2 columns, of which it leaves some out, not 0"),
        (("random", 240, 4, -0.1), "center fraction -0.1 is not in"),
        (("random", 240, 4, 1), "center fraction 1 is not in"),
        (("random", 240, 4, float("nan")), "center fraction nan is not in"),
        (("random", 240, 4, 0.3), "72 centre columns of 240 already give 3.33x, so 4x is out of reach"),
        (("random", 240, 4, 0.25), "60 centre columns of 240 already give 4.00x"),
        (("equispaced_fraction", 240, 8, 0.125), "30 centre columns of 240 already give 8.00x"),
        (("spiral", 240, 4, 0.08), "unknown mask kind 'spiral'; choose one of random, equispaced,"),
        (("random", 240, 4, 0.08, -1), "mask seed -1 is not in 0 ... 4294967295"),
        (("random", 240, 4, 0.08, 2**32), "mask seed 4294967296 is not in"),
        (("random", 8, 8, 0, 0), "kept no column of 8; give a center fraction above 0 or another seed"),
    ],
)
def test_impossible_masks_are_refused_in_words(arguments, sentence):
    with pytest.raises(UserError) as error:
        make_mask(*arguments)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(96), "the mask keeps no column"),
        (np.zeros(0), "the mask keeps no column"),
        (np.where(np.arange(96) % 4, 0, 255), "its values are 0 and 255, those of a mask 0 and 1; save (mask > 0)"),
        (np.arange(96), "holds values from 0 to 95; a mask is 1 for each column acquired"),
        (np.full(96, np.nan), "holds NaN; a mask is 1 for each column acquired"),
        (np.array(["yes", "no"]), "one axis of 0 and 1"),
        (np.ones((96, 96)), "this array has shape (96, 96); save one row of it"),
        (np.ones(90), "the mask has 90 columns, the data 96; make one with --columns 96"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_wrong_arrays_are_refused_in_words(tmp_path, array, sentence, suffix):
    path = tmp_path / f"mask{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, mask=array)
    with pytest.raises(UserError) as error:
        load_mask(path, columns=96)
    assert str(error.value).startswith(f"{path}: ")
    assert sentence in str(error.value)


def test_wrong_files_are_refused_in_words(tmp_path):
    (tmp_path / "text.npy").write_text("1 0 0 1\n")
    (tmp_path / "text.npz").write_text("1 0 0 1\n")
    (tmp_path / "nothing.npy").touch()
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    for name in ("text.npy", "text.npz", "nothing.npy", "none.npz", "objects.npy", "."):
        with pytest.raises(UserError, match=r"not a mask in \.npy or \.npz form"):
            load_mask(tmp_path / name)
    with pytest.raises(UserError, match=r"no such mask file; make one with 'fsmnet mask --out gone.npy'"):
        load_mask(tmp_path / "gone.npy")
    for name, shown in (("mask.txt", "not .txt"), ("mask", "not without a suffix")):
        with pytest.raises(UserError, match=shown):
            save_mask(ORIGINAL, tmp_path / name)


def test_a_file_cut_short_anywhere_is_refused_in_words(tmp_path):
    np.savez_compressed(tmp_path / "compressed.npz", mask=ORIGINAL.columns)
    for name in ("mask.npy", "mask.npz"):
        save_mask(ORIGINAL, tmp_path / name)
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        for length in range(0, len(whole), 9):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError):
                load_mask(path)


@pytest.mark.parametrize("columns", [240, 241, 128])
@pytest.mark.parametrize("kind", ["random", "equispaced_fraction", "magic"])
@pytest.mark.parametrize("acceleration", [4, 8])
def test_masks_in_fft_order_are_told_from_good_ones(kind, columns, acceleration, caplog):
    for seed in range(20):
        mask = make_mask(kind, columns, acceleration, seed=seed).columns
        check_centre(mask, "mask.npy")
        with pytest.raises(UserError, match=r"mask.npy: the mask is in FFT order: \d+ columns about column 0"):
            check_centre(np.fft.ifftshift(mask), "mask.npy")
    check_centre(np.ones(columns, bool), "mask.npy")
    assert not caplog.messages


def test_masks_without_the_centre_line(tmp_path, caplog):
    mask = np.zeros(64, bool)
    mask[2::4] = True
    np.save(tmp_path / "mask.npy", mask)
    with pytest.raises(UserError, match=r"mask.npy: the mask leaves out the centre of k-space, column 32 of 64, which"):
        load_mask(tmp_path / "mask.npy")
    check_centre(np.roll(mask, -1), "k.h5")
    assert "k.h5: the mask leaves out the centre of k-space, column 32 of 64" in caplog.text


def test_damaged_compression_is_refused_in_words(tmp_path):
    path = tmp_path / "mask.npz"
    np.savez_compressed(path, mask=ORIGINAL.columns)
    data = bytearray(path.read_bytes())
    data[50:60] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"not a mask in \.npy or \.npz form"):
        load_mask(path)


def test_a_mixed_mask_is_one_of_its_kinds():
    choices = [(4.0, 0.08), (8.0, 0.04)]
    drawn = [mixed_mask("random", 96, choices, seed) for seed in range(20)]
    assert {(mask.acceleration, mask.center_fraction) for mask in drawn} == set(choices)
    chosen = [choices[np.random.RandomState(seed).randint(0, 2)] for seed in range(20)]
    assert [(mask.acceleration, mask.center_fraction) for mask in drawn] == chosen
    alone, single = mixed_mask("random", 96, choices[:1], 7), make_mask("random", 96, 4, 0.08, 7)
    np.testing.assert_array_equal(alone.columns, single.columns)


def test_a_mixed_mask_of_nothing_or_of_something_impossible():
    with pytest.raises(UserError, match="at least one pair of acceleration and center fraction"):
        mixed_mask("random", 96, [], 0)
    with pytest.raises(UserError, match="acceleration 1 is impossible"):
        mixed_mask("random", 96, [(4, 0.08), (1, 0.08)], 0)


def every_third(columns, acceleration, center_fraction, random_state):
    return np.arange(columns) % 3 == random_state.randint(3)


def test_a_kind_from_outside_is_drawn_like_any_other(monkeypatch):
    monkeypatch.setattr(MASK_KINDS, "_registered", {})
    register_mask_kind("third", every_third)
    mask = MaskRecipe("third", 3, 0.08, "name").draw(24, "scan.nii.gz")
    assert (mask.kind, int(mask.columns.sum())) == ("third", 8)
    assert np.array_equal(mask.columns, make_mask("third", 24, 3, 0.08, seed_from_name("scan.nii.gz")).columns)
    again = np.random.RandomState(5)
    again.randint(1)  # which of one acceleration
    assert np.array_equal(make_mask(f"{__name__}:every_third", 24, 3, 0.08, 5).columns, every_third(24, 3, 0, again))
    register_mask_kind("wrong", lambda columns, *_: np.ones(columns - 1))
    with pytest.raises(UserError, match=r"mask kind 'wrong' gives float64 of shape \(23,\); it must give bool \(24,\)"):
        make_mask("wrong", 24, 3, 0.08)
    register_mask_kind("empty", lambda columns, *_: np.zeros(columns, bool))
    with pytest.raises(UserError, match="empty at 3x kept no column of 24"):
        make_mask("empty", 24, 3, 0.08)
    with pytest.raises(UserError, match="the mask kind 'magic' is one of fsmnet's own"):
        register_mask_kind("magic", every_third)


def test_an_inverted_mask_is_told_as_such(tmp_path):
    path = tmp_path / "mask.npy"
    for kind, columns in itertools.product(("random", "equispaced"), (64, 240, 239)):
        np.save(path, ~make_mask(kind, columns, 4, 0.08, 1).columns)
        with pytest.raises(UserError, match=r"columns in the middle of \d+ and keeps most others: it is inverted"):
            load_mask(path)
    for values, words in (([1.0, np.nan, 1.0], "holds NaN"), ([3, 17, 120], "holds values from 3 to 120")):
        np.save(path, np.array(values))
        with pytest.raises(UserError, match=f"{words}; a mask is 1 for each column acquired"):
            load_mask(path)
