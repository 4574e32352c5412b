"""ISMRMRD files give back the k-space they were written from, in its place; other scans are refused in words."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fsmnet.data.formats import read_kspace
from fsmnet.errors import UserError
from fsmnet.physics.lines import partial_fourier
from fsmnet.physics.masks import make_mask

ismrmrd = pytest.importorskip("ismrmrd")

from ismrmrd_scan import Plan, write  # noqa: E402 - needs the package

SHAPE = (3, 2, 20, 24)


def transform(data: np.ndarray, inverse: bool = False) -> np.ndarray:
    axes = (-2, -1)
    function = np.fft.ifft2 if inverse else np.fft.fft2
    return np.fft.fftshift(function(np.fft.ifftshift(data, axes), norm="ortho"), axes)


def images(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (10 + rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("limits", [None, (0, 23, 12), (0, 20, 10)])
@pytest.mark.parametrize("name", ["scan.h5", "scan.mrd"])
def test_lines_in_any_order(tmp_path, limits, name):
    data = transform(images())
    if limits == (0, 20, 10):  # lines from -10 to 10 about the centre, the outermost of the matrix never
        data[..., [0, 1, 23]] = 0
    kspace = read_kspace(write(tmp_path / name, Plan(data, limits=limits, noise=True)))
    np.testing.assert_array_equal(kspace.data, data.astype(np.complex64))
    assert kspace.size == SHAPE[2:]
    assert kspace.knows_axis


def test_files_that_may_only_be_read(tmp_path):
    path = write(tmp_path / "scan.h5", Plan(transform(images())))
    path.chmod(0o444)
    before = path.stat().st_mtime_ns
    read_kspace(path)
    assert path.stat().st_mtime_ns == before


def test_missing_lines_are_zero(tmp_path):
    mask = make_mask("random", 24, 3, 0.2, 0).columns
    data = (transform(images()) * mask).astype(np.complex64)
    np.testing.assert_array_equal(read_kspace(write(tmp_path / "scan.h5", Plan(data))).data, data)


def test_oversampled_readout_is_cut_and_the_phase_field_of_view_is_told(tmp_path):
    full = images()
    plan = Plan(transform(full), recon_fov=(10, 18))
    kspace = read_kspace(write(tmp_path / "scan.h5", plan))
    assert kspace.data.shape == (3, 2, 10, 24)
    assert kspace.size == (10, 18)
    np.testing.assert_allclose(transform(kspace.data, inverse=True), full[:, :, 5:15], atol=1e-4)


def test_averages(tmp_path):
    data = transform(images((1, 1, 20, 24)))
    path = write(tmp_path / "scan.h5", Plan(data))
    with ismrmrd.Dataset(str(path)) as file:
        for number in range(24):
            one = file.read_acquisition(number)
            one.idx.average = 1
            one.data[:] *= 3
            file.append_acquisition(one)
    np.testing.assert_allclose(read_kspace(path).data, 2 * data, rtol=1e-5)


def test_calibration_lines_fill_gaps_only(tmp_path):
    data = transform(images((1, 1, 20, 24))).astype(np.complex64)
    plan = Plan(data, flags=dict.fromkeys(range(6), ismrmrd.ACQ_IS_PARALLEL_CALIBRATION))
    path = write(tmp_path / "scan.h5", plan)
    with ismrmrd.Dataset(str(path)) as file:
        again = file.read_acquisition(10)  # of an imaging line: measured twice
        again.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
        again.data[:] = 0.5
        file.append_acquisition(again)
    np.testing.assert_array_equal(read_kspace(path).data, data)


def change(path, number, change):
    """Rewrite one readout."""
    with ismrmrd.Dataset(str(path)) as file:
        one = file.read_acquisition(number)
        change(one)
        file.write_acquisition(one, number)


def add_calibration(path, data, lines, **head):
    """Readouts of a separate reference scan of the first slice."""
    with ismrmrd.Dataset(str(path)) as file:
        for line in lines:
            one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data[0, :, :, line]))
            one.idx.kspace_encode_step_1, one.center_sample = line, data.shape[-2] // 2
            one.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
            for name, value in head.items():
                setattr(one, name, value)
            file.append_acquisition(one)


def test_samples_to_be_discarded_count_as_not_measured(tmp_path):
    data = transform(images()).astype(np.complex64)
    path = write(tmp_path / "scan.h5", Plan(data, head={"discard_pre": 2, "discard_post": 1}))
    right = data.copy()
    right[:, :, [0, 1, 19]] = 0
    np.testing.assert_array_equal(read_kspace(path).data, right)


@pytest.mark.parametrize("centre", [16, 0])
def test_presamples_before_the_matrix(tmp_path, centre):
    data = transform(images()).astype(np.complex64)
    plan = Plan(data, presamples=6, head={"center_sample": centre})
    np.testing.assert_array_equal(read_kspace(write(tmp_path / "scan.h5", plan)).data, data)


def test_a_discarded_sample_of_one_average_is_that_of_the_other(tmp_path):
    data = transform(images((1, 1, 20, 24))).astype(np.complex64)
    path = write(tmp_path / "scan.h5", Plan(data))
    with ismrmrd.Dataset(str(path)) as file:
        one = file.read_acquisition(3)
        one.idx.average, one.discard_pre, one.data[:, 0] = 1, 1, 1e3
        file.append_acquisition(one)
    np.testing.assert_allclose(read_kspace(path).data, data, rtol=1e-6)


def test_every_sample_discarded(tmp_path):
    path = write(tmp_path / "scan.h5", Plan(transform(images()), head={"discard_pre": 15, "discard_post": 5}))
    with pytest.raises(UserError, match="discard_pre 15 and discard_post 5 leave nothing of 20 samples; correct them"):
        read_kspace(path)


@pytest.mark.parametrize("flag", [19, 23, 24, 26, 27, 28, 29, 30, 31])
def test_readouts_of_no_image_are_left_out_and_counted(tmp_path, caplog, flag):
    caplog.set_level("INFO")
    data = transform(images()).astype(np.complex64)
    path = write(tmp_path / "scan.h5", Plan(data))
    with ismrmrd.Dataset(str(path)) as file:
        one = ismrmrd.Acquisition.from_array(np.full((2, 20), 1e6, np.complex64))
        one.idx.kspace_encode_step_1, one.idx.repetition = 12, 7
        one.set_flag(flag)
        one.set_flag(ismrmrd.ACQ_IS_REVERSE)
        file.append_acquisition(one)
    np.testing.assert_array_equal(read_kspace(path).data, data)
    assert "left out: 1 " in caplog.text


def test_compressed_readouts(tmp_path):
    path = write(tmp_path / "scan.h5", Plan(transform(images()), flags={4: ismrmrd.ACQ_COMPRESSION2}))
    with pytest.raises(UserError, match="has compressed readouts; save the file with samples as they were measured"):
        read_kspace(path)


@pytest.mark.parametrize("mode", ["separate", "external", "other", "interleaved"])
def test_separate_calibration_lines_serve_maps_only(tmp_path, caplog, mode):
    caplog.set_level("INFO")
    data = transform(images((1, 2, 20, 24))).astype(np.complex64)
    data[..., 1::2] = 0
    reference = 3j * transform(images((1, 2, 20, 24), seed=1)).astype(np.complex64)
    path = write(tmp_path / "scan.h5", Plan(data, calibration_mode=mode))
    add_calibration(path, reference, range(8, 16))
    add_calibration(path, reference, range(8, 16))  # once more, and not added to the first
    kspace = read_kspace(path)
    np.testing.assert_array_equal(kspace.data, data)
    np.testing.assert_array_equal(kspace.calibration[..., 8:16], reference[..., 8:16])
    assert not kspace.calibration[..., :8].any()
    assert not kspace.calibration[..., 16:].any()
    assert "16 lines of a separate calibration scan; they serve coil maps only" in caplog.text


def test_lines_for_calibration_and_image_are_of_the_image(tmp_path):
    data = transform(images()).astype(np.complex64)
    plan = Plan(data, calibration_mode="separate", flags=dict.fromkeys(range(6), 21))
    path = write(tmp_path / "scan.h5", plan)
    change(path, 2, lambda one: one.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION))  # both, as Siemens writes
    np.testing.assert_array_equal(read_kspace(path).data, data)


def test_a_coarser_reference_scan_is_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    data = transform(images((1, 2, 20, 24))).astype(np.complex64)
    path = write(tmp_path / "scan.h5", Plan(data, calibration_mode="separate"))
    add_calibration(path, np.ones((1, 3, 10, 24), np.complex64), range(8, 16))
    kspace = read_kspace(path)
    np.testing.assert_array_equal(kspace.data, data)
    assert kspace.calibration is None
    assert "8 lines of a separate calibration scan; they do not fit the image's readouts" in caplog.text


def test_lines_that_contradict_each_other_where_no_mode_is_told(tmp_path, caplog):
    data = transform(images((1, 2, 20, 24))).astype(np.complex64)
    data[..., 1::2] = 0
    path = write(tmp_path / "scan.h5", Plan(data))
    add_calibration(path, 3j * data, range(8, 16))
    read_kspace(path)
    assert "contradict each other, and the header has no calibrationMode" in caplog.text
    caplog.clear()
    path = write(tmp_path / "told.h5", Plan(data, calibration_mode="embedded"))
    add_calibration(path, data * 1.01, range(8, 16, 2))
    read_kspace(path)
    assert not caplog.messages


@pytest.mark.parametrize("limits", [(0, 23, 30), (9, 3, 5)])
def test_limits_that_are_none(tmp_path, limits):
    path = write(tmp_path / "scan.h5", Plan(np.zeros(SHAPE), noise=True, limits=limits))
    with pytest.raises(UserError, match=r"its encoding limits are .*; correct them"):
        read_kspace(path)


def test_entities_are_not_read(tmp_path):
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'
    path = write(tmp_path / "scan.h5", Plan(transform(images())))
    with ismrmrd.Dataset(str(path)) as file:
        file.write_xml_header(bomb)
    with pytest.raises(UserError, match="its XML header has a DOCTYPE"):
        read_kspace(path)


@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        ("import time; time.sleep(10**6)", 0.02),  # by the clock, of which it has more
        ("from fsmnet.data.formats.probe import limit; limit(1 << 32, 1)\nwhile True: pass", 60.0),
    ],
)
def test_a_reader_that_never_ends_is_ended(tmp_path, monkeypatch, code, seconds):
    path = write(tmp_path / "scan.h5", Plan(transform(images())))
    monkeypatch.setattr("fsmnet.data.formats.apart.CODE", code)
    monkeypatch.setattr("fsmnet.data.formats.apart.SECONDS", seconds)
    with pytest.raises(UserError, match=r"could not be read within \d+ s; it is damaged, so copy it again"):
        read_kspace(path)


@pytest.mark.parametrize("size", [(10, 18), (11, 17), (20, 23)])
def test_place_in_the_patient(tmp_path, size):
    """A voxel's position by ISMRMRD's vectors (LPS) against the affine (RAS); slices stored out of order."""
    first = [(20 - size[0]) // 2, (24 - size[1]) // 2]  # of the matrix, that the image keeps
    read, phase, normal = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1.0]])
    centre = np.array([12.0, -7.0, 30.0])
    positions = [tuple(centre + shift * normal) for shift in (14, 0, 7)]
    data = transform(images())
    plan = Plan(data, recon_fov=size, positions=positions, directions=(read, phase, normal))
    kspace = read_kspace(write(tmp_path / "scan.h5", plan))
    whole = read_kspace(write(tmp_path / "whole.h5", Plan(data)))
    assert np.allclose(whole.data, data, atol=1e-5)
    in_order = read_kspace(write(tmp_path / "order.h5", Plan(data[[1, 2, 0]], recon_fov=size)))
    np.testing.assert_array_equal(kspace.data, in_order.data)
    for i, j, k in ((5, 9, 0), (0, 0, 1), (9, 3, 2)):
        patient = centre + (i + first[0] - 10) * read + (j + first[1] - 12) * phase + 7 * k * normal  # 1 mm pixels
        np.testing.assert_allclose((kspace.affine @ [i, j, k, 1])[:3], patient * [-1, -1, 1], atol=1e-4)


def test_a_single_slice_has_the_thickness_of_the_header(tmp_path):
    affine = read_kspace(write(tmp_path / "scan.h5", Plan(transform(images((1, 1, 20, 24)))))).affine
    assert np.linalg.norm(affine[:3, 2]) == 5


def test_no_place_without_directions_or_an_even_stack(tmp_path, caplog):
    data = transform(images())
    nothing = np.zeros((3, 3))
    assert read_kspace(write(tmp_path / "none.h5", Plan(data, directions=tuple(nothing)))).affine is None
    assert not caplog.messages
    uneven = Plan(data, positions=[(0, 0, 0), (0, 0, 5), (0, 0, 20)])
    assert read_kspace(write(tmp_path / "uneven.h5", uneven)).affine is None
    assert caplog.messages == ["the slices are no even stack by their positions, so their place in space is not used"]


REFUSED = {
    "radial": ({"trajectory": "radial"}, "the trajectory is radial; only Cartesian k-space is read"),
    "3-D": ({"depth": 40}, r"a 3-D scan \(40 partitions\); only stacks of 2-D slices are read"),
    "encodings": ({"encodings": 2}, "has 2 encodings; only files with one scan are read"),
    "repetitions": ({"counters": {"repetition": lambda n: n % 3}}, "has 3 repetitions; save the one wanted in a file"),
    "contrasts": ({"counters": {"contrast": lambda n: n % 2}}, "has 2 contrasts; save the one wanted in a file"),
    "partitions": ({"counters": {"kspace_encode_step_2": lambda n: n % 2}}, "has 2 partitions; save the one wanted"),
    "twice": ({"counters": {"kspace_encode_step_1": lambda n: 0 if n < 9 else n}}, r"line 0 of slice \d occurs twice"),
    "outside": ({"counters": {"kspace_encode_step_1": lambda n: n}}, "lies outside the encoded matrix of 24 lines"),
    "echo": ({"head": {"center_sample": 4}}, r"asymmetric echo\): its centre is sample 4 of 20; only symmetric echoes"),
    "reverse": ({"flags": {3: ismrmrd.ACQ_IS_REVERSE}}, r"has readouts in reverse \(EPI\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_scans(tmp_path, name):
    options, message = REFUSED[name]
    path = write(tmp_path / "scan.h5", Plan(transform(images()), **options))
    with pytest.raises(UserError, match=rf"scan\.h5: .*{message}"):
        read_kspace(path)


def test_partial_fourier_is_told_by_the_header(tmp_path):
    data = transform(images())
    data[..., :6] = 0
    kspace = read_kspace(write(tmp_path / "scan.h5", Plan(data, limits=(0, 17, 6))))
    assert kspace.reach == (6, 11)
    columns = kspace.data.any((0, 1, 2))
    assert partial_fourier(columns, kspace.reach) == (6, 11)


def test_noise_alone_and_unequal_readouts(tmp_path):
    path = tmp_path / "scan.h5"
    write(path, Plan(np.zeros(SHAPE), noise=True))
    with pytest.raises(UserError, match="holds no readout of an image; noise measurements and the like are left out"):
        read_kspace(path)
    write(path, Plan(transform(images((1, 2, 20, 24)))))
    with ismrmrd.Dataset(str(path)) as file:
        file.append_acquisition(ismrmrd.Acquisition.from_array(np.ones((2, 10), np.complex64)))
    with pytest.raises(UserError, match=r"readouts differ in coils x samples \(24 of 2 x 20, 1 of 2 x 10\)"):
        read_kspace(path)


def test_damaged_file(tmp_path):
    path = write(tmp_path / "scan.h5", Plan(transform(images())))
    with ismrmrd.Dataset(str(path)) as file:
        file.write_xml_header(b"<nothing>")
    with pytest.raises(UserError, match=r"scan.h5: damaged or not an ISMRMRD file \("):
        read_kspace(path)


def test_without_the_package(tmp_path, monkeypatch):
    path = write(tmp_path / "scan.h5", Plan(transform(images())))
    monkeypatch.setitem(sys.modules, "ismrmrd", None)
    with pytest.raises(UserError, match=r"needs the package ismrmrd; run pip install 'fsmnet\[raw\]'"):
        read_kspace(path)


@pytest.mark.parametrize("name", ["discard_pre", "kspace_encode_step_1"])
def test_headers_that_lack_a_field_are_damaged(tmp_path, name):
    """A flipped letter in the file renames it."""
    path = write(tmp_path / "a.mrd", Plan(np.ones((1, 1, 12, 10), np.complex64)))
    data = path.read_bytes()
    assert name.encode() in data
    path.write_bytes(data.replace(name.encode(), b"x" + name[1:].encode()))
    with pytest.raises(UserError, match=rf"a\.mrd: damaged .*its readouts have no {name}"):
        read_kspace(path)
