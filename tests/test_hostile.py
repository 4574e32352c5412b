"""Files made to do harm: they are read as what they are, or refused in a sentence, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import fsmnet.files
from fsmnet.cli import main
from fsmnet.data.formats import read_volume
from fsmnet.errors import UserError
from fsmnet.files import PART, open_numpy, write_text
from fsmnet.models.torch_weights import read_state


@pytest.fixture
def voxels(smooth):
    return smooth(0, (24, 20, 4)).astype(np.int16)


def packed(voxels) -> bytes:
    stream = io.BytesIO()
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.to_file_map({"image": nib.FileHolder(fileobj=stream)})
    return stream.getvalue()


def test_a_gzip_stream_of_a_thousand_members(tmp_path, voxels):
    data = packed(voxels)
    step = -(-len(data) // 1000)
    members = [gzip.compress(data[first : first + step]) for first in range(0, len(data), step)]
    members += [gzip.compress(b"")] * (1000 - len(members))
    (tmp_path / "a.nii.gz").write_bytes(b"".join(members))
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").data, read_volume(tmp_path / "b.nii.gz").data)


def test_what_stands_behind_the_end_of_a_gzip_stream(tmp_path, voxels):
    whole = gzip.compress(packed(voxels))
    (tmp_path / "zeros.nii.gz").write_bytes(whole + bytes(1 << 20))  # padding, as tapes leave it
    assert read_volume(tmp_path / "zeros.nii.gz").data.shape == (4, 24, 20)
    (tmp_path / "rest.nii.gz").write_bytes(whole + b"rest")
    with pytest.raises(UserError, match=r"rest.nii.gz: .*copy it again"):
        read_volume(tmp_path / "rest.nii.gz")
    bomb = gzip.compress(packed(voxels) + bytes(1 << 27), 1)
    (tmp_path / "bomb.nii.gz").write_bytes(bomb)
    with pytest.raises(UserError, match=r"bomb.nii.gz: "):
        read_volume(tmp_path / "bomb.nii.gz")


def test_names_in_an_archive_lead_nowhere(tmp_path, voxels):
    stream = io.BytesIO()
    np.save(stream, voxels.astype(np.float32))
    folder = tmp_path / "in"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name in ("../outside.npy", "/tmp/fsmnet-outside.npy", "image.npy"):
            archive.writestr(name, stream.getvalue())
    file = open_numpy(folder / "a.npz")
    assert file.read("image").shape == voxels.shape
    assert file.read("../outside").shape == voxels.shape
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in folder.iterdir()] == ["a.npz"]
    assert not os.path.lexists("/tmp/fsmnet-outside.npy")


def test_a_link_among_unfinished_files_leads_nowhere(tmp_path):
    """The link goes, what it points at stays."""
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "kept").touch()
    out.mkdir()
    place = fsmnet.files._place()
    link = out / f"{PART}{place}-999999999-abcdefgh-a"  # of a process that there cannot be
    link.symlink_to(outside, target_is_directory=True)
    write_text(out / "b.txt", "b")
    assert not link.is_symlink()
    assert (outside / "kept").exists()


def packed_again(source: Path, target: Path, method: int, twice: bool = False) -> None:
    """The entries of an archive, packed; or the last one named by two entries of the directory."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w", method) as written:
        for entry in read.infolist():
            written.writestr(entry.filename, read.read(entry))
        if twice:
            written.filelist.extend([entry for entry in written.filelist if entry.filename.endswith("data/0")] * 9)


def test_weights_that_unpack_to_more_than_the_file_has(tmp_path):
    """A megabyte of deflated zeros would be a gigabyte."""
    torch.save({"a.weight": torch.zeros(1 << 18)}, tmp_path / "good.pth")
    packed_again(tmp_path / "good.pth", tmp_path / "same.pth", zipfile.ZIP_STORED)
    assert read_state(tmp_path / "same.pth")["a.weight"].shape == (1 << 18,)
    packed_again(tmp_path / "good.pth", tmp_path / "bomb.pth", zipfile.ZIP_DEFLATED)
    packed_again(tmp_path / "good.pth", tmp_path / "twice.pth", zipfile.ZIP_STORED, twice=True)
    for name in ("bomb.pth", "twice.pth"):
        with pytest.raises(UserError, match=rf"{name}: not a PyTorch checkpoint .*\(its entries are packed"):
            read_state(tmp_path / name)


def test_links_that_lead_out_of_the_data_are_read_and_nothing_is_written_behind_them(tmp_path, voxels, smooth):
    """A linked case is used; its folder stays as it is, and so does what a linked result pointed at."""
    store, data, out = tmp_path / "store", tmp_path / "data", tmp_path / "out"
    for folder in (store / "case", data, out):
        folder.mkdir(parents=True)
    for name, image in (("t2", voxels), ("t1", smooth(1, voxels.shape))):
        nib.save(nib.Nifti1Image(image, np.diag([1, 1, 3, 1])), store / "case" / f"case_{name}.nii.gz")
    (data / "case").symlink_to(store / "case", target_is_directory=True)
    (store / "kept.csv").write_text("kept")
    (out / "pairs.csv").symlink_to(store / "kept.csv")
    (out / "exams").symlink_to(store, target_is_directory=True)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert main(["pair", str(data), "--out", str(out / "pairs.csv"), "--overwrite"]) == 0
    words = ["--checkpoint", "pocs", "--acceleration", "2", "--device", "cpu", "--check", "off"]
    assert main(["reconstruct", "--pairs", str(out / "pairs.csv"), "--out", str(out), *words]) == 0
    assert (out / "case.nii.gz").is_file()
    assert not (out / "pairs.csv").is_symlink()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
