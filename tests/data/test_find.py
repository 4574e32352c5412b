"""Files below a folder, whatever else lies there: links, macOS's leftovers, folders named like files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsmnet.cli.doctor import examine
from fsmnet.data.find import absence, file_at, files_below, matching
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.data.pairing.names import find_pairs
from fsmnet.data.pairing.propose import propose_pairs
from fsmnet.errors import UserError
from fsmnet.files import reason
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.float import FLOAT

NIFTI = (".nii", ".nii.gz")
FETCH = "is a link to a file that is not there; fetch it (git annex get, datalad get)"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root: Path, endings: tuple[str, ...] = NIFTI) -> list[str]:
    return [found.file.relative_to(root).as_posix() for found in files_below(root, endings)]


def test_names_that_begin_with_a_dot_are_passed_over(tmp_path):
    touch(tmp_path, "a/x.nii", "a/._x.nii", ".git/y.nii", "__MACOSX/a/._x.nii.gz", "x.txt", "x.niix")
    assert names(tmp_path) == ["a/x.nii"]
    assert names(tmp_path, ("",)) == ["a/x.nii", "x.niix", "x.txt"]


def test_links_are_followed_and_each_folder_is_looked_into_once_as_itself(tmp_path):
    outside = touch(tmp_path / "store", "deep/x.nii").absolute()
    root = touch(tmp_path / "data", "real/y.nii")
    (root / "a-link").symlink_to(root / "real")
    (root / "real" / "up").symlink_to(root)
    (root / "real" / "further-up").symlink_to(tmp_path)
    (root / "store").symlink_to(outside)
    (root / "store-again").symlink_to(outside / "deep")
    (root / "loop.nii").symlink_to("loop.nii")
    assert names(root) == ["loop.nii", "real/y.nii", "store/deep/x.nii"]
    assert absence(root / "loop.nii") == FETCH


def test_a_folder_named_like_a_file_is_the_one_file_in_it(tmp_path):
    touch(tmp_path, "c/c_t2.nii/0001_brain.nii", "c/c_t2.nii/._0001_brain.nii", "c/c_t1.nii.gz/deeper/x.nii.gz")
    assert names(tmp_path) == ["c/c_t1.nii.gz/deeper/x.nii.gz", "c/c_t2.nii/0001_brain.nii"]
    assert file_at(tmp_path / "c", NIFTI) == tmp_path / "c"
    touch(tmp_path, "c/c_t2.nii/0002_brain.nii")
    assert names(tmp_path)[1] == "c/c_t2.nii"
    assert absence(tmp_path / "c" / "c_t2.nii") == "is a folder; give the one file that is meant"


@pytest.mark.parametrize(
    "content", [b"../../.git/annex/objects/aB/KEY", b"/annex/objects/SHA256E-s1--00.nii.gz\n",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"]
)  # fmt: skip
def test_a_file_that_was_not_fetched_is_told_from_a_damaged_one(tmp_path, content):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(content)
    assert absence(path).startswith("only says where its content is kept; fetch it (git annex get")
    path.write_bytes(b"any other content")
    assert absence(path) == ""


def test_patterns_go_through_links_and_take_each_folder_once(tmp_path):
    root = touch(tmp_path, "all/C1/t2.nii", "all/C2/t2.nii", "all/._C3/t2.nii", "all/C2/.hidden.nii")
    (root / "train").mkdir()
    (root / "train" / "C9").symlink_to(root / "all" / "C1")
    (root / "all" / "A").symlink_to(root / "all" / "C2")

    def found(pattern: str) -> list[str]:
        return [path.relative_to(root).as_posix() for path in matching(root, pattern)]

    assert found("all/*/t2.nii") == ["all/C1/t2.nii", "all/C2/t2.nii"]
    assert found("train/*/*.nii") == ["train/C9/t2.nii"]
    assert found("*/*/t2.nii") == ["all/C1/t2.nii", "all/C2/t2.nii"]
    assert found("**/t2.nii") == ["all/C1/t2.nii", "all/C2/t2.nii"]
    assert found("all/C2/.hidden.nii") == ["all/C2/.hidden.nii"]
    assert found("all/C[12]/t2.nii") == []


# -- what the commands make of it -------------------------------------------------------------------------------------


@pytest.fixture
def cases(tmp_path, write_nifti):
    """Three usable cases: plain, behind a link, in folders named like files; and two that cannot be read."""
    root = tmp_path / "Data"
    random = np.random.default_rng(0)
    voxels = {name: random.integers(1, 100, (24, 20, 4)).astype(np.int16) for name in ("t1", "t2")}
    for place in ("A/A_{}.nii.gz", "../store/B_{}.nii.gz", "C/C_{}.nii/000{}.nii", "D/D_{}.nii.gz", "E/E_{}.nii.gz"):
        for name in ("t1", "t2"):
            write_nifti(root / place.format(name, name), voxels[name])
    (root / "B").symlink_to(root / "../store", target_is_directory=True)
    (root / "A" / "._A_t2.nii.gz").write_bytes(b"\0\5\x16\7")
    (root / "D" / "D_t2.nii.gz").unlink()
    (root / "D" / "D_t2.nii.gz").symlink_to("../.git/annex/objects/KEY")
    (root / "E" / "E_t1.nii.gz").write_bytes(b"/annex/objects/KEY\n")
    return root


def test_a_case_that_cannot_be_read_is_counted_named_and_left_out(cases, caplog):
    pairs = find_pairs(cases, "t2", "t1")
    assert [pair.case for pair in pairs] == ["A", "B", "C"]
    assert pairs[2].target == cases / "C" / "C_t2.nii" / "000t2.nii"
    [message] = [record.getMessage() for record in caplog.records]
    assert message == (
        f"{cases}: 2 of 5 cases left out: D (D/D_t2.nii.gz {FETCH}); "
        "E (E/E_t1.nii.gz only says where its content is kept; fetch it (git annex get, datalad get, git lfs pull))"
    )
    with pytest.raises(UserError, match=r"no pair for case D; D \(D/D_t2\.nii\.gz is a link to a file that is not"):
        find_pairs(cases, "t2", "t1", ["D"])
    accelerated = FLOAT.accelerate(pairs[2], FLOAT.mask_recipe(MaskOptions(acceleration=4)))
    assert accelerated.slices.target.shape == (4, 24, 20)


def test_pair_and_doctor_say_the_same(cases):
    rows = {row.case: row for row in propose_pairs(cases, "t2", "t1")}
    assert [case for case, row in rows.items() if row.accepted] == ["A", "B", "C"]
    assert rows["D"].reason == f"D/D_t2.nii.gz: {FETCH}"
    [data] = [check for check in examine(cases) if check.name == "data"]
    assert f"5 x t1, 5 x t2; 2 of them cannot be read: D/D_t2.nii.gz {FETCH}; E/E_t1.nii.gz only says" in data.detail


def test_nothing_usable_says_why(cases):
    for name in ("A", "C"):
        for path in sorted((cases / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    (cases / "B").unlink()
    with pytest.raises(UserError, match=r"none of 2 cases has both t2 and t1: D \(D/D_t2.nii.gz is a link"):
        find_pairs(cases, "t2", "t1")


def test_fastmri_names_a_volume_that_was_not_fetched(tmp_path, caplog):
    (tmp_path / "file1.h5").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"the first of 1 that cannot be read is file1\.h5"):
        read_tree(tmp_path)


def test_paths_keep_their_case():
    assert reason(OSError(2, "No such file or directory")) == "no such file or directory"
    assert reason(FileNotFoundError("No such file or no access: 'Data/C1'")) == "no such file or no access: 'Data/C1'"
