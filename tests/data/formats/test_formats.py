"""The table of formats: which file is whose, what a result may be named, and formats from outside."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from fsmnet.data.formats import (
    FORMATS,
    Format,
    check_result_name,
    format_of,
    is_ours,
    read_kspace,
    read_volume,
    register_format,
    volume_stem,
    write_volume,
)
from fsmnet.data.formats.raw import KSpace
from fsmnet.data.volume import Volume
from fsmnet.errors import NOT_CLINICAL, UserError
from fsmnet.reconstruction.reconstruct import reconstruct


def read_text(path: Path) -> Volume:
    rows = np.loadtxt(path, dtype=np.float32)
    return Volume(rows.reshape(-1, 16, 16), np.eye(4), path, placed=False)


def write_text(data, like, path, description):
    np.savetxt(path, data.reshape(-1, 16), header=description)


def text_kspace(path: Path) -> KSpace:
    return KSpace(np.fft.fftshift(np.fft.fft2(read_text(path).data)).astype(np.complex64)[:, None], path, (16, 16))


TEXT = Format("text", (".txt",), read=read_text, write=write_text, read_kspace=text_kspace)


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Whatever a test registers is forgotten after it."""
    monkeypatch.setattr(FORMATS, "_registered", {})


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_function_of_the_table_is_there(name):
    for what in ("read", "read_kspace", "write", "recognise", "is_ours"):
        function = FORMATS.get(name).function(what)
        assert function is None or callable(function)


def test_formats_are_told_by_ending_and_where_that_is_shared_by_content(tmp_path):
    names = {"a.nii": "nifti", "a.b.nii.gz": "nifti", "a.npz": "numpy", "a.h5": "fastmri", "a.mrd": "fastmri"}
    assert {name: format_of(tmp_path / name).name for name in names} == names
    assert format_of("a.png") is format_of("a") is None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dataset/xml"] = file["dataset/data"] = np.ones(3)
    assert format_of(tmp_path / "a.h5").name == "ismrmrd"
    assert format_of(tmp_path / "a.h5", "read").name == "fastmri"  # which says what the file is


def test_a_format_from_outside_is_taken_like_any_other(tmp_path, smooth):
    register_format(TEXT)
    data = smooth(0, (3, 16, 16))
    write_volume(data, Volume(data, np.eye(4), Path("made")), tmp_path / "a.txt", "made by a test")
    np.testing.assert_allclose(read_volume(str(tmp_path / "a.txt")).data, data)
    assert read_kspace(tmp_path / "a.txt").data.shape == (3, 1, 16, 16)
    assert volume_stem(Path("x/a.txt")) == "a"
    write_volume(smooth(1, (3, 16, 16)), Volume(data, np.eye(4), Path("made")), tmp_path / "b.npy")
    result = reconstruct(tmp_path / "a.txt", tmp_path / "b.npy", tmp_path / "c.txt", acceleration=2, device="cpu")
    np.testing.assert_allclose(read_volume(tmp_path / "c.txt").data, np.maximum(result.image, 0), rtol=1e-6)


def test_the_last_to_be_registered_is_asked_first(tmp_path):
    register_format(Format("mine", (".npy",), read=read_text, recognise=lambda path: path.read_bytes()[:1] == b"#"))
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "b.npy").write_text("# text")
    assert [format_of(tmp_path / name).name for name in ("a.npy", "b.npy", "none.npy")] == ["numpy", "mine", "numpy"]


def test_what_cannot_be_registered_is_refused_in_words():
    with pytest.raises(UserError, match=r"file format 'text': its endings are \('txt',\); write them with the dot"):
        register_format(Format("text", ("txt",)))
    with pytest.raises(UserError, match="the file format 'nifti' is one of fsmnet's own"):
        register_format(Format("nifti", (".nii",)))
    register_format(Format("text", (".txt",), read="nowhere.at.all:read"))
    with pytest.raises(UserError, match=r"file format 'text': nowhere\.at\.all cannot be imported"):
        FORMATS.get("text").function("read")


def test_results_may_be_nifti_or_what_their_source_is(tmp_path):
    register_format(TEXT)
    allowed = {
        "a.nii.gz": {"r.nii.gz", "r.nii"},
        "a.npy": {"r.nii.gz", "r.nii", "r.npy", "r.npz"},
        "a.h5": {"r.nii.gz", "r.nii", "r.npy", "r.npz", "r.h5", "r.hdf5"},
        "a.txt": {"r.nii.gz", "r.nii", "r.txt"},
        "a": {"r.nii.gz", "r.nii"},
    }
    for source, names in allowed.items():
        for name in ("r.nii.gz", "r.nii", "r.npy", "r.npz", "r.h5", "r.hdf5", "r.mrd", "r.txt", "r.png", "r"):
            if name in names:
                check_result_name(tmp_path / name, tmp_path / source)
            else:
                with pytest.raises(
                    UserError, match=rf"{name}: the result is written as NIfTI.*; end the name in \.nii"
                ):
                    check_result_name(tmp_path / name, tmp_path / source)
    with pytest.raises(UserError, match=r"written as NIfTI or text; end the name in \.nii\.gz or \.txt"):
        check_result_name(tmp_path / "r.npy", tmp_path / "a.txt")


def test_files_say_whether_this_package_made_them(tmp_path, smooth):
    volume = Volume(smooth(0, (3, 8, 9)), np.eye(4), Path("made"))
    write_volume(volume.data, volume, tmp_path / "ours.nii.gz", f"FSMNet reconstruction, {NOT_CLINICAL}")
    write_volume(volume.data, volume, tmp_path / "other.nii.gz", "a scan")
    write_volume(volume.data, volume, tmp_path / "numbers.npy")
    names = ("ours.nii.gz", "other.nii.gz", "numbers.npy", "nowhere.nii.gz", "nowhere.png")
    assert [is_ours(tmp_path / name) for name in names] == [True, False, False, False, False]
