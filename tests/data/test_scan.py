"""DICOM through reconstruction and back: same place, right phase-encode axis."""

from __future__ import annotations

import re

import h5py
import nibabel as nib
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")

from dicom_study import Plan, write  # noqa: E402
from fsmnet import reconstruct  # noqa: E402
from fsmnet.data.formats import read_volume  # noqa: E402
from fsmnet.data.formats.dicom import list_series, read_series  # noqa: E402
from fsmnet.data.grid import grid_difference  # noqa: E402
from fsmnet.data.scan import check_output, read_scan, warn_if_strange, write_scan  # noqa: E402
from fsmnet.data.volume import turn  # noqa: E402
from fsmnet.errors import UserError  # noqa: E402
from fsmnet.files import sha256  # noqa: E402

OBLIQUE = np.array([[-0.9, 0.1, 0.3, 40.0], [0.1, 1.1, -0.2, -31.0], [-0.15, 0.25, 2.9, 7.5], [0, 0, 0, 1]])

SHAPE = (3, 40, 32)  # slices, rows, columns


@pytest.fixture
def study(tmp_path):
    """Two oblique series of one exam on one grid; the T1 was phase-encoded along the other axis."""

    def along_the_row(_, dataset):
        dataset.InPlanePhaseEncodingDirection = "ROW"

    write(tmp_path / "study", Plan(number=3, description="T2 tse", shape=SHAPE, seed=1), prefix="A")
    write(tmp_path / "study", Plan(number=4, description="T1 se", shape=SHAPE, seed=2), along_the_row, prefix="B")
    return tmp_path / "study"


def test_the_phase_encode_axis_is_last(study):
    along_columns, along_rows = read_scan(study, "T2"), read_scan(study, "T1")
    assert (along_columns.turned, along_rows.turned) == (False, True)
    assert along_columns.volume.data.shape == (3, 32, 40)  # W: over the rows
    assert along_rows.volume.data.shape == (3, 40, 32)  # W: over the columns
    # Turned twice it is what was read, in the same place.
    original = read_series(study, "T1")
    assert not grid_difference(turn(along_rows.volume), original)
    assert np.array_equal(turn(along_rows.volume).data, original.data)


@pytest.mark.parametrize(("target", "auxiliary"), [("T2", "T1"), ("T1", "T2")])
def test_dicom_in_and_out(study, tmp_path, checkpoint_file, target, auxiliary):
    out = tmp_path / "result"
    options = {"checkpoint": checkpoint_file(tmp_path / "best.safetensors"), "device": "cpu"}
    series = {"target_series": target, "auxiliary_series": auxiliary}
    result = reconstruct(study, study, out, **series, **options)
    [written] = list_series(out)
    again, source = read_series(written), read_series(study, target)
    assert not grid_difference(again, source)  # every voxel within 1e-3 mm
    assert again.data.shape == source.data.shape
    expected = result.image.transpose(0, 2, 1) if target == "T1" else result.image
    assert np.abs(again.data - expected).max() < expected.max() / 30_000
    assert written.study_uid == list_series(study)[0].study_uid
    assert (tmp_path / "result_mask.npz").exists()
    assert target in result.sidecar["Sources"][0]["series"]
    with pytest.raises(UserError, match="not an empty folder"):
        reconstruct(study, study, out, overwrite=True, **series, **options)
    reconstruct(study, study, tmp_path / "as_nifti.nii.gz", **series, **options)


def test_series_are_chosen_only_in_folders(tmp_path, write_nifti):
    path = write_nifti(tmp_path / "x.nii.gz", np.ones((8, 8, 2), np.float32))
    with pytest.raises(UserError, match="only a DICOM folder has series"):
        read_scan(path, "T2")


def test_the_phase_encode_axis_of_a_file_can_be_said(tmp_path, write_nifti, smooth):
    array = smooth(0, (8, 9, 3))
    path = write_nifti(tmp_path / "x.nii.gz", array, OBLIQUE)
    as_stored, turned = read_scan(path), read_scan(path, phase_encode="rows")
    assert read_scan(path, phase_encode="columns").turned is False
    assert np.array_equal(turned.volume.data, as_stored.volume.data.transpose(0, 2, 1))
    i, j, k = 2, 5, 1  # the same voxel in the same place
    assert turned.volume.data[k, j, i] == array[i, j, k]
    np.testing.assert_allclose(turned.volume.affine @ [j, i, k, 1], OBLIQUE @ [i, j, k, 1], atol=1e-5)
    # and back: what is written has the file's own axes and header
    write_scan(turned.volume.data, turned, tmp_path / "y.nii.gz", "made")
    result, source = nib.load(tmp_path / "y.nii.gz"), nib.load(path)
    assert np.array_equal(np.asarray(result.dataobj), array)
    assert np.array_equal(result.affine, source.affine)
    assert result.header["sform_code"] == source.header["sform_code"]


def test_the_phase_encode_axis_of_dicom_is_its_tags(study, tmp_path):
    for which, axis, other in (("T2", "columns", "rows"), ("T1", "rows", "columns")):
        assert read_scan(study, which, axis).turned == read_scan(study, which).turned
        with pytest.raises(UserError, match=rf"was phase-encoded along {axis} \(InPlanePhase.*\), not {other}; leave"):
            read_scan(study, which, other)

    def untold(_, dataset):
        del dataset.InPlanePhaseEncodingDirection

    write(tmp_path / "untold", Plan(shape=SHAPE), untold)
    assert [read_scan(tmp_path / "untold", None, axis).turned for axis in (None, "columns", "rows")] == [0, 0, 1]


@pytest.mark.parametrize("which", ["T2", "T1"])
def test_dicom_as_nifti_has_the_axes_it_was_read_with(study, tmp_path, which):
    scan = read_scan(study, which)
    write_scan(scan.volume.data, scan, tmp_path / "x.nii.gz", "made")
    image, source = nib.load(tmp_path / "x.nii.gz"), read_series(study, which)
    assert np.array_equal(np.moveaxis(np.asarray(image.dataobj), 2, 0), source.data)
    np.testing.assert_allclose(image.affine, source.affine, atol=1e-4)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.h5"])
def test_arrays_give_arrays_or_nifti(tmp_path, smooth, name):
    source, array = tmp_path / name, smooth(0, (3, 8, 9))
    if name == "x.h5":
        with h5py.File(source, "w") as file:
            file["reconstruction_rss"] = array
    else:
        np.save(source, array) if name == "x.npy" else np.savez(source, image=array, affine=OBLIQUE)
    scan = read_scan(source, phase_encode="rows")
    assert scan.sha256() == sha256(source)
    for out in ("y.npy", "y.npz", "y.nii.gz"):
        check_output(tmp_path / out, source)
        write_scan(scan.volume.data, scan, tmp_path / out, "made")
        again = read_volume(tmp_path / out)
        assert np.array_equal(again.data, array)
        if name == "x.npz" and out != "y.npy":
            np.testing.assert_allclose(again.affine, OBLIQUE, atol=1e-5)
    if name == "x.h5":
        check_output(tmp_path / "y.h5", source)
        write_scan(scan.volume.data, scan, tmp_path / "y.h5", "made")
        with h5py.File(tmp_path / "y.h5") as file:
            assert np.array_equal(file["reconstruction"], array)
    else:
        with pytest.raises(UserError, match=r"y\.h5: the result is written as NIfTI or NumPy; end the name in"):
            check_output(tmp_path / "y.h5", source)
    with pytest.raises(UserError, match=r"y\.npz: the result is written as NIfTI; end the name in \.nii\.gz"):
        check_output(tmp_path / "y.npz", tmp_path / "x.nii.gz")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.h5", "x.dcm"])
def test_a_series_gives_no_single_file_but_nifti(study, tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}: a DICOM series is written as a folder, or as NIfTI"):
        check_output(tmp_path / name, study)


def test_series_that_do_not_belong_together_are_told(study, tmp_path, caplog):
    def other(_, dataset):
        dataset.PatientID, dataset.FrameOfReferenceUID = "P-18", "1.2.3"

    write(tmp_path / "other", Plan(number=5, description="T1 of another"), other)
    target, strange = read_scan(study, "T2"), read_scan(tmp_path / "other")
    names = f"{study}, series 3 'T2 tse' and {tmp_path / 'other'}, series 5 'T1 of another'"
    patients = f"{names}: have different PatientIDs; are they of one patient?"
    frames = (
        f"{names}: have different frames of reference, so their positions cannot be compared; pass --register rigid"
    )
    warn_if_strange(target, strange, registered=False)
    assert caplog.messages == [patients, frames]
    warn_if_strange(target, strange, registered=True)
    assert caplog.messages[2:] == [patients]
    caplog.clear()
    warn_if_strange(target, read_scan(study, "T1"), registered=False)
    np.save(tmp_path / "x.npy", np.arange(24.0).reshape(2, 3, 4))
    warn_if_strange(target, read_scan(tmp_path / "x.npy"), registered=False)
    assert not caplog.messages


def nifti(path, array, phase=None, placed=True):
    """A file whose header says that axis ``phase`` was phase-encoded."""
    image = nib.Nifti1Image(array, OBLIQUE)
    image.header.set_dim_info(None if phase is None else 1 - phase, phase, 2)
    if not placed:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nib.save(image, path)
    return path


def test_a_nifti_header_tells_the_phase_encode_axis(tmp_path, smooth, caplog):
    array = smooth(0, (10, 12, 4))
    path = nifti(tmp_path / "t2.nii.gz", array, phase=0)
    for asked, turned, words in (
        (None, True, "rows are phase-encoded, as its header says"),
        ("rows", True, ""),
        ("columns", False, "its header says that rows were phase-encoded; columns are taken, as --phase-encode says"),
    ):
        caplog.clear()
        with caplog.at_level("INFO"):
            scan = read_scan(path, None, asked)
        assert scan.turned is turned
        assert words in caplog.text
        assert bool(caplog.messages) == bool(words)
        assert np.array_equal(scan.volume.data, array.transpose((2, 1, 0) if turned else (2, 0, 1)))
        write_scan(scan.volume.data, scan, tmp_path / "again.nii.gz", "")
        again = nib.load(tmp_path / "again.nii.gz")
        assert np.array_equal(again.get_fdata(dtype=np.float32), array)
        assert again.affine == pytest.approx(OBLIQUE, abs=1e-4)
    assert read_scan(path, follow=True).turned is False
    assert read_scan(nifti(tmp_path / "t2.nii.gz", array, phase=1)).turned is False


@pytest.mark.parametrize("auxiliary_phase", [None, 0, 1])
def test_the_auxiliary_follows_the_target(tmp_path, smooth, auxiliary_phase):
    """Where nothing places the two, squares laid over each other the wrong way round would pass."""
    from fsmnet.data.pairing.names import load_pair
    from fsmnet.reconstruction.inputs import read_inputs
    from fsmnet.reconstruction.options import ReconstructConfig

    arrays = smooth(0, (12, 12, 4)), smooth(1, (12, 12, 4))
    target = nifti(tmp_path / "t2.nii.gz", arrays[0], phase=0, placed=False)
    auxiliary = nifti(tmp_path / "t1.nii.gz", arrays[1], auxiliary_phase, placed=False)
    inputs = read_inputs(ReconstructConfig(target=target, auxiliary=auxiliary, out=tmp_path / "new.nii.gz"))
    for pair in ((inputs.target.volume, inputs.auxiliary), load_pair(target, auxiliary)):
        for volume, array in zip(pair, arrays, strict=True):
            assert np.array_equal(volume.data, array.transpose(2, 1, 0))


def test_without_a_place_nothing_is_resampled(tmp_path, smooth, caplog):
    target = nifti(tmp_path / "t2.nii.gz", smooth(0, (12, 12, 4)), placed=False)
    longer = nifti(tmp_path / "long.nii.gz", smooth(1, (14, 12, 4)), placed=False)
    placed = nifti(tmp_path / "t1.nii.gz", smooth(1, (12, 12, 4)))
    for helper in (longer, nifti(tmp_path / "placed.nii.gz", smooth(1, (14, 12, 4)))):
        with pytest.raises(UserError, match="has no place in space, so nothing can be moved onto it"):
            reconstruct(target, helper, tmp_path / "r.nii.gz", resample=True)
        with pytest.raises(UserError, match=r"is 12 x 12 x 4, .* is 14 x 12 x 4; give them on one grid"):
            reconstruct(target, helper, tmp_path / "r.nii.gz")
    reconstruct(target, placed, tmp_path / "r.nii.gz", acceleration=2)
    assert f"{target}: has no place in space; taken to lie on the grid of {placed}" in caplog.text
    header = nib.load(tmp_path / "r.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)


@pytest.mark.parametrize("source", ["AcquisitionMatrix", "NumberOfPhaseEncodingSteps", "share", "sidecar", "no header"])
def test_an_image_that_the_scanner_enlarged_is_told(tmp_path, caplog, source):
    """k-space is zero outside the middle half: half of the lines that a mask counts were never there."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.fft2(rng.normal(size=(2, 3, 48, 80))) / (0.05 + np.abs(np.fft.fftfreq(80)))
    spectrum[..., 20:-19] = 0
    contrasts = np.fft.ifft2(spectrum).real
    contrasts = np.round(1000 + 200 * contrasts / contrasts.std()).clip(1, 4000).astype(np.uint16)  # (2, S, H, W)
    if source in ("sidecar", "no header"):
        files = [tmp_path / name for name in ("t2.nii.gz", "t1.nii.gz")]
        for path, contrast in zip(files, contrasts, strict=True):
            nib.save(nib.Nifti1Image(contrast.transpose(1, 2, 0), OBLIQUE), path)
        if source == "sidecar":
            (tmp_path / "t2.json").write_text('{"AcquisitionMatrixPE": 40}')
        out = tmp_path / "new.nii.gz"
    else:
        values = {
            "AcquisitionMatrix": {"AcquisitionMatrix": [0, 48, 40, 0]},
            "NumberOfPhaseEncodingSteps": {"NumberOfPhaseEncodingSteps": 40},
            "share": {"AcquisitionMatrix": [0, 48, 20, 0], "PercentPhaseFieldOfView": 50},
        }[source]

        def change(contrast):
            def put(k, d):
                d.PixelData = contrast[k].T.tobytes()
                for keyword, value in values.items():
                    setattr(d, keyword, value)

            return put

        files, out = [tmp_path / "T2", tmp_path / "T1"], tmp_path / "new"
        for path, contrast in zip(files, contrasts, strict=True):
            write(path, Plan(shape=(3, 80, 48), slope=None, series_uid=pydicom.uid.generate_uid()), change(contrast))
        assert read_series(files[0]).acquired == 40
    result = reconstruct(*files, out, acceleration=4, mask_seed=1)
    (told,) = [message for message in caplog.messages if "interpolated" in message]
    assert re.search(r"k-space is empty beyond its middle (38|40) of 80 columns", told)
    kept = int(re.search(r"the mask keeps (\d+) of", told)[1])
    assert kept < result.mask.columns.sum()
    assert told.removeprefix(f"{tmp_path}/") in result.sidecar["Simulation"]
