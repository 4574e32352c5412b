"""Files made to do harm: they are read as what they are, or refused in a sentence, and nothing is left behind."""

from __future__ import annotations

import gzip
import io
import os
import zipfile

import nibabel as nib
import numpy as np
import pytest

import fsmnet.files
from fsmnet.data.formats import read_volume
from fsmnet.errors import UserError
from fsmnet.files import PART, open_numpy, write_text


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
