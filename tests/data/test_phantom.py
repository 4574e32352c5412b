"""The phantom: the same from the same seed, plausible in contrast, and written as BraTS writes."""

from __future__ import annotations

import math
import socket
import sys

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from fsmnet.data import phantom
from fsmnet.data.phantom import SEQUENCES, Sequence, make_subject, signal, write_subjects
from fsmnet.errors import UserError

COARSE = {"size": 64, "voxel": 3.0}
CSF, GREY, WHITE, LESION = 1, 2, 3, 4


@pytest.fixture(scope="module")
def subjects():
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_):
            raise AssertionError("the phantom asked for the network")

        patch.setattr(socket.socket, "connect", refuse)
        return [make_subject(seed, **COARSE) for seed in range(4)]


def equal(first, second):
    return [np.array_equal(first.contrasts[name], second.contrasts[name]) for name in SEQUENCES]


def test_same_seed_same_bits(subjects):
    again = make_subject(2, **COARSE)
    assert all(equal(subjects[2], again))
    assert np.array_equal(subjects[2].labels, again.labels)


def test_other_seed_other_head(subjects):
    assert not any(equal(subjects[0], subjects[1]))
    assert 0.02 < np.mean(subjects[0].labels != subjects[1].labels) < 0.25


def test_shapes_types_and_affine(subjects):
    for seed, subject in enumerate(subjects):
        assert subject.name == f"phantom-{seed:04d}"
        assert list(subject.contrasts) == ["t1", "t2", "pd", "flair"]
        for image in subject.contrasts.values():
            assert image.shape == (64, 64, 52)
            assert image.dtype == np.float32
            assert np.isfinite(image).all()
        assert subject.labels.shape == (64, 64, 52)
        assert subject.labels.dtype == np.uint8
        assert subject.affine.dtype == np.float64
        assert nib.orientations.aff2axcodes(subject.affine) == ("R", "A", "S")
        assert nib.affines.voxel_sizes(subject.affine) == pytest.approx([3, 3, 3])
        # The middle of the grid is the middle of the template's brain: on the symmetry plane, 17 mm behind the origin.
        middle = nib.affines.apply_affine(subject.affine, [31.5, 31.5, 25.5])
        assert middle == pytest.approx([0, -17, 5], abs=1)


def test_background_is_zero_and_the_brain_is_not(subjects):
    for subject in subjects:
        background = subject.labels == 0
        volume = (~background).sum() * 27e-6  # litres
        assert 1.1 < volume < 2
        for image in subject.contrasts.values():
            assert not image[background].any()
            assert np.mean(image[~background] > 0) == 1


def test_tissues_have_the_right_order_of_brightness(subjects):
    for subject in subjects:
        level = {
            name: [np.median(image[subject.labels == label]) for label in (0, CSF, GREY, WHITE, LESION)]
            for name, image in subject.contrasts.items()
        }
        t1, t2, pd, flair = (level[name] for name in SEQUENCES)
        assert t1[WHITE] > 1.15 * t1[GREY] > 2 * t1[CSF]
        assert t2[CSF] > t2[LESION] > t2[GREY] > 1.15 * t2[WHITE]
        assert pd[GREY] > pd[WHITE]
        assert flair[LESION] > 1.3 * max(flair[GREY], flair[WHITE])
        assert flair[CSF] < 0.6 * min(flair[GREY], flair[WHITE])


def test_lesions_show_on_t2_and_flair_but_not_on_t1(subjects):
    for subject in subjects:
        lesion = subject.labels == LESION
        assert 1 <= ndimage.label(lesion, np.ones((3, 3, 3)))[1] <= 4
        around = ndimage.binary_dilation(lesion, iterations=2) & ndimage.binary_erosion(subject.labels == WHITE)
        ratio = {name: image[lesion].mean() / image[around].mean() for name, image in subject.contrasts.items()}
        assert ratio["t1"] == pytest.approx(1, abs=0.08)
        assert ratio["t2"] > 1.5
        assert ratio["flair"] > 1.5
        assert 1.05 < ratio["pd"] < 1.4


def test_one_contrast_is_no_function_of_another():
    subject = make_subject(5, snr=math.inf, **COARSE)
    pure = ndimage.binary_erosion(subject.labels == WHITE)
    t1, t2 = (subject.contrasts[name][pure] for name in ("t1", "t2"))
    assert 0.01 < t1.std() / t1.mean() < 0.2
    assert abs(np.corrcoef(t1, t2)[0, 1]) < 0.9


def test_noise_has_the_strength_asked_for():
    clean, noisy = (make_subject(6, snr=snr, slices=10, **COARSE) for snr in (math.inf, 20))
    brain = clean.labels > 0
    for name in ("t2", "pd"):
        mean = clean.contrasts[name][brain].mean()
        noise = (noisy.contrasts[name] - clean.contrasts[name])[brain].std()
        assert mean / noise == pytest.approx(20, rel=0.05)


def test_a_slab_and_a_smaller_frame_show_the_same_head():
    whole = make_subject(1, snr=math.inf, **COARSE)
    slab = make_subject(1, snr=math.inf, slices=8, **COARSE)
    assert slab.labels.shape == (64, 64, 8)
    assert np.array_equal(slab.labels, whole.labels[:, :, 22:30])
    assert (slab.labels == LESION).any()
    np.testing.assert_allclose(slab.contrasts["t2"], whole.contrasts["t2"][:, :, 22:30], atol=1e-5)
    assert slab.affine @ [0, 0, 0, 1] == pytest.approx(whole.affine @ [0, 0, 22, 1])
    small = make_subject(1, size=32, voxel=3.0, slices=8, snr=math.inf)
    assert np.mean(small.labels != slab.labels[16:48, 16:48]) < 1e-3
    assert small.affine @ [0, 0, 0, 1] == pytest.approx(slab.affine @ [16, 16, 0, 1])


def test_signal_equations():
    assert signal(Sequence(tr=1e6, te=0), 1000, 100, 0.8) == pytest.approx(0.8)
    assert signal(Sequence(tr=1e6, te=100), 1000, 100, 1) == pytest.approx(math.exp(-1))
    assert signal(Sequence(tr=1000, te=0), 1000, 100, 1) == pytest.approx(1 - math.exp(-1))
    assert signal(Sequence(tr=1e6, te=0, ti=1000 * math.log(2)), 1000, 100, 1) == pytest.approx(0)
    assert signal(Sequence(tr=3000, te=0, ti=500), 1000, 100, 1) == pytest.approx(1 - 2 * math.exp(-0.5) + math.exp(-3))
    csf = phantom.TISSUES["csf"]
    assert abs(signal(SEQUENCES["flair"], csf.t1, csf.t2, csf.pd)) < 0.01


def test_nifti_round_trip(tmp_path, subjects):
    (folder,) = write_subjects(tmp_path / "new", [3], **COARSE)
    assert folder == tmp_path / "new" / "phantom-0003"
    assert sorted(path.name for path in folder.iterdir()) == ["phantom-0003_t1.nii.gz", "phantom-0003_t2.nii.gz"]
    for name in ("t1", "t2"):
        nifti = nib.load(folder / f"phantom-0003_{name}.nii.gz")
        assert nifti.get_data_dtype() == np.int16
        assert nifti.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(nifti.affine, subjects[3].affine)
        values, image = np.asarray(nifti.dataobj), subjects[3].contrasts[name]
        assert values.min() == 0
        assert values.max() == 4095
        np.testing.assert_allclose(values, image * (4095 / image.max()), atol=0.51)


def test_finished_subjects_are_skipped(tmp_path, monkeypatch):
    options = {"size": 32, "slices": 4, "voxel": 3.0}
    made = []

    def counted(seed, **given):
        made.append(seed)
        return make_subject(seed, **given)

    monkeypatch.setattr(phantom, "make_subject", counted)
    folders = write_subjects(tmp_path, range(2), **options)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    assert write_subjects(tmp_path, range(2), **options) == folders
    assert made == [0, 1]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")} == before

    (folders[1] / "phantom-0001_t2.nii.gz").unlink()
    (folders[0] / "phantom-0000_t1.nii.gz").write_bytes(b"not an image")
    write_subjects(tmp_path, range(2), **options)
    assert made == [0, 1, 0, 1]
    assert nib.load(folders[0] / "phantom-0000_t1.nii.gz").shape == (32, 32, 4)

    write_subjects(tmp_path, [0], **(options | {"slices": 5}))
    assert nib.load(folders[0] / "phantom-0000_t1.nii.gz").shape == (32, 32, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"size": 4}, "size is 4"),
        ({"slices": 0}, "slices are 0"),
        ({"slices": 156}, "1 to 155"),
        ({"snr": 0}, "snr is 0"),
        ({"snr": math.nan}, "snr is nan"),
        ({"voxel": 0}, "voxel is 0 mm"),
    ],
)
def test_impossible_values_are_said_in_words(options, words):
    with pytest.raises(UserError, match=words):
        make_subject(**({"seed": 0} | options))


def test_unknown_contrast(tmp_path):
    with pytest.raises(UserError, match="no contrast 't9'; choose from t1, t2, pd, flair"):
        write_subjects(tmp_path, [0], ["t9"])


def test_missing_nilearn(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    phantom._template.cache_clear()
    with pytest.raises(UserError, match=r"needs the nilearn package; install it with pip install 'fsmnet\[demo\]'"):
        make_subject(0)
