"""DICOM in and out: positions to 1e-3 mm by the tags, values to the quantisation, one sentence per fault.

pydicom writes the studies and SimpleITK is the other library that must read the result.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats import dicom
from fsmnet.data.formats.dicom import NOT_CLINICAL, choose_series, list_series, read_series, write_series
from fsmnet.data.grid import grid_difference
from fsmnet.errors import UserError

pydicom = pytest.importorskip("pydicom")
sitk = pytest.importorskip("SimpleITK")

from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402

from dicom_study import FRAME, OBLIQUE, STUDY, Plan, write  # noqa: E402

SYNTAXES = [
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless),
]


def by_tags(path: Path, column: int | np.ndarray, row: int | np.ndarray) -> np.ndarray:
    """Patient coordinates (RAS, mm) of pixels, by equation C.7.6.2.1-1 of the standard and a change of sign."""
    d = pydicom.dcmread(path)
    x, y = np.array(d.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = map(float, d.PixelSpacing)
    column, row = np.asarray(column)[..., None], np.asarray(row)[..., None]
    lps = np.array(d.ImagePositionPatient, dtype=float) + x * between_columns * column + y * between_rows * row
    return lps * [-1, -1, 1]


def assert_in_place(volume, files) -> None:
    """Every voxel of the volume lies where the tags of its file say, and holds the file's value."""
    _, height, width = volume.data.shape
    i, j = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for k, path in enumerate(files):
        d = pydicom.dcmread(path)
        assert d.pixel_array.shape == (width, height)
        place = np.stack([i, j, np.full_like(i, k), np.ones_like(i)], axis=-1) @ volume.affine[:3].T
        assert np.abs(place - by_tags(path, i, j)).max() < 1e-3
        values = d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)
        assert np.allclose(volume.data[k], values.T, rtol=1e-6)


@pytest.fixture
def study(tmp_path) -> Path:
    """Two series on different grids in one folder, files of both mixed, and one file that is not DICOM."""
    folder = tmp_path / "study"
    write(folder / "a", Plan())
    other = Plan(7, "T1 fl3d Äxial", (4, 12, 16), (1.3, 0.9), 4.5, np.eye(3), (-5, -6, -7), 1.0, 0.0, seed=5)
    write(folder / "a", other, prefix="XX")
    (folder / "readme.txt").write_text("not an image")
    return folder


def test_lists_what_a_study_holds(study):
    first, second = list_series(study)
    assert (first.number, first.description, first.modality, first.n_files) == (3, "T2 tse tra", "MR", 5)
    assert (first.rows, first.columns, first.phase_encoding, first.folder) == (18, 14, "COL", study)
    assert (second.number, second.description, second.n_files) == (7, "T1 fl3d Äxial", 4)
    assert first.study_uid == second.study_uid == STUDY
    assert first.frame_uid == second.frame_uid == FRAME
    assert first.patient == second.patient
    assert len(first.patient) == 16
    assert "P-17" not in f"{first}{first.patient}"
    numbers = [int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber) for path in first.files]
    assert numbers == [1, 2, 3, 4, 5]
    assert [path.name for path in first.files] != sorted(path.name for path in first.files)


def test_chooses_by_number_uid_and_description(study):
    series = list_series(study)
    for which in (7, "7", series[1].series_uid, "t1", "FL3D", "t1 fl3d äxial"):
        assert choose_series(series, which) is series[1]
    assert choose_series(series[:1]) is series[0]
    for which, message in {
        None: "choose one series by number.*series 3 'T2 tse tra'.*series 7",
        4: "no series fits '4'; there are series 3",
        "flair": "no series fits 'flair'",
        "T": "2 series fit 'T': series 3 .*choose one by its UID",
    }.items():
        with pytest.raises(UserError, match=message):
            choose_series(series, which)
    with pytest.raises(UserError, match="there are no series"):
        choose_series([], 1)


def test_a_full_description_wins_over_a_part_of_another(tmp_path):
    write(tmp_path / "a", Plan(1, "T2"))
    write(tmp_path / "b", Plan(2, "T2 fat sat"))
    series = list_series(tmp_path)
    assert choose_series(series, "t2").number == 1
    assert choose_series(series, "fat").number == 2


def test_reads_voxels_and_places_of_an_oblique_series(study):
    plan = Plan()
    volume = read_series(study, "T2")
    assert volume.data.dtype == np.float32
    assert volume.data.flags.c_contiguous
    assert volume.data.shape == (5, 14, 18)  # slices, columns, rows
    assert volume.shape == (14, 18, 5)
    assert volume.source == study
    assert (volume.n_nan, volume.n_negative, volume.header) == (0, 0, None)
    assert np.array_equal(volume.data, plan.values().transpose(0, 2, 1).astype(np.float32))
    assert_in_place(volume, list_series(study)[0].files)
    linear = plan.directions * [plan.spacing[1], plan.spacing[0], plan.step]
    expected = np.diag([-1, -1, 1, 1]) @ nib.affines.from_matvec(linear, plan.origin)
    assert volume.affine == pytest.approx(expected, abs=1e-6)


def test_a_series_and_its_folder_are_read_alike(study):
    series = list_series(study)
    assert np.array_equal(read_series(series[1]).data, read_series(study, 7).data)
    assert "is 16 x 12 x 4" in grid_difference(read_series(series[0]), read_series(series[1]))


def test_axes_are_those_nibabel_gives_for_a_nifti_of_the_same_series(study, tmp_path):
    reader = sitk.ImageSeriesReader()
    series = list_series(study)[0]
    reader.SetFileNames([str(path) for path in series.files])
    sitk.WriteImage(reader.Execute(), str(tmp_path / "itk.nii.gz"))
    image = nib.load(tmp_path / "itk.nii.gz")
    volume = read_series(series)
    assert np.array_equal(volume.data, np.moveaxis(image.get_fdata(dtype=np.float32), 2, 0))
    assert volume.affine == pytest.approx(image.affine, abs=1e-4)


@pytest.mark.parametrize(
    "directions",
    [np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]), np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]), np.diag([-1, 1, -1])],
    ids=["sagittal", "coronal", "feet first"],
)
def test_other_orientations(tmp_path, directions):
    assert np.linalg.det(directions) == pytest.approx(1)
    write(tmp_path, Plan(directions=directions.astype(float)))
    assert_in_place(read_series(tmp_path), list_series(tmp_path)[0].files)


def test_slices_numbered_against_their_normal_are_put_in_order(tmp_path):
    plan = Plan(step=-3.3)
    write(tmp_path, plan)
    volume = read_series(tmp_path)
    assert np.linalg.det(volume.affine) > 0
    assert np.array_equal(volume.data, plan.values()[::-1].transpose(0, 2, 1).astype(np.float32))
    assert_in_place(volume, list_series(tmp_path)[0].files)


def test_slopes_may_differ_between_slices(tmp_path):
    def change(k, d):
        d.RescaleSlope, d.RescaleIntercept = [1, 0.5, 0.125, 2.5, 3][k], k

    write(tmp_path, Plan(), change)
    assert_in_place(read_series(tmp_path), list_series(tmp_path)[0].files)


def test_without_slope_and_negative_after_it(tmp_path):
    write(tmp_path / "plain", Plan(slope=None))
    assert np.array_equal(read_series(tmp_path / "plain").data, Plan().stored().transpose(0, 2, 1))
    plan = Plan(slope=1.0, intercept=-100.0)
    write(tmp_path / "low", plan)
    volume = read_series(tmp_path / "low")
    assert volume.n_negative == np.count_nonzero(plan.values() < 0) > 0
    assert np.array_equal(volume.data, np.maximum(plan.values(), 0).transpose(0, 2, 1))
    assert "negative voxels" in volume.repairs()


def test_signed_pixels(tmp_path):
    def change(k, d):
        d.PixelRepresentation, d.BitsStored, d.HighBit = 1, 16, 15
        d.PixelData = (Plan().stored()[k].astype(np.int16) - 100).tobytes()
        del d.SmallestImagePixelValue, d.LargestImagePixelValue

    write(tmp_path, Plan(slope=None), change)
    volume = read_series(tmp_path)
    expected = Plan().stored().astype(np.float32) - 100
    assert volume.n_negative == np.count_nonzero(expected < 0)
    assert np.array_equal(volume.data, np.maximum(expected, 0).transpose(0, 2, 1))


def test_voxels_that_are_not_finite_become_0_and_are_counted(study, monkeypatch):
    original = dicom.pixels._read_pixels

    def spoilt(series, headers):
        array = original(series, headers)
        array[1, 2, 3], array[0, 0, 0] = np.nan, np.inf
        return array if series.number == 3 else np.full_like(array, np.nan)

    monkeypatch.setattr(dicom.pixels, "_read_pixels", spoilt)
    volume = read_series(study, 3)
    assert volume.n_nan == 2
    assert volume.data[1, 3, 2] == volume.data[0, 0, 0] == 0
    with pytest.raises(UserError, match="every voxel is NaN or infinite"):
        read_series(study, 7)


def test_one_slice_takes_its_step_from_the_header(tmp_path):
    write(tmp_path / "a", Plan(shape=(1, 8, 9)))
    volume = read_series(tmp_path / "a")
    assert volume.data.shape == (1, 9, 8)
    assert np.linalg.norm(volume.affine[:3, 2]) == pytest.approx(3.3)

    def change(k, d):
        del d.SpacingBetweenSlices

    write(tmp_path / "b", Plan(shape=(1, 8, 9)), change)
    assert np.linalg.norm(read_series(tmp_path / "b").affine[:3, 2]) == pytest.approx(3.0)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda u: u.name)
def test_other_transfer_syntaxes_are_read_and_derived_from(tmp_path, syntax):
    plan = Plan(syntax=syntax if syntax != uid.RLELossless else uid.ExplicitVRLittleEndian)

    def change(k, d):
        if syntax == uid.RLELossless:
            d.compress(uid.RLELossless, generate_instance_uid=False)

    write(tmp_path / "source", plan, change)
    volume = read_series(tmp_path / "source")
    assert np.array_equal(volume.data, plan.values().transpose(0, 2, 1).astype(np.float32))
    assert pydicom.dcmread(list_series(tmp_path / "source")[0].files[0]).file_meta.TransferSyntaxUID == syntax
    write_series(volume.data, tmp_path / "source", tmp_path / "result")
    assert np.abs(read_series(tmp_path / "result").data - volume.data).max() < volume.maximum / 30000
    written = pydicom.dcmread(next((tmp_path / "result").iterdir()))
    assert written.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian


# Written series


@pytest.fixture
def written(study, tmp_path):
    """Source series, data and the derived series of them."""
    source = list_series(study)[0]
    data = read_series(source).data * np.float32(0.83)
    series = write_series(
        data, source, tmp_path / "out" / "derived", description="FSMNet, 4x.", checkpoint="sha256 0123abcd"
    )
    return source, data, series


def test_a_written_series_holds_the_same_voxels_in_the_same_places(written):
    source, data, series = written
    volume = read_series(series)
    assert np.abs(volume.data - data).max() < data.max() / 30000
    assert volume.affine == pytest.approx(read_series(source).affine, abs=1e-6)
    for before, after in zip(source.files, series.files, strict=True):
        for column, row in ((0, 0), (13, 0), (0, 17), (13, 17), (5, 9)):
            assert by_tags(after, column, row) == pytest.approx(by_tags(before, column, row), abs=1e-9)
    assert_in_place(volume, series.files)


def test_another_library_reads_a_written_series(written):
    source, data, series = written
    (found,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(series.files[0].parent))
    assert found == series.series_uid != source.series_uid
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series.files[0].parent), found))
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    assert np.abs(array.transpose(0, 2, 1) - data).max() < data.max() / 30000
    for k, path in enumerate(series.files):
        for i, j in ((0, 0), (13, 17), (4, 3)):
            lps = np.array(image.TransformIndexToPhysicalPoint((i, j, k)))
            assert np.abs(lps * [-1, -1, 1] - by_tags(path, i, j)).max() < 1e-3


def test_headers_of_a_written_series(written):
    source, data, series = written
    assert series.n_files == source.n_files
    assert series.folder.name == "derived"
    assert [p.name for p in series.folder.parent.iterdir()] == ["derived"]
    uids = set()
    for before, after in zip(source.files, series.files, strict=True):
        old, new = pydicom.dcmread(before), pydicom.dcmread(after)
        uids.add(new.SOPInstanceUID)
        assert new.SOPInstanceUID == new.file_meta.MediaStorageSOPInstanceUID != old.SOPInstanceUID
        assert new.SOPClassUID == new.file_meta.MediaStorageSOPClassUID == uid.MRImageStorage
        assert new.SeriesInstanceUID == series.series_uid != old.SeriesInstanceUID
        for keyword in (
            *("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate"),
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "AccessionNumber"),
            *("SpacingBetweenSlices", "InstanceNumber", "Rows", "Columns", "Modality", "EchoTime", "StudyID"),
            *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "PositionReferenceIndicator"),
        ):
            assert new[keyword].value == old[keyword].value, keyword
        assert list(new.ImageType) == ["DERIVED", "SECONDARY", "M", "ND"]
        assert new.SeriesDescription == f"T2 tse tra - {NOT_CLINICAL}"
        assert new.SeriesNumber == 1003
        assert NOT_CLINICAL in new.ImageComments
        assert new.ContentQualification == "RESEARCH"
        for part in ("not for clinical use", "FSMNet, 4x.", "sha256 0123abcd", "Source series 3 'T2 tse tra'"):
            assert part in new.DerivationDescription
        (reference,) = new.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == old.SOPClassUID
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert new.ContributingEquipmentSequence[0].Manufacturer == "fsmnet"
        assert (new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation) == (16, 16, 15, 0)
        assert new.pixel_array.dtype == np.uint16
        assert float(new.WindowCenter) == pytest.approx(float(new.WindowWidth) / 2)
        assert float(new.WindowWidth) == pytest.approx(np.percentile(data, 99.5), rel=1e-5)
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "WindowCenterWidthExplanation"):
            assert keyword in old
            assert keyword not in new
        assert (0x0029, 0x1010) in old
        assert not [tag for tag in new.keys() if tag.is_private or tag.group == 0x6000]  # noqa: SIM118
        assert new.SeriesDate == new.ContentDate != old.SeriesDate
    assert len(uids) == series.n_files
    slopes = {(float(d.RescaleSlope), float(d.RescaleIntercept)) for d in map(pydicom.dcmread, series.files)}
    assert len(slopes) == 1


def test_a_long_description_is_cut_to_64_characters(tmp_path):
    write(tmp_path / "a", Plan(description="T2 tse tra 320 fat saturated p2"))
    data = read_series(tmp_path / "a").data
    series = write_series(data, tmp_path / "a", tmp_path / "b")
    assert len(series.description) <= 64
    assert series.description == f"T2 tse tra 320 f - {NOT_CLINICAL}"
    assert "fat saturated p2" in pydicom.dcmread(series.files[0]).DerivationDescription


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0, 3e-4), (0, 1e6), (-0.02, 1), (0, 0)],
    ids=["unit", "tiny", "large", "negative", "zero"],
)
def test_values_of_any_range_are_kept(tmp_path, low, high):
    write(tmp_path / "a", Plan())
    data = np.random.default_rng(1).uniform(low, high, (5, 14, 18)).astype(np.float32)
    series = write_series(data, tmp_path / "a", tmp_path / "b")
    headers = [pydicom.dcmread(path) for path in series.files]
    read = np.array([(d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)).T for d in headers])
    assert np.abs(read - data).max() <= (data.max() - min(data.min(), 0)) / 131000
    assert float(headers[0].WindowWidth) > 0
    assert ("VOILUTFunction" in headers[0]) == (high <= 1)


def test_instance_numbers_are_made_where_the_source_has_none(tmp_path):
    def change(k, d):
        d.InstanceNumber = None

    write(tmp_path / "a", Plan(), change)
    series = write_series(read_series(tmp_path / "a").data, tmp_path / "a", tmp_path / "b")
    assert [pydicom.dcmread(path).InstanceNumber for path in series.files] == [1, 2, 3, 4, 5]


def test_malformed_elements_are_left_out_and_private_ones_too(tmp_path, caplog):
    def change(k, d):
        d.add_new(0x00101030, "LO", "70,5")  # PatientWeight, to be read as a decimal number
        d.add_new(0x00189073, "OB", b"123456")  # AcquisitionDuration, to be read as a number of 8 bytes
        inner = Dataset()
        inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = uid.MRImageStorage, "1.2.3"
        inner.add_new(0x00290010, "LO", "NOBODY HEADER")
        d.ReferencedImageSequence = [inner]

    write(tmp_path / "a", Plan(syntax=uid.ImplicitVRLittleEndian), change)
    with caplog.at_level(logging.WARNING):
        series = write_series(read_series(tmp_path / "a").data, tmp_path / "a", tmp_path / "b")
    assert caplog.text.count("malformed elements of the source are left out: (0018,9073)") == 1
    written = pydicom.dcmread(series.files[0])
    assert "AcquisitionDuration" not in written
    assert written[0x00101030].value == "70,5"
    (inner,) = written.ReferencedImageSequence
    assert len(inner) == 2


def test_a_derived_series_can_lie_in_its_study_and_be_derived_from(study):
    data = read_series(study, "T2").data
    write_series(data, study, study / "derived", which="T2")
    assert [s.number for s in list_series(study)] == [3, 7, 1003]
    again = write_series(data, study, study / "again", which=1003)
    assert (again.number, again.n_files) == (2003, 5)
    assert len(pydicom.dcmread(again.files[0]).ContributingEquipmentSequence) == 2


def test_wrong_data_and_folders_are_refused_and_nothing_is_left(study, tmp_path):
    source = list_series(study)[0]
    data = read_series(source).data
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"data of shape \(5, 18, 14\) cannot take the place of series 3"):
        write_series(data.transpose(0, 2, 1), source, out)
    broken = data.copy()
    broken[2, 3, 4] = np.nan
    with pytest.raises(UserError, match="slice 2 has NaN or infinite values"):
        write_series(broken, source, out)
    with pytest.raises(UserError, match="is there already"):
        write_series(data, source, study)
    with pytest.raises(UserError, match="is there already"):
        write_series(data, source, study / "readme.txt")
    with pytest.raises(UserError, match="cannot make this output folder"):
        write_series(data, source, study / "readme.txt" / "out")
    assert not out.exists()
    out.mkdir()
    assert write_series(data, source, out).n_files == 5  # an empty folder will do


@pytest.mark.parametrize(
    ("error", "seen", "message"),
    [
        (OSError(28, "No space left on device"), UserError, "cannot be written .no space left on device."),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
    ids=["full", "stopped"],
)
def test_an_interrupted_series_leaves_nothing(study, tmp_path, monkeypatch, error, seen, message):
    original, done = dicom.write._write_slice, []

    def failing(image, header, common, path, secret):
        if len(done) == 3:
            raise error
        done.append(path)
        return original(image, header, common, path, secret)

    source = list_series(study)[0]
    data = read_series(source).data
    monkeypatch.setattr(dicom.write, "_write_slice", failing)
    with pytest.raises(seen, match=message):
        write_series(data, source, tmp_path / "out" / "x")
    assert len(done) == 3
    assert list((tmp_path / "out").iterdir()) == []


def test_half_written_folders_are_not_listed(study):
    shutil.copytree(study / "a", study / ".part-killed")
    assert [s.n_files for s in list_series(study)] == [5, 4]


# Faults, one sentence each


def fault(tmp_path, change, message, plan=None):
    folder = tmp_path / "faulty"
    write(folder, plan or Plan(), change)
    with pytest.raises(UserError, match=message):
        read_series(folder)


def put(**values):
    """A change that sets these elements in every slice."""

    def change(k, d):
        for keyword, value in values.items():
            setattr(d, keyword, value)

    return change


def test_missing_slices(tmp_path):
    fault(
        tmp_path,
        lambda k, d: k not in (3, 4),
        r"about 2 slices missing: the usual step is 3.300 mm, but it is 9.900 mm between IM\d+ and IM\d+",
        Plan(shape=(9, 6, 5)),
    )


def test_uneven_steps(tmp_path):
    def change(k, d):
        d.ImagePositionPatient = list(Plan().position(k + 0.25 * (k == 2)))

    fault(tmp_path, change, r"not at equal steps: 2.475 to 4.125 mm, IM\d+ is 0.825 mm out of place")


def test_tilted_stack(tmp_path):
    def change(k, d):
        d.ImagePositionPatient = list(Plan().position(k) + OBLIQUE[:, 0] * 0.4 * k)

    fault(tmp_path, change, "shifted sideways by 0.400 mm from one to the next, 1.600 mm in all")


def test_rounded_positions_are_not_a_fault(tmp_path):
    def change(k, d):
        d.ImagePositionPatient = [f"{x:.2f}" for x in Plan().position(k)]

    write(tmp_path, Plan(), change)
    volume = read_series(tmp_path)
    for k, path in enumerate(list_series(tmp_path)[0].files):
        assert np.abs((volume.affine @ [0, 0, k, 1])[:3] - by_tags(path, 0, 0)).max() < 0.02


def test_mixed_orientations(tmp_path):
    def change(k, d):
        if k == 4:
            d.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    fault(tmp_path, change, r"mixes 2 orientations up to .* degrees apart \(.*4 files.*1 file")


def test_mixed_sizes(tmp_path):
    def change(k, d):
        if k == 4:
            d.Rows, d.Columns = d.Columns, d.Rows

    fault(tmp_path, change, r"mixes images of 14 x 18 \(4 files\), 18 x 14 \(1 file\)")


def test_mixed_pixel_spacings(tmp_path):
    fault(
        tmp_path,
        lambda k, d: setattr(d, "PixelSpacing", [0.7, 1.1 + (k == 4)]),
        r"mixes pixel spacings of \(0.7, 1.1\) \(4 files\), \(0.7, 2.1\) \(1 file\)",
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"EchoTime": 10}, {"EchoTime": 90}, r"2 echo times \(ms\) \(10(\.0)?, 90(\.0)?\)"),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, r"2 time points \(1, 2\)"),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, r"2 b-values \(0.0, 1000.0\)"),
        ({}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "2 image types"),
    ],
    ids=["echoes", "times", "diffusion", "phase"],
)
def test_several_images_at_each_position(tmp_path, first, second, message):
    plan, folder = Plan(), tmp_path / "a"
    write(folder, plan, put(**first))
    write(folder, plan, put(**second), prefix="B")
    with pytest.raises(UserError, match=f"holds 10 files at 5 positions: {message}.*folder of their own"):
        read_series(folder)


def test_duplicate_positions_and_copies(tmp_path):
    plan = Plan()
    paths = write(tmp_path / "a", plan)
    write(tmp_path / "a", plan, lambda k, d: k == 2, prefix="B")
    with pytest.raises(UserError, match=r"6 files at 5 positions: \w+ and \w+ both lie at \(.*\) mm; keep one image"):
        read_series(tmp_path / "a")
    paths = write(tmp_path / "b", plan)
    shutil.copy(paths[0], tmp_path / "b" / "copy")
    with pytest.raises(UserError, match=r"the same image is there more than once \(.*copy"):
        read_series(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(NumberOfFrames=4), "holds 4 frames .multi-frame DICOM., which are not read; convert"),
        (put(SOPClassUID=uid.RTDoseStorage), "is of SOP class RT Dose Storage; give slices of MR, CT, PET"),
        (put(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "is a mosaic of many slices in one image"),
        (put(PhotometricInterpretation="MONOCHROME1"), "1 samples per pixel, MONOCHROME1"),
        (put(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0), "3 samples per pixel, RGB"),
        (put(ImageType=["ORIGINAL", "PRIMARY", "P"]), "a phase image; give the magnitude series"),
        (put(ImagePositionPatient=None), "has no usable ImagePositionPatient, so its place in space is unknown"),
        (put(PixelSpacing=None, ImageOrientationPatient=None), "no usable ImageOrientationPatient and PixelSpacing"),
        (
            put(ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0]),
            "has lengths 1.0000 and 0.7071 and scalar product 0.5000",
        ),
        (put(PixelSpacing=[0, 1]), r"PixelSpacing \(0, 1\); it must be above 0"),
        (put(PixelData=bytes(2 * 14 * 18)), "every voxel is 10; a constant volume"),
        (lambda k, d: setattr(d, "PatientID", f"P{k // 3}"), "its files belong to 2 patients"),
        (lambda k, d: setattr(d, "StudyInstanceUID", f"1.2.{k // 3}"), "its files belong to 2 studies"),
        (lambda k, d: setattr(d, "FrameOfReferenceUID", f"1.2.{k // 3}"), "its files belong to 2 frames of reference"),
    ],
)
def test_series_that_are_no_magnitude_stack(tmp_path, change, message):
    fault(tmp_path, change, message)


def test_values_that_are_not_numbers(tmp_path):
    def change(k, d):
        if k == 4:
            d.SeriesNumber = None
            d.ImagePositionPatient = None
            d.add_new(0x00200032, "LO", "far\\too\\far")

    write(tmp_path, Plan(syntax=uid.ImplicitVRLittleEndian), change)
    with pytest.raises(UserError, match="no usable ImagePositionPatient"):
        read_series(tmp_path)


def test_pixels_that_cannot_be_decoded(tmp_path):
    def change(k, d):
        if k == 3:
            d.file_meta.TransferSyntaxUID = uid.HTJ2KLossless
            d.PixelData = pydicom.encaps.encapsulate([b"no image"])
            d["PixelData"].VR = "OB"

    fault(tmp_path, change, r"IM\d+: .*compressed in a way that SimpleITK cannot decode \(High-Throughput JPEG 2000")


def test_cut_pixels(tmp_path):
    paths = write(tmp_path, Plan())
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{paths[2].name}: its pixels are cut short or damaged; copy the file again"):
        read_series(tmp_path)


def test_cut_headers(tmp_path):
    paths = write(tmp_path, Plan())
    whole = paths[2].read_bytes()
    for size in (150, 700, 1000, 1300, len(whole) - 505):
        paths[2].write_bytes(whole[:size])
        with pytest.raises(UserError, match=paths[2].name):
            read_series(tmp_path)


def test_a_damaged_series_does_not_hide_the_others(study):
    series = list_series(study)
    path = series[0].files[2]
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x28\x00\x10\x00US")])  # where Rows begins
    again = list_series(study)
    assert [s.n_files for s in again] == [5, 4]
    assert (again[0].rows, again[0].columns) == (18, 14)
    assert read_series(study, 7).data.shape == (4, 16, 12)
    with pytest.raises(UserError, match=f"{path.name} is an image without Rows or Columns, cut short or damaged"):
        read_series(study, 3)


def test_folders_without_images(tmp_path, caplog):
    with pytest.raises(UserError, match="no such folder"):
        list_series(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no files"):
        list_series(tmp_path)
    (tmp_path / "scan.dcm").write_bytes(b"x" * 500)
    (tmp_path / "empty").touch()
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="not one DICOM file among 2 files"):
        list_series(tmp_path)
    assert "scan.dcm: not a DICOM file, though it is named like one" in caplog.text
    with pytest.raises(UserError, match="is a file; give the folder"):
        list_series(tmp_path / "empty")
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = uid.BasicTextSRStorage, uid.generate_uid()
    report.SeriesInstanceUID = uid.generate_uid()
    report.save_as(tmp_path / "report", enforce_file_format=True)
    with pytest.raises(UserError, match="not one image among 1 DICOM file;"):
        list_series(tmp_path)


def test_files_that_vanish_after_listing(study):
    series = list_series(study)[0]
    series.files[1].write_text("something else")
    with pytest.raises(UserError, match="no longer a DICOM image"):
        read_series(series)
    series.files[1].unlink()
    with pytest.raises(UserError, match="no such file, though it was there"):
        read_series(series)


@pytest.mark.parametrize("missing", ["pydicom", "SimpleITK"])
def test_missing_packages(study, monkeypatch, missing):
    original = importlib.import_module

    def importing(name, *rest):
        if name == missing:
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(importlib, "import_module", importing)
    with pytest.raises(UserError, match=rf"needs the {missing} package; install it with pip install 'fsmnet\[dicom\]'"):
        read_series(study, 3)
