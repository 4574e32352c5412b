"""NIfTI in and out: the place in space stays, repairs are counted, and wrong files are refused in words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fsmnet.data.formats import read_volume, volume_stem, write_volume
from fsmnet.data.formats.nifti import GEOMETRY, NiftiWriter, check_output_name, read_header
from fsmnet.data.stored import Stored
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError

# Voxels of 0.9 x 1.1 x 3 mm, the first axis flipped, turned about the third axis and tilted.
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
TILT = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
OBLIQUE = nib.affines.from_matvec(TURN @ TILT @ np.diag([-0.9, 1.1, 3]), [80, -70.5, 12])
AFFINES = {
    "identity": np.eye(4),
    "flipped": np.diag([-1.0, -1.0, 2.0, 1.0]),
    "oblique": OBLIQUE,
}
WRONG = r"not a NIfTI image|cut short or damaged"
SHAPE = (6, 7, 4)  # rows, columns, slices, as in the file


@pytest.fixture
def array(smooth):
    return smooth(0, SHAPE)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_reading_and_writing_is_a_round_trip(tmp_path, write_nifti, array, affine, suffix):
    source = write_nifti(tmp_path / f"scan{suffix}", array, affine)
    volume = read_volume(source)
    assert volume.data.shape == (4, 6, 7)
    assert volume.data.dtype == np.float32
    assert volume.shape == SHAPE
    assert volume.source == source
    assert volume.data[3, 1, 2] == array[1, 2, 3]
    assert np.array_equal(volume.data, array.transpose(2, 0, 1))
    assert volume.affine == pytest.approx(affine, abs=1e-5)
    assert volume.maximum == array.max()
    assert (volume.n_nan, volume.n_negative, volume.repairs()) == (0, 0, "")

    result = tmp_path / "new folder" / f"result{suffix}"
    write_volume(2 * volume.data, volume, result, "made by a test")
    image = nib.load(result)
    assert np.array_equal(image.get_fdata(dtype=np.float32), 2 * array)
    assert image.affine == pytest.approx(affine, abs=1e-5)
    assert nib.aff2axcodes(image.affine) == nib.aff2axcodes(affine)
    assert image.header["descrip"].item() == b"made by a test"
    assert [path.name for path in result.parent.iterdir()] == [result.name]
    again = read_volume(result)
    assert np.array_equal(again.data, 2 * volume.data)


def test_scaled_integers_are_read_as_values_and_written_as_float(tmp_path, array):
    stored = array.astype(np.int16)
    image = nib.Nifti1Image(stored, OBLIQUE)
    image.header.set_slope_inter(0.5, 10)
    image.header["cal_max"] = 300
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "scan.nii.gz")

    volume = read_volume(tmp_path / "scan.nii.gz")
    assert np.array_equal(volume.data, (0.5 * stored + 10).transpose(2, 0, 1))

    write_volume(volume.data / 3, volume, tmp_path / "result.nii.gz")
    result = nib.load(tmp_path / "result.nii.gz")
    assert result.get_data_dtype() == np.float32
    assert (result.dataobj.slope, result.dataobj.inter) == (1, 0)
    assert np.array_equal(result.get_fdata(dtype=np.float32), (volume.data / 3).transpose(1, 2, 0))
    assert result.header["cal_max"] == 0  # the window of the source's values would be wrong
    assert result.header.get_xyzt_units() == ("mm", "sec")


@pytest.mark.parametrize("kind", [np.float32, np.complex64])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_is_nibabel_s_to_the_byte_whatever_parts_it_comes_in(tmp_path, array, suffix, order, kind):
    source = nib.Nifti1Image(array.astype(np.int16), OBLIQUE, nib.Nifti1Header(endianness=order))
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a name"))
    nib.save(source, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    slices = (volume.data / 7).astype(kind) * (1 if kind == np.float32 else 1 + 2j)

    header = nib.Nifti1Header(endianness=order)
    for name in GEOMETRY:  # no extension, nothing else that could name a person
        header[name] = volume.header[name]
    header.set_data_dtype(kind)
    header.set_slope_inter(1, 0)
    header["descrip"] = b"parts"
    expected = nib.Nifti1Image(slices.transpose(1, 2, 0), volume.affine, header).to_bytes()

    for turned in (False, True):
        path = tmp_path / f"result{suffix}"
        writer = NiftiWriter(volume, path, Stored(np.dtype(kind).name), "parts", turned)
        for part in (slice(0, 1), slice(1, 1), slice(1, 4)):
            writer.add(slices[part].swapaxes(1, 2) if turned else slices[part])
        assert not path.exists()
        writer.save()
        content = path.read_bytes()
        assert (gzip.decompress(content) if suffix == ".nii.gz" else content) == expected
        path.unlink()


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (2, 4)])
def test_codes_of_the_coordinate_systems_are_kept(tmp_path, array, codes):
    image = nib.Nifti1Image(array, OBLIQUE)
    image.set_qform(OBLIQUE, code=codes[0])
    image.set_sform(OBLIQUE, code=codes[1])
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    write_volume(volume.data, volume, tmp_path / "result.nii.gz")
    result = nib.load(tmp_path / "result.nii.gz")
    assert (int(result.header["qform_code"]), int(result.header["sform_code"])) == codes
    assert result.affine == pytest.approx(OBLIQUE, abs=1e-5)


def test_a_volume_without_a_header_can_be_written(tmp_path, array):
    volume = Volume(array.transpose(2, 0, 1), OBLIQUE, Path("made"))
    write_volume(volume.data, volume, tmp_path / "result.nii.gz", "x" * 200 + "µ")
    result = nib.load(tmp_path / "result.nii.gz")
    assert result.affine == pytest.approx(OBLIQUE, abs=1e-5)
    assert result.header["descrip"].item() == b"x" * 79


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, ">i2", ">f4"])
def test_all_real_types_are_read(tmp_path, write_nifti, array, dtype):
    values = (array / 5).round().astype(dtype)
    volume = read_volume(write_nifti(tmp_path / "scan.nii.gz", values))
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.data, values.astype(np.float32).transpose(2, 0, 1))


@pytest.mark.parametrize("single", [(1,), (1, 1)])
def test_trailing_axes_of_one_are_accepted(tmp_path, write_nifti, array, single):
    volume = read_volume(write_nifti(tmp_path / "scan.nii.gz", array.reshape(*SHAPE, *single)))
    assert np.array_equal(volume.data, array.transpose(2, 0, 1))


def test_nan_infinite_and_negative_voxels_become_zero_and_are_counted(tmp_path, write_nifti, array):
    array[0, 0, :3] = np.nan
    array[1, 0, 0], array[1, 0, 1] = np.inf, -np.inf
    array[2, 0, :4] = -1e-3
    path = write_nifti(tmp_path / "scan.nii.gz", array)
    volume = read_volume(path)
    assert (volume.n_nan, volume.n_negative) == (5, 4)
    assert volume.repairs() == f"{path}: 5 NaN or infinite and 4 negative voxels of 168 set to 0"
    assert np.count_nonzero(volume.data == 0) == 9
    assert volume.data.min() == 0
    assert np.isfinite(volume.data).all()


def one(value):
    return np.full(SHAPE, value, dtype=np.float32)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((*SHAPE, 2), dtype=np.float32), r"has 4 axes \(6, 7, 4, 2\); give one 3-D volume"),
        (np.zeros((6, 7), dtype=np.float32), r"has 2 axes \(6, 7\)"),
        (np.ones(SHAPE, dtype=np.complex64), "holds complex64 values; give a real magnitude image"),
        (np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]), "give a real magnitude image"),
        (one(np.nan), "every voxel is NaN or infinite; there is nothing to reconstruct"),
        (one(3), "every voxel is 3; a constant volume cannot be reconstructed"),
        (one(0), "every voxel is 0; a constant volume"),
        (one(-2), r"no voxel is above 0 \(they reach from -2 to -2\); give the magnitude image"),
    ],
)
def test_volumes_without_an_image_are_refused_in_words(tmp_path, write_nifti, array, sentence):
    path = write_nifti(tmp_path / "scan.nii.gz", array)
    with pytest.raises(UserError, match=sentence) as error:
        read_volume(path)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_files_and_folders_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match=r"gone\.nii: no such file"):
        read_volume(tmp_path / "gone.nii")
    with pytest.raises(UserError, match=r"is a folder; give the one file that is meant"):
        read_volume(tmp_path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.txt", "scan"])
@pytest.mark.parametrize("content", [b"", b"these are no voxels\n" * 50], ids=["empty", "text"])
def test_files_that_are_no_nifti_are_refused_in_words(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=WRONG):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_cut_short_anywhere_are_refused_in_words(tmp_path, write_nifti, array, suffix):
    path = write_nifti(tmp_path / f"scan{suffix}", array)
    whole = path.read_bytes()
    for length in (3, 40, 200, 349, 360, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=WRONG):
            read_volume(path)


def test_a_damaged_header_or_compression_is_refused_in_words(tmp_path, write_nifti, array):
    path = write_nifti(tmp_path / "scan.nii", array)
    whole = bytearray(path.read_bytes())
    for rows, sentence in ((-5, r"3 axes \(-5, 7, 4\)"), (0, r"3 axes \(0, 7, 4\)"), (32767, "cut short or damaged")):
        whole[42:44] = np.int16(rows).tobytes()
        path.write_bytes(whole)
        (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(whole)))
        for damaged in (path, tmp_path / "scan.nii.gz"):
            with pytest.raises(UserError, match=sentence):
                read_volume(damaged)
    compressed = bytearray(write_nifti(tmp_path / "scan.nii.gz", array).read_bytes())
    compressed[300:320] = b"\xff" * 20
    (tmp_path / "scan.nii.gz").write_bytes(compressed)
    with pytest.raises(UserError, match=WRONG):
        read_volume(tmp_path / "scan.nii.gz")


def test_results_are_named_as_nifti(tmp_path, array):
    volume = Volume(array.transpose(2, 0, 1), np.eye(4), Path("made"))
    for name in ("result.png", "result", "result.nii.zip"):
        with pytest.raises(UserError, match=r"the result is written as NIfTI; end the name in \.nii\.gz"):
            check_output_name(tmp_path / name)
        with pytest.raises(UserError, match="the result is written as NIfTI"):
            write_volume(volume.data, volume, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_stems_are_names_without_nifti_suffixes():
    for name, stem in (("a/b.nii.gz", "b"), ("b.nii", "b"), ("b.1_t2.nii.gz", "b.1_t2"), ("nii.gz.nii", "nii.gz")):
        assert volume_stem(Path(name)) == stem


def bent(path, array, affine=OBLIQUE, **fields):
    """A file whose header's fields are what is given, as other programs leave them."""
    nib.save(nib.Nifti1Image(array, affine), path)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        header = nib.Nifti1Header.from_fileobj(file)
    for name, value in fields.items():
        header[name] = value
    data = header.binaryblock + b"\0" * 4 + np.asarray(array, "<f4").tobytes(order="F")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"srow_x": [np.nan, 0, 0, 0]}, "affine of its sform is no .* of finite numbers; convert the scan again"),
        ({"srow_z": [0, 0, np.inf, 0]}, "affine of its sform is no .* of finite numbers; convert the scan again"),
        ({"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 0, 0]}, "gives a voxel without volume"),
        ({"srow_x": [1, 1, 0, 5], "srow_y": [1, 1, 0, 5]}, "gives a voxel without volume"),
        ({"srow_z": [0, 0, 0, 0], "qform_code": 1}, "its qform is right: set sform_code to 0 to use it"),
        ({"sform_code": 0, "qform_code": 1, "qoffset_y": np.nan}, "affine of its qform is no .* of finite numbers"),
    ],
)
def test_an_affine_that_is_none_is_refused(tmp_path, array, fields, sentence):
    path = bent(tmp_path / "t2.nii", array, **fields)
    for read in (read_volume, lambda path: read_header(path, str(path))):
        with pytest.raises(UserError, match=sentence) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_no_volume_has_an_affine_with_a_nan(array):
    """Whichever reader made it, also one from outside: a comparison with NaN would find one grid."""
    affine = OBLIQUE.copy()
    affine[0, 3] = np.nan
    with pytest.raises(UserError, match=r"scan: its affine is no \(4, 4\) matrix of finite numbers"):
        Volume(array, affine, Path("scan"))


def test_without_codes_there_is_no_place_and_none_is_made_up(tmp_path, array, caplog):
    path = bent(tmp_path / "t2.nii.gz", array, sform_code=0, qform_code=0)
    volume = read_volume(path)
    assert not volume.placed
    assert not read_header(path, "t2").placed
    result = tmp_path / "result.nii.gz"
    write_volume(volume.data, volume, result)
    header = nib.load(result).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert header.get_zooms() == pytest.approx((0.9, 1.1, 3))
    assert caplog.messages == [f"{path}: has no place in space, nor has what is made of it"]
    write_volume(volume.data, volume, tmp_path / "result.npz")
    assert "affine" not in np.load(tmp_path / "result.npz").files


@pytest.mark.parametrize(("unit", "factor"), [(1, 0.001), (3, 1000.0), (2, 1.0), (0, 1.0)])
def test_units_become_millimetres(tmp_path, array, caplog, unit, factor):
    affine = np.diag([factor, factor, factor, 1]) @ OBLIQUE
    for codes in ((1, 1), (1, 0), (0, 1)):
        path = bent(tmp_path / "t2.nii", array, affine, xyzt_units=unit | 8, sform_code=codes[0], qform_code=codes[1])
        volume = read_volume(path)
        assert volume.affine == pytest.approx(OBLIQUE, rel=1e-5, abs=1e-4)
        write_volume(volume.data, volume, tmp_path / "result.nii")
        result = nib.load(tmp_path / "result.nii")
        assert result.affine == pytest.approx(OBLIQUE, rel=1e-5, abs=1e-4)
        assert result.header.get_xyzt_units() == ("mm" if unit else "unknown", "sec")
    assert caplog.messages == []
    read_volume(bent(tmp_path / "t2.nii", array, np.diag([1.0, 1, 1, 1]), xyzt_units=1))
    assert "gives voxels of 1000 x 1000 x 1000 mm; are its units (xyzt_units) right?" in caplog.text


@pytest.mark.parametrize(
    ("dim_info", "sidecar", "axis", "words"),
    [
        (0, None, "", ""),
        (1 | 2 << 2 | 3 << 4, None, "columns", ""),
        (2 | 1 << 2 | 3 << 4, None, "rows", ""),
        (2 | 1 << 2 | 3 << 4, {"InPlanePhaseEncodingDirectionDICOM": "ROW"}, "rows", ""),
        (0, {"PhaseEncodingDirection": "i-"}, "rows", ""),
        (0, {"PhaseEncodingAxis": "j"}, "columns", ""),
        (0, {"InPlanePhaseEncodingDirectionDICOM": "COL"}, "columns", ""),
        (0, ["no object"], "", ""),
        (2 | 1 << 2 | 3 << 4, {"PhaseEncodingDirection": "j"}, "rows", "rows were phase-encoded, its .json columns"),
        (3 | 2 << 2 | 1 << 4, None, "columns", "slices lie along axis 1, not along the third; reorder the axes"),
        (1 | 3 << 2 | 2 << 4, None, "", "the third axis was phase-encoded"),
    ],
)
def test_the_phase_encode_axis_of_the_header(tmp_path, array, caplog, dim_info, sidecar, axis, words):
    path = bent(tmp_path / "t2.nii.gz", array, dim_info=dim_info)
    if sidecar is not None:
        (tmp_path / "t2.json").write_text(json.dumps(sidecar))
    assert read_volume(path).phase_encode == axis
    assert words in caplog.text
    assert bool(caplog.messages) == bool(words)


@pytest.mark.parametrize("name", ["claims.nii", "claims.nii.gz"])
@pytest.mark.parametrize("size", [1400, 20])
def test_what_a_header_claims_is_compared_with_the_file(tmp_path, array, name, size):
    path = bent(tmp_path / name, array, dim=[3, size, size, size, 1, 1, 1, 1])
    with pytest.raises(UserError, match=r"cut short or damaged: its header claims|no scan is like that"):
        read_volume(path)
    if size == 1400:
        with pytest.raises(UserError, match=r"cut short or damaged: its header claims|no scan is like that"):
            read_header(path, "claims")


def test_much_more_than_the_header_tells_is_refused(tmp_path, array, monkeypatch):
    path = bent(tmp_path / "scan.nii", array)
    path.write_bytes(path.read_bytes() + b"\0" * 1000)  # some writers fill up the last block
    assert np.array_equal(read_volume(path).data, array.transpose(2, 0, 1))
    packed = tmp_path / "scan.nii.gz"
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(path.read_bytes())
        for _ in range(80):
            file.write(b"\0" * (1 << 20))
    with pytest.raises(UserError, match="holds far more than the 6 x 7 x 4 voxels that its header tells"):
        read_volume(packed)


@pytest.mark.parametrize(
    ("name", "image_type", "word"),
    [
        ("a", ["ORIGINAL", "PRIMARY", "P", "ND"], "phase"),
        ("b", ["ORIGINAL", "PRIMARY", "PHASE MAP"], "phase"),
        ("c", ["DERIVED", "PRIMARY", "M_FFE", "IMAGINARY"], "imaginary"),
        ("sub-01_part-phase_T2w", None, "phase"),
        ("sub-01_part-real_T2w", None, "real"),
    ],
)
def test_what_is_no_magnitude_is_refused(tmp_path, write_nifti, smooth, name, image_type, word):
    path = write_nifti(tmp_path / f"{name}.nii.gz", smooth(0, (8, 8, 3)))
    if image_type is not None:
        (tmp_path / f"{name}.json").write_text(json.dumps({"ImageType": image_type}))
    for read in (read_volume, lambda path: read_header(path, path.name)):
        with pytest.raises(UserError, match=f"{word}, no magnitude; give the magnitude image"):
            read(path)


def test_magnitudes_by_their_sidecar_are_read(tmp_path, write_nifti, smooth):
    path = write_nifti(tmp_path / "sub-01_part-mag_T2w.nii.gz", smooth(0, (8, 8, 3)))
    for words in (["ORIGINAL", "PRIMARY", "M", "ND", "NORM"], ["DERIVED", "SECONDARY"], ["P", "R"]):
        (tmp_path / "sub-01_part-mag_T2w.json").write_text(json.dumps({"ImageType": words}))
        assert read_volume(path).maximum > 0
