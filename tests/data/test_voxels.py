"""How a result is stored: the source's type, rounding below a quarter of the noise, files of the source's size."""

from __future__ import annotations

import logging
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats.nifti import NiftiWriter, read_nifti
from fsmnet.data.stored import Stored
from fsmnet.data.voxels import chosen, for_map, noise_of

SHAPE = (48, 40, 6)


@pytest.fixture
def head():
    """Function (brightest value, deviation of the noise) -> a smooth object in an empty background, ``(H, W, S)``."""

    def make(most: float, noise: float) -> np.ndarray:
        across, down, through = (np.linspace(0.6, 1, n) for n in SHAPE)
        data = most * np.einsum("i,j,k->ijk", across, down, through)
        data += np.random.default_rng(1).normal(0, noise, SHAPE)
        data[:6] = data[:, :5] = 0
        return data.clip(0)

    return make


@pytest.fixture
def stored(tmp_path):
    """Function (intensities, type, slope, intercept) -> the volume that a file of them is read as."""

    def make(data, kind, slope=1.0, intercept=0.0):
        image = nib.Nifti1Image(np.rint((data - intercept) / slope).astype(kind), np.diag([1.0, 1, 3, 1]))
        image.header.set_slope_inter(slope, intercept)
        nib.save(image, tmp_path / "source.nii.gz")
        return read_nifti(tmp_path / "source.nii.gz")

    return make


def test_the_noise_is_found(head):
    for noise in (2.0, 20.0):
        data = np.moveaxis(head(1500, noise), 2, 0).astype(np.float32)
        assert noise_of(data) == pytest.approx(noise, rel=0.15)
    assert noise_of(np.zeros((2, 8, 8), np.float32)) == 0.0


@pytest.mark.parametrize(
    ("kind", "slope", "intercept", "most", "noise", "expected"),
    [
        ("int16", 1.0, 0.0, 1500, 10, ("int16", 1.0, 0.0)),  # as most scans are
        ("uint16", 0.5, 0.0, 1500, 10, ("uint16", 0.5, 0.0)),
        ("int16", 0.5, -20.0, 1500, 10, ("int16", 0.5, -20.0)),  # the background is a stored 40
        ("int16", 1.0, 0.3, 1500, 10, ("int16", 1.0, 0.0)),  # the background would be none
        ("int16", 1.0, 0.0, 30, 0.5, ("int16", 0.25, 0.0)),  # steps of the noise's size
        ("int16", 1.0, 0.0, 30000, 30, ("int16", 16.0, 0.0)),  # no room above the brightest
        ("uint8", 1.0, 0.0, 250, 2, ("int16", 1.0, 0.0)),  # no room in 8 bits
        ("uint8", 1.0, 0.0, 100, 3, ("uint8", 1.0, 0.0)),
        ("int32", 1.0, 0.0, 1500, 10, ("int32", 1.0, 0.0)),
        ("float32", 1.0, 0.0, 1500, 10, ("float32", 1.0, 0.0)),
        ("float64", 1.0, 0.0, 1500, 10, ("float32", 1.0, 0.0)),
    ],
)
def test_what_is_chosen(head, stored, kind, slope, intercept, most, noise, expected):
    volume = stored(head(most, noise), kind, slope, intercept)
    one = chosen(volume)
    assert (one.type, one.slope, one.intercept) == expected
    assert one.rounding <= 0.25 * (one.noise or 0)
    assert chosen(volume, "float32") == Stored() == chosen(replace(volume, stored=None))


def test_written_and_read_again(head, stored, tmp_path):
    """The error is what was promised, the background is exactly zero, and the file is no larger than the source's."""
    volume = stored(head(1500, 10), "int16", 0.5, -20.0)
    result = volume.data * np.random.default_rng(0).normal(1, 0.01, volume.data.shape).astype(np.float32)
    one = chosen(volume)
    writer = NiftiWriter(volume, tmp_path / "result.nii.gz", one)
    for plane in result:
        writer.add(plane[None])
    writer.save()
    again = read_nifti(tmp_path / "result.nii.gz")
    assert again.stored == Stored("int16", 0.5, -20.0)
    error = again.data - result
    assert np.sqrt(np.mean(error**2)) < one.rounding * 1.05 < 0.25 * 10
    assert np.all(again.data[volume.data == 0] == 0)
    sizes = [(tmp_path / f"{name}.nii.gz").stat().st_size for name in ("source", "result")]
    assert sizes[1] < 1.1 * sizes[0]


def test_what_cannot_be_held_is_told(head, stored, tmp_path, caplog):
    volume = stored(head(1500, 10), "int16")
    writer = NiftiWriter(volume, tmp_path / "result.nii", chosen(volume))
    writer.add(np.where(volume.data == volume.maximum, np.float32(1e6), volume.data))
    with caplog.at_level(logging.WARNING):
        writer.save()
    assert "1 voxels lie beyond what int16 can hold and were cut; --dtype float32 keeps them" in caplog.text
    assert read_nifti(tmp_path / "result.nii").maximum == 32767


def test_maps_of_either_sign():
    map_ = np.array([[[-3.0e5, 2.0]]], np.float32)
    assert for_map(Stored("uint16", 0.5, -20.0), map_[..., 1:]) == Stored("int16", 0.5)
    wide = for_map(Stored("int16", 0.5), map_)
    assert (wide.type, wide.slope) == ("int16", 16.0)
    assert for_map(Stored(), map_) == Stored()
