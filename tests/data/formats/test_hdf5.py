"""Images of fastMRI's HDF5 files as volumes, and what to do with files that hold k-space only."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from fsmnet.data.formats import read_volume
from fsmnet.errors import UserError

SHAPE = (3, 10, 12)
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>20</x><y>12</y><z>1</z></matrixSize></encodedSpace>
<reconSpace><matrixSize><x>10</x><y>12</y><z>1</z></matrixSize>
<fieldOfView_mm><x>70</x><y>60</y><z>4.5</z></fieldOfView_mm></reconSpace></encoding></ismrmrdHeader>"""


def write(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
    return path


@pytest.mark.parametrize(("name", "coils"), [("reconstruction_esc", ()), ("reconstruction_rss", (2,))])
def test_images_of_a_fastmri_file(tmp_path, smooth, name, coils):
    image = smooth(0, SHAPE, 0, 1e-4)
    kspace = np.ones((3, *coils, 20, 12), np.complex64)
    path = write(tmp_path / "knee.h5", kspace=kspace, ismrmrd_header=HEADER, **{name: image})
    volume = read_volume(path)
    assert np.array_equal(volume.data, image)
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.affine, np.diag([7, 5, 4.5, 1]))  # mm: rows are the readout x, columns y
    assert not volume.placed


def test_images_without_a_header(tmp_path, smooth):
    volume = read_volume(write(tmp_path / "made.hdf5", reconstruction_rss=smooth(0, SHAPE)))
    assert np.array_equal(volume.affine, np.eye(4))
    assert not volume.placed


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        (
            {"kspace": np.ones((3, 20, 12), np.complex64)},
            "holds fastMRI k-space and no image; give k-space with --kspace",
        ),
        ({"dataset/xml": "<x/>"}, "holds ISMRMRD data and no image; give k-space with --kspace, and images as NIfTI"),
        ({"something": np.ones(3)}, "has no reconstruction_esc or reconstruction_rss; give a file in fastMRI's format"),
        ({"reconstruction_esc": np.ones((3, 4))}, r"has 2 axes \(3, 4\)"),
        ({"reconstruction_esc": np.ones(SHAPE)}, "every voxel is 1"),
    ],
)
def test_files_without_a_volume_are_refused_in_words(tmp_path, datasets, words):
    path = write(tmp_path / "a.h5", **datasets)
    with pytest.raises(UserError, match=words) as error:
        read_volume(path)
    assert str(error.value).startswith(f"{path}: ")


def test_damaged_files_are_refused_in_words(tmp_path, smooth):
    path = write(tmp_path / "a.h5", reconstruction_esc=smooth(0, SHAPE))
    whole = path.read_bytes()
    for content in (b"", b"no HDF5" * 100, whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cut short, damaged or not an HDF5 file"):
            read_volume(path)
