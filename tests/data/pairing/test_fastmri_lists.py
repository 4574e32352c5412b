"""Lists of pairs as MINet published them, and the split that keeps NYU's folders."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from fastmri_tree import write_knees, write_volume
from fsmnet.data.pairing.content import Match, write_pairs
from fsmnet.data.pairing.fastmri_lists import patients_told, read_pairs, split_pairs
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.errors import UserError

SMALL = {"size": 16, "slices": 2, "rows": 24, "columns": 20, "recon": 16}
PD, FS = "CORPD_FBK", "CORPDFS_FBK"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Four pairs for training and one for validation."""
    root = tmp_path_factory.mktemp("knee")
    names = write_knees(root, range(4), **SMALL) + write_knees(root, [4], folder="singlecoil_val", **SMALL)
    return read_tree(root).files, names


@pytest.fixture
def write_list(tmp_path, tree):
    def write(*lines: str):
        text = "\n".join(lines or [f"{pd.removesuffix('.h5')},{fs},0.31" for pd, fs in tree[1]])
        (tmp_path / "pairs.csv").write_text(text + "\n")
        return tmp_path / "pairs.csv"

    return write


def test_a_list_with_and_without_suffixes(tree, write_list):
    files, names = tree
    pairs = read_pairs(write_list(), files)
    assert [(p.auxiliary.name, p.target.name) for p in pairs] == names
    assert [p.case for p in pairs] == [fs.removesuffix(".h5") for _, fs in names]
    assert {(p.auxiliary.acquisition, p.target.acquisition) for p in pairs} == {(PD, FS)}
    assert {(p.slices, p.size) for p in pairs} == {(2, (16, 16))}


def test_a_list_as_a_spreadsheet_saves_it_where_the_comma_is_decimal(tree, write_list):
    files, names = tree
    assert read_pairs(write_list(*(f"{pd};{fs};0,31" for pd, fs in names)), files) == read_pairs(write_list(), files)


def test_the_contrasts_can_change_roles(tree, write_list):
    files, names = tree
    for wanted in ((PD, None), (PD, FS)):
        pairs = read_pairs(write_list(), files, *wanted)
        assert [(p.target.name, p.auxiliary.name) for p in pairs] == names


def test_a_list_made_here_can_be_read(tree, tmp_path):
    files, names = tree
    known = {file.name: file for file in files}
    write_pairs([Match(known[pd], known[fs], 0.4, 0.1) for pd, fs in names], tmp_path / "out.csv")
    assert [(p.auxiliary.name, p.target.name) for p in read_pairs(tmp_path / "out.csv", files)] == names


def test_volumes_that_are_not_there_are_left_out(tree, write_list, caplog):
    files, names = tree
    with caplog.at_level(logging.WARNING):
        pairs = read_pairs(write_list(",".join(names[0]), "file7,file8,0.4", ""), files)
    assert len(pairs) == 1
    assert "1 of 2 pairs are not there, the first file7 with file8" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file7,file8"], "none of the files of its 1 pairs"),
        (["{0},{1}", "{0},{3}"], r"file\d+\.h5 is in more than one pair"),
        (["{0},{1}", "{2}"], "line 2: names no two files"),
        (['{0},"{1}'], "not a CSV file in UTF-8"),
    ],
)
def test_a_list_that_cannot_be_used(tree, write_list, lines, message):
    files, names = tree
    flat = [name for pair in names for name in pair]
    with pytest.raises(UserError, match=message):
        read_pairs(write_list(*(line.format(*flat) for line in lines)), files)


def test_another_contrast_than_asked_for(tree, write_list):
    with pytest.raises(UserError, match=r"line 1: file\d+\.h5 is CORPDFS_FBK, not AXT2"):
        read_pairs(write_list(), tree[0], "AXT2")
    with pytest.raises(UserError, match=r"line 1: file\d+\.h5 is CORPD_FBK, not AXT1"):
        read_pairs(write_list(), tree[0], FS, "AXT1")


def test_no_list(tmp_path, tree):
    with pytest.raises(UserError, match="no such list of pairs; make one with 'fsmnet pair --layout fastmri'"):
        read_pairs(tmp_path / "absent.csv", tree[0])


def test_two_files_of_one_name_cannot_be_told_apart(tmp_path):
    for folder in ("a", "b"):
        write_volume(tmp_path / folder / "file1.h5", np.ones((1, 16, 16)), rows=16, columns=16, recon=16)
    with pytest.raises(UserError, match="have one name, by which a list cannot tell them apart"):
        read_pairs(tmp_path / "pairs.csv", read_tree(tmp_path).files)


def test_the_split_keeps_nyus_folders(tree, write_list):
    files, names = tree
    pairs = read_pairs(write_list(), files)
    split = split_pairs(pairs, 0, 0.25, 0.5)
    assert split.test == [names[4][1].removesuffix(".h5")]
    assert (len(split.train), len(split.validation)) == (3, 1)
    alone = split_pairs(pairs[:4], 0, 0.25, 0.25)
    assert (len(alone.train), len(alone.validation), len(alone.test)) == (2, 1, 1)
    validation_only = split_pairs(pairs[4:] + pairs[4:], 0, 0, 0)
    assert validation_only.train == split.test


def test_pairs_that_share_a_patient_id_stay_together():
    def pair(case, target, auxiliary, folder="singlecoil_train"):
        files = (SimpleNamespace(patient=target, folder=folder), SimpleNamespace(patient=auxiliary, folder=folder))
        return SimpleNamespace(case=case, target=files[0], auxiliary=files[1])

    pairs = [pair("a", "1", "2"), pair("b", "3", "3"), pair("c", "2", "4"), pair("d", "", ""), pair("e", "5", "4")]
    told = patients_told(pairs)
    assert told == {"a": "1", "c": "1", "e": "1", "b": "3"}
    patients = {**told, "d": "d"}
    for seed in range(5):
        assert split_pairs(pairs, seed, 0.3, 0.3, patients).across() == []
    held = [*pairs, pair("f", "5", "", "singlecoil_val"), pair("g", "9", "", "singlecoil_val")]
    split = split_pairs(held, 0, 0.5, 0.0, {**patients_told(held), "d": "d"})
    assert split.test == ["a", "c", "e", "f", "g"]  # what a tested patient has besides is not trained on
