"""The index of a tree: every header once, only new files again, damaged ones named."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from fastmri_tree import knee, write_knees, write_volume
from fsmnet.data.pairing import fastmri_tree as fastmri_index
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.errors import UserError

SMALL = {"size": 16, "slices": 2, "rows": 24, "columns": 20, "recon": 16}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "knee"
    write_knees(root, [0, 1], **SMALL)
    write_knees(root, [2], folder="singlecoil_val", **SMALL)
    mask = np.arange(20) % 4 == 0
    images = knee(3, "CORPD_FBK", 16, 2)
    write_volume(root / "singlecoil_test" / "file9.h5", images, mask=mask, rows=24, columns=20, recon=16)
    return root


@pytest.fixture
def headers(monkeypatch):
    """Names of the files whose headers are read."""
    seen = []
    real = fastmri_index.read_fastmri
    monkeypatch.setattr(fastmri_index, "read_fastmri", lambda path: (seen.append(path.name), real(path))[1])
    return seen


def test_the_second_start_reads_no_header(tree, tmp_path, headers):
    first = read_tree(tree, tmp_path / "index.json")
    assert len(first.files) == len(headers) == 7
    assert {f.folder for f in first.files} == {"singlecoil_train", "singlecoil_val", "singlecoil_test"}
    headers.clear()
    second = read_tree(tree, tmp_path / "index.json")
    assert headers == []
    assert second == first
    np.testing.assert_array_equal(second.files[0].mask, first.files[0].mask)
    assert second.files[0].mask is not None  # of the test folder


def test_without_an_index_nothing_is_written(tree, headers):
    before = sorted(tree.rglob("*"))
    read_tree(tree)
    assert sorted(tree.rglob("*")) == before


def test_a_file_that_changed_is_read_again(tree, tmp_path, headers):
    index = tmp_path / "index.json"
    first = read_tree(tree, index)
    changed = first.files[1].path
    write_volume(changed, knee(5, "CORPD_FBK", 16, 3), rows=24, columns=20, recon=16)
    first.files[-1].path.unlink()
    headers.clear()
    second = read_tree(tree, index)
    assert headers == [changed.name]
    assert [f.slices for f in second.files] == [2, 3, 2, 2, 2, 2]
    assert len(json.loads(index.read_text())["files"]) == 6


def test_a_moved_tree_keeps_its_index(tree, tmp_path, headers):
    first = read_tree(tree, tmp_path / "index.json")
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    shutil.move(tree, moved)
    headers.clear()
    second = read_tree(moved, tmp_path / "index.json")
    assert headers == []
    assert second.files[0].path == moved / first.files[0].path.relative_to(tree)
    second.files[0].kspace(0)


def test_folders_behind_links_are_looked_through_once(tree, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in ("singlecoil_train", "singlecoil_val"):
        (linked / folder).symlink_to(tree / folder)
    (linked / "again").symlink_to(linked)
    (linked / "singlecoil_train" / "loop").symlink_to(tree)
    files = read_tree(linked).files
    assert sorted(f.name for f in files) == sorted(f.name for f in read_tree(tree).files)


def test_a_file_that_could_not_be_read_is_tried_again(tree, tmp_path, monkeypatch):
    """Rights to read are given without a trace in the file's size and time."""
    real = fastmri_index.read_fastmri

    def refused(path):
        if path.parent.name == "singlecoil_val":
            raise UserError(f"{path}: permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(fastmri_index, "read_fastmri", refused)
        assert len(read_tree(tree, tmp_path / "index.json").skipped) == 2
    assert read_tree(tree, tmp_path / "index.json").skipped == {}


def test_damaged_files_are_named_and_skipped(tree, tmp_path, caplog):
    victims = sorted(tree.rglob("*.h5"))[1:3]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:3000])
    (tree / "singlecoil_train" / ".hidden.h5").write_bytes(b"")
    for _ in range(2):  # also from the index
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = read_tree(tree, tmp_path / "index.json")
        assert len(found.files) == 5
        assert set(found.skipped) == {f"singlecoil_train/{victim.name}" for victim in victims}
        assert "2 of 7 files skipped: " in caplog.text
        assert victims[0].name in caplog.text
        assert "cut short" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"form": 0, "files": {}}', '{"form": 1, "files": []}'])
def test_an_index_that_is_none_is_made_anew(tree, tmp_path, caplog, content):
    index = tmp_path / "index.json"
    index.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert len(read_tree(tree, index).files) == 7
    assert "made anew" in caplog.text
    assert len(json.loads(index.read_text())["files"]) == 7


def test_an_index_with_values_of_other_kinds_is_made_anew(tree, tmp_path, caplog):
    index = tmp_path / "index.json"
    read_tree(tree, index)
    document = json.loads(index.read_text())
    next(iter(document["files"].values()))["mask"] = 5
    index.write_text(json.dumps(document))
    with caplog.at_level(logging.WARNING):
        assert len(read_tree(tree, index).files) == 7
    assert "made anew" in caplog.text


def test_an_entry_of_another_make_is_read_again(tree, tmp_path, headers):
    index = tmp_path / "index.json"
    read_tree(tree, index)
    document = json.loads(index.read_text())
    name, entry = next(iter(document["files"].items()))
    del entry["shape"]
    index.write_text(json.dumps(document))
    headers.clear()
    assert len(read_tree(tree, index).files) == 7
    assert headers == [name.rpartition("/")[2]]


def test_no_folder_and_no_file(tmp_path):
    with pytest.raises(UserError, match="no such folder; give the folder that holds singlecoil_train"):
        read_tree(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no usable fastMRI file"):
        read_tree(tmp_path)
    (tmp_path / "bad.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"the first of 1 that cannot be read is bad\.h5"):
        read_tree(tmp_path)


def test_an_index_that_cannot_be_written_is_done_without(tmp_path, caplog):
    write_knees(tmp_path / "tree", [0], **SMALL)
    (tmp_path / "file").touch()
    assert len(read_tree(tmp_path / "tree", tmp_path / "file" / "index.json").files) == 2
    assert "the headers are not kept, name another place with --index" in caplog.text
