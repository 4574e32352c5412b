"""Identifiers planted in every field of a scan are looked for in everything that is written, terminal included."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fsmnet.checkpoint import read_checkpoint
from fsmnet.cli import main
from fsmnet.data.formats.nifti import GEOMETRY
from planting import SECRET, contents, found, plant_hdf5, plant_nifti

SIZE = (40, 36, 4)


@pytest.fixture
def data(tmp_path, smooth):
    """Cases of planted scans, below a folder whose own name is nobody's business."""
    root = tmp_path / "home-of-somebody" / "data"
    for case in range(4):
        target, other = smooth(2 * case, SIZE), smooth(2 * case + 1, SIZE)
        plant_nifti(root / f"c{case}" / f"c{case}_t2.nii.gz", target)
        plant_nifti(root / f"c{case}" / f"c{case}_t1.nii.gz", np.sqrt(target) * 30 + other / 5)
    return root


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_results_hold_geometry_and_nothing_else(data, tmp_path, checkpoint_file, smooth, kind, ending, capfd):
    target, other = smooth(0, SIZE), smooth(1, SIZE)
    files = [data / f"{name}{ending}" for name in ("t2", "t1")]
    for file, voxels in zip(files, (target, np.sqrt(target) * 30 + other / 5), strict=True):
        plant_nifti(file, voxels, kind)
    out, weights = tmp_path / "out", checkpoint_file(data / "best.safetensors")
    words = ["--target", str(files[0]), "--auxiliary", str(files[1]), "--checkpoint", str(weights), "--device", "cpu"]
    assert main(["reconstruct", *words, "--acceleration", "4", "--out", str(out / f"r{ending}")]) == 0
    assert found(out, SECRET, SECRET[:10], "home-of-somebody", str(tmp_path)) == []
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    before, after = nib.load(files[0]).header, nib.load(out / f"r{ending}").header
    assert len(after.extensions) == 0
    for name in GEOMETRY:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    fresh = nib.Nifti1Header()
    own = {"dim", "datatype", "bitpix", "descrip", "vox_offset", "magic", "scl_slope", "scl_inter"}
    for name in set(fresh.keys()) - own - set(GEOMETRY):
        np.testing.assert_array_equal(after[name], fresh[name], err_msg=name)


def test_a_list_and_an_evaluation(data, tmp_path, checkpoint_file, capfd):
    out, weights = tmp_path / "out", checkpoint_file(data.parent / "best.safetensors")
    assert main(["pair", str(data), "--out", str(data / "pairs.csv")]) == 0
    words = ["--checkpoint", str(weights), "--device", "cpu", "--acceleration", "4"]
    assert main(["reconstruct", "--pairs", str(data / "pairs.csv"), *words, "--out", str(out / "list")]) == 0
    models = ["--models", "zero_filling", "--protocol", "float"]
    assert main(["evaluate", *models, "--data", str(data), "--out", str(out / "scores")]) == 0
    assert found(out, SECRET, SECRET[:10], "home-of-somebody") == []
    assert found(data / "pairs.csv" if (data / "pairs.csv").is_dir() else _only(data / "pairs.csv"), SECRET) == []
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    # Skipped, though the record holds names only; done again when an input's name differs.
    assert main(["reconstruct", "--pairs", str(data / "pairs.csv"), *words, "--out", str(out / "list")]) == 0
    assert "4 skipped" in capfd.readouterr().out


def _only(file):
    """A folder with this file alone."""
    folder = file.parent.parent / "alone"
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_weights_name_no_folder(data, tmp_path):
    out = tmp_path / "runs"
    words = [
        "--model",
        "mdunet",
        "--model-options",
        "{features: 4}",
        "--protocol",
        "float",
        "--iterations",
        "1",
        "--batch",
        "2",
    ]
    assert main(["train", *words, "--data", str(data), "--out", str(out), "--device", "cpu", "--no-augment"]) == 0
    for name in ("best.safetensors", "last.safetensors"):
        assert b"home-of-somebody" not in (out / name).read_bytes()
        header = read_checkpoint(out / name)[1]
        assert header.training["data"] == "data"
    assert SECRET.encode() not in b"".join(contents(path) for path in out.rglob("*") if path.is_file())


def test_kspace_of_fastmri_and_ismrmrd(tmp_path, checkpoint_file, smooth, capfd):
    """Identifiers in attributes, in the XML header, and in data sets that nobody asks for."""
    pytest.importorskip("ismrmrd")
    from fastmri_tree import fft2c, write_volume
    from ismrmrd_scan import Plan, write

    images = smooth(0, (2, 40, 40))
    home = tmp_path / "home-of-somebody"
    files = [write_volume(home / "knee.h5", images, rows=64, columns=48, recon=40)]
    kspace = fft2c(np.pad(images, ((0, 0), (12, 12), (4, 4)))).astype(np.complex64)
    files.append(write(home / "scan.mrd", Plan(kspace[:, None])))
    np.save(home / "knee.npy", np.sqrt(images) * 30)
    np.save(home / "scan.npy", np.sqrt(np.pad(images, ((0, 0), (12, 12), (4, 4)))) * 30)
    for file, name, header in zip(files, ("/", "dataset"), ("ismrmrd_header", "dataset/xml"), strict=True):
        plant_hdf5(file, name, header)
    out, weights = tmp_path / "out", checkpoint_file(home / "best.safetensors")
    for file in files:
        words = ["--kspace", str(file), "--auxiliary", str(file.with_suffix(".npy")), "--checkpoint", str(weights)]
        for ending in (".nii.gz", ".npz", ".h5"):
            result = out / f"{file.stem}_as{ending.replace('.', '_')}{ending}"
            options = ["--acceleration", "4", "--device", "cpu", "--out", str(result)]
            assert main(["reconstruct", *words, *options]) == 0, capfd.readouterr().err
    assert found(out, SECRET, SECRET[:10], "home-of-somebody", str(tmp_path)) == []
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
