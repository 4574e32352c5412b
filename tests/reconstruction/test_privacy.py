"""Identifiers planted in every field of a scan are looked for in everything that is written, terminal included."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from fsmnet.checkpoint import read_checkpoint
from fsmnet.cli import main
from fsmnet.data.formats.nifti import GEOMETRY

SECRET = "Mustermann19"
SIZE = (40, 36, 4)
NUMBERS = {"glmax", "glmin", "extents", "session_error", "slice_duration", "toffset", "intent_p1", "intent_p2"}


def planted(path: Path, voxels: np.ndarray, kind: type = nib.Nifti1Image) -> Path:
    """A NIfTI file with an identifier in every field that can hold text, numbers where it cannot, and extensions.

    Beside it a sidecar as BIDS has it, with the same.
    """
    image = kind(voxels.astype(np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
    header = image.header
    for name, (dtype, _) in header.template_dtype.fields.items():
        if dtype.kind == "S" and name != "magic":
            header[name] = SECRET[: dtype.itemsize].encode()
        elif name in NUMBERS:
            header[name] = 19700
    header["intent_code"] = 1001
    for code in (0, 2, 4, 6):  # ignored, DICOM, AFNI, comment
        content = f"(0010,0010) {SECRET}".encode()
        header.extensions.append(nib.nifti1.Nifti1Extension(code if code != 2 else 6, content))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    said = dict.fromkeys(("PatientName", "PatientID", "InstitutionName", "StationName", "ProtocolName"), SECRET)
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    sidecar.write_text(json.dumps(said | {"SeriesDescription": f"{sidecar.stem[-2:]} {SECRET}", "Times": [SECRET]}))
    packed = path.read_bytes()
    assert SECRET.encode() in (gzip.decompress(packed) if path.suffix == ".gz" else packed)
    return path


def contents(path: Path) -> bytes:
    """Everything in a file, unpacked."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return b"".join(name.encode() + archive.read(name) for name in archive.namelist())
    return data


def found(folder: Path, *texts: str) -> list[tuple[str, str]]:
    """Which files hold which of these texts, in their names too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [
        (path.name, text)
        for path in files
        for text in texts
        if text.encode() in contents(path) + path.name.encode() or text.encode("utf-16-le") in contents(path)
    ]


@pytest.fixture
def data(tmp_path, smooth):
    """Cases of planted scans, below a folder whose own name is nobody's business."""
    root = tmp_path / "home-of-somebody" / "data"
    for case in range(4):
        target, other = smooth(2 * case, SIZE), smooth(2 * case + 1, SIZE)
        planted(root / f"c{case}" / f"c{case}_t2.nii.gz", target)
        planted(root / f"c{case}" / f"c{case}_t1.nii.gz", np.sqrt(target) * 30 + other / 5)
    return root


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_results_hold_geometry_and_nothing_else(data, tmp_path, checkpoint_file, smooth, kind, ending, capfd):
    target, other = smooth(0, SIZE), smooth(1, SIZE)
    files = [
        planted(data / f"t2{ending}", target, kind),
        planted(data / f"t1{ending}", np.sqrt(target) * 30 + other / 5, kind),
    ]
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


def _only(file: Path) -> Path:
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
        with h5py.File(file, "a") as opened:
            xml = opened[header][()]
            text = (xml if isinstance(xml, bytes) else xml[0]).decode()
            person = f"<subjectInformation><patientName>{SECRET}</patientName><patientID>{SECRET}</patientID>"
            begin = text.index(">", text.index("<ismrmrdHeader")) + 1
            text = text[:begin] + person + "</subjectInformation>" + text[begin:]
            kind = opened[header].dtype
            del opened[header]
            opened.create_dataset(header, data=[text] if name != "/" else text, dtype=kind)
            for key in ("patient_id", "institution", "operator"):
                opened.attrs[key] = opened[name].attrs[key] = SECRET
            opened["notes"] = SECRET
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
