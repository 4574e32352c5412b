"""Which bits are the pixel, padding, kinds of image, files without the mark: as the headers say."""

from __future__ import annotations

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")

from pydicom import uid  # noqa: E402

import fsmnet.data.formats.dicom.pixels  # noqa: E402
from dicom_study import Plan, write  # noqa: E402
from fsmnet import reconstruct  # noqa: E402
from fsmnet.data.formats.dicom import list_series, read_series  # noqa: E402
from fsmnet.data.formats.dicom.headers import is_dicom  # noqa: E402
from fsmnet.data.pairing.propose import propose_pairs  # noqa: E402
from fsmnet.data.stored import Stored  # noqa: E402
from fsmnet.data.voxels import chosen  # noqa: E402
from fsmnet.errors import UserError  # noqa: E402

PLAIN = Plan(slope=None)


def turned(array):
    return array.transpose(0, 2, 1).astype(np.float32)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_pixels_lie_where_the_high_bit_says(tmp_path, syntax, high):
    """The other bits hold something else, as overlays once did."""
    plan = Plan(slope=0.5, intercept=3.0, syntax=syntax)

    def change(k, d):
        rest = np.uint16(0xFFFF ^ (0xFFF << (high - 11)))
        word = (plan.stored()[k] << (high - 11)) | (rest & 0x5A5A)
        d.HighBit = high
        d.PixelData = word.astype(">u2" if syntax == uid.ExplicitVRBigEndian else "<u2").tobytes()

    write(tmp_path, plan, change)
    assert np.array_equal(read_series(tmp_path).data, turned(plan.stored() * 0.5 + 3))


@pytest.mark.parametrize("high", [11, 15])
def test_signed_pixels_of_fewer_bits(tmp_path, high):
    values = PLAIN.stored().astype(np.int32) // 2 - 20

    def change(k, d):
        d.PixelRepresentation, d.HighBit = 1, high
        d.PixelData = ((values[k] & 0xFFF) << (high - 11)).astype("<u2").tobytes()
        del d.SmallestImagePixelValue, d.LargestImagePixelValue

    write(tmp_path, PLAIN, change)
    volume = read_series(tmp_path)
    assert volume.n_negative == np.count_nonzero(values < 0) > 0
    assert np.array_equal(volume.data, turned(np.maximum(values, 0)))


def test_a_result_as_nifti_has_the_whole_numbers_of_the_series(tmp_path):
    write(tmp_path / "plain", Plan(slope=0.5, intercept=3.0))
    volume = read_series(tmp_path / "plain")
    assert volume.stored == Stored("int16", 0.5, 3.0)
    image = chosen(volume)
    assert (image.type, image.slope, image.intercept) == ("int16", 0.5, 3.0)

    def full(k, d):
        d.BitsStored, d.HighBit = 16, 15

    write(tmp_path / "full", PLAIN, full)
    assert read_series(tmp_path / "full").stored == Stored("uint16", 1.0, 0.0)

    def each(k, d):
        d.RescaleSlope, d.RescaleIntercept = 1 + k, 0

    write(tmp_path / "each", PLAIN, each)
    assert chosen(read_series(tmp_path / "each")) == Stored()


@pytest.mark.parametrize(("stored", "high"), [(12, 10), (17, 16), (12, 16)])
def test_bits_that_describe_no_pixel_are_refused(tmp_path, stored, high):
    def change(k, d):
        d.BitsStored, d.HighBit = stored, high

    write(tmp_path, PLAIN, change)
    with pytest.raises(UserError, match=f"BitsStored {stored} and HighBit {high}, which describe no pixel"):
        read_series(tmp_path)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("signed", "value", "limit", "kind"),
    [
        (False, 4095, None, "US"),
        (False, 4000, 4095, "US"),
        (True, -2000, None, "SS"),
        (True, 63536, None, "US"),  # -2000, as some write it
        (True, -2000, -1990, "SS"),
    ],
)
def test_padding_is_set_to_0_and_said(tmp_path, syntax, signed, value, limit, kind):
    plan = Plan(slope=2.0, intercept=0.0, syntax=syntax)
    stored = plan.stored().astype(np.int32) // 2 + 1
    padding = -2000 if signed else value
    stored[:, :3] = padding
    if limit is not None:
        stored[:, 1] = limit

    def change(k, d):
        d.PixelRepresentation, d.BitsStored, d.HighBit = int(signed), 16, 15
        d.PixelData = stored[k].astype("<i2" if signed else "<u2").tobytes()
        d.add_new("PixelPaddingValue", kind, value)
        if limit is not None:
            d.add_new("PixelPaddingRangeLimit", kind, limit)
        del d.SmallestImagePixelValue, d.LargestImagePixelValue

    write(tmp_path, plan, change)
    volume = read_series(tmp_path)
    expected = stored * 2
    expected[:, :3] = 0
    assert np.array_equal(volume.data, turned(expected))
    assert volume.n_negative == 0
    (doubt,) = volume.doubts
    assert "210 voxels of padding (PixelPaddingValue" in doubt


def test_padding_that_is_everything_or_nothing(tmp_path):
    def everything(_, d):
        d.PixelPaddingValue, d.PixelPaddingRangeLimit = 0, 4095

    write(tmp_path / "all", PLAIN, everything)
    with pytest.raises(UserError, match=r"PixelPaddingValue \(0\.\.4095\) is that of every voxel; correct the header"):
        read_series(tmp_path / "all")
    write(tmp_path / "none", PLAIN, lambda _, d: setattr(d, "PixelPaddingValue", 0))
    assert read_series(tmp_path / "none").doubts == ()


def image_type(*words):
    return lambda _, d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", *words])


def component(_, d):
    d.ComplexImageComponent = "PHASE"


def ge(number):
    def change(_, d):
        d.Manufacturer, d.ImageType = "GE MEDICAL SYSTEMS", ["ORIGINAL", "PRIMARY", "OTHER"]
        d.private_block(0x43, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)

    return change


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (image_type("P", "ND"), "a phase"),
        (image_type("M", "ND", "PHASE"), "a phase"),
        (image_type("PHASE MAP", "P", "FFE"), "a phase"),
        (image_type("PHASE_MAP"), "a phase"),
        (image_type("VELOCITY MAP", "P", "PCA"), "a phase"),
        (image_type("R_IR", "R", "IR"), "a real"),
        (image_type("I_SE", "I", "SE"), "an imaginary"),
        (component, "a phase"),
        (ge(1), "a phase"),
        (ge(2), "a real"),
        (ge(3), "an imaginary"),
    ],
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_what_is_no_magnitude_is_refused(tmp_path, change, kind, syntax):
    write(tmp_path, Plan(shape=(2, 8, 8), syntax=syntax), change)
    with pytest.raises(UserError, match=f"{kind} image; give the magnitude series"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    "change", [image_type("M", "ND", "NORM"), image_type("M_SE", "M", "SE"), image_type("OTHER"), ge(0)]
)
def test_magnitudes_of_all_vendors_are_read(tmp_path, change):
    write(tmp_path, Plan(shape=(2, 8, 8)), change)
    assert read_series(tmp_path).data.shape == (2, 8, 8)


def bare(path):
    """Without the 128 bytes, the mark and what follows it, as old writers left it."""
    dataset = pydicom.dcmread(path)
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"


def test_files_without_the_mark_are_read(tmp_path, caplog):
    plans = {"T2": Plan(3, "T2 tse", shape=(3, 20, 20)), "T1": Plan(4, "T1 se", shape=(3, 20, 20), seed=1)}
    for name, plan in plans.items():
        for path in write(tmp_path / "study" / name, plan):
            bare(path)
            assert is_dicom(path)
        assert np.allclose(read_series(tmp_path / "study" / name).data, turned(plan.values()))
    assert propose_pairs(tmp_path / "study", "t2", "t1")[0].accepted
    result = reconstruct(tmp_path / "study" / "T2", tmp_path / "study" / "T1", tmp_path / "new", acceleration=2)
    assert len(list_series(result.out)) == 1
    assert not [text for text in caplog.messages if "DICOM" in text]


def test_other_files_are_not_taken_for_bare_dicom(tmp_path, caplog):
    write(tmp_path, PLAIN)
    (tmp_path / "notes.dcm").write_bytes(b"\x08\x00\x05\x00" + bytes(range(256)) * 4)
    (tmp_path / "text.txt").write_text("no image " * 100)
    assert [series.n_files for series in list_series(tmp_path)] == [5]
    assert "notes.dcm: not a DICOM file, though it is named like one; it is left out" in caplog.text


def claims_rows(data: bytes) -> bytes:
    return data.replace(b"\x28\x00\x10\x00US\x02\x00\x12\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff")


def claims_a_gigabyte(data: bytes) -> bytes:
    """An element of other bytes of that length, in the place of a private one."""
    place = data.index(b"\x29\x00\x10\x10OB\0\0") + 8
    return data[:place] + b"\0\0\0\x40" + data[place + 4 :]


def kind_that_is_none(data: bytes) -> bytes:
    return data.replace(b"\x02\x00\x13\x00SH", b"\x02\x00\x13\x00SJ")


@pytest.mark.parametrize("damage", [claims_rows, claims_a_gigabyte, kind_that_is_none])
def test_what_a_file_cannot_hold(tmp_path, damage, monkeypatch):
    """The decoder, which would take the memory, is not asked."""
    [path] = write(tmp_path, Plan(shape=(1, 18, 14)))
    before = path.read_bytes()
    read_series(tmp_path)
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    monkeypatch.setattr(fsmnet.data.formats.dicom.pixels, "_read_pixels", None)
    with pytest.raises(UserError, match="its pixels are cut short or damaged; copy the file again"):
        read_series(tmp_path)


def test_deflated_files_are_no_larger_than_a_slice(tmp_path):
    [path] = write(tmp_path, Plan(shape=(1, 18, 14)))
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0")
    path.write_bytes(data + bytes(1 << 20))
    with pytest.raises(UserError, match=r"is deflated as a whole, and too large for that to be a slice"):
        list_series(tmp_path)
