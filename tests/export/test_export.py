"""Exported files give the image of the network they were made from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from fsmnet.checkpoint import Header, load_model, read_checkpoint, save_checkpoint, shipped_checkpoint
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.export.export import export
from fsmnet.export.lines_graph import RealUnrolled
from fsmnet.export.onnx_file import as_onnx
from fsmnet.export.options import ExportConfig
from fsmnet.export.parity import as_lines, compare, noise, original
from fsmnet.export.torch_file import as_pt2
from fsmnet.models.output import Output
from fsmnet.physics.acquisition import Acquisition
from fsmnet.transforms import NormalisationRecipe

ROOT = Path(__file__).resolve().parents[2]
VOLUMES = ROOT / "../shared/data/volumes"


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Sharpen(nn.Module):
    """Two convolutions, quickly exported; the auxiliary counts."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(2, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, target, auxiliary):
        return Output(target + self.out(self.mix(torch.cat([target, auxiliary], 1)).relu()))


def test_a_pt2_file_gives_the_image_of_its_model_at_other_sizes(tmp_path):
    path = tmp_path / "network.pt2"
    model = Sharpen().eval()
    as_pt2(model)(path, {"use": "research"})
    assert compare(path, model, noise()).largest_difference < 1e-5
    extra = {"fsmnet.json": ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra["fsmnet.json"]) == {"use": "research"}


def test_an_onnx_file_runs_without_pytorch(tmp_path, smooth, write_nifti):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path, model = tmp_path / "network.onnx", Sharpen().eval()
    as_onnx(model)(path, {"multiple": "8"})
    assert compare(path, model, noise()).largest_difference < 1e-5
    volumes = [smooth(seed, (21, 30, 3)) for seed in (0, 1)]
    volumes[0][:, :, 1] = 0
    scans = [write_nifti(tmp_path / f"{i}.nii.gz", volume) for i, volume in enumerate(volumes)]
    script = ROOT / "examples" / "run_onnx.py"
    out = tmp_path / "out.nii.gz"
    subprocess.run([sys.executable, script, path, *scans, out], check=True)
    result = nib.load(out).get_fdata()
    assert not result[:, :, 1].any()
    from fsmnet.inference.slices import reconstruct_slices

    class Padded(nn.Module):  # as FSMNet itself does
        def forward(self, target, auxiliary):
            from fsmnet.transforms import pad_to_multiple, unpad

            image = model(pad_to_multiple(target, 8), pad_to_multiple(auxiliary, 8)).image
            return Output(unpad(image, *target.shape[-2:]))

    x, y = (torch.from_numpy(volume / volume.max()).movedim(2, 0)[[0, 2]] for volume in volumes)
    expected = reconstruct_slices(Padded(), x, y, NormalisationRecipe()).clamp_min(0).movedim(0, 2) * volumes[0].max()
    np.testing.assert_allclose(result[:, :, [0, 2]], expected, rtol=1e-4, atol=1e-2)


@pytest.fixture
def sharpen(tmp_path, monkeypatch):
    """Path of a checkpoint that loads as the quick network of this module."""
    model = Sharpen().eval()
    model.recipe, model.header = {"name": "sharpen", "options": {}}, Header({"name": "sharpen", "options": {}})
    monkeypatch.setattr("fsmnet.export.export.load_model", lambda path: model)
    checkpoint = tmp_path / "sharpen.safetensors"
    checkpoint.touch()
    return checkpoint


def metadata_of(path):
    if path.suffix == ".pt2":
        extra = {"fsmnet.json": ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra["fsmnet.json"])
    onnx = pytest.importorskip("onnx")
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_the_file_is_compared_on_the_slices_of_a_scan_and_says_so(ending, tmp_path, sharpen, heads, caplog):
    if ending == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    [case, *_] = sorted(path for path in heads.iterdir() if path.is_dir())
    files = {contrast: case / f"{case.name}_{contrast}.nii.gz" for contrast in ("t1", "t2")}
    out = tmp_path / f"network.{ending}"
    flags = ["--checkpoint", sharpen, "--target", files["t2"], "--auxiliary", files["t1"], "--out", out]
    with caplog.at_level("INFO"):
        assert main(["export", *map(str, flags)]) == 0
    assert f"slices of {files['t2'].name}: within" in caplog.text
    metadata = metadata_of(out)
    on_noise, on_scan = json.loads(metadata["parity"])
    assert (on_noise["of"], on_noise["slices"]) == ("noise", 4)
    assert (on_scan["of"], on_scan["slices"]) == (files["t2"].name, 1)
    for check in (on_noise, on_scan):
        assert 0 <= check["largest_difference"] < 1e-5
        assert check["psnr_between"] is None or check["psnr_between"] > 100
    assert metadata["multiple"] == "8"


def test_a_file_with_another_image_is_not_left_behind(tmp_path, sharpen, smooth, write_nifti, monkeypatch):
    from fsmnet.export import export as module

    files = [write_nifti(tmp_path / f"{i}.nii.gz", smooth(i, (21, 30, 3))) for i in (0, 1)]
    flags = {"checkpoint": sharpen, "target": files[0], "auxiliary": files[1], "tolerance": 1e-4}

    def save_another(model):
        other = Sharpen().eval()
        with torch.no_grad():
            other.out.bias += 0.01
        return as_pt2(other)

    out = tmp_path / "folder" / "network.pt2"
    assert export(ExportConfig(out=out, **flags))[1].slices == 1
    before = out.read_bytes()
    monkeypatch.setattr(module, "as_pt2", save_another)
    with pytest.raises(
        UserError, match=r"not written; its image of noise differs from the model's by 0\.01, more than.*newer PyTorch"
    ):
        export(ExportConfig(out=out, overwrite=True, **flags))
    assert [path.name for path in out.parent.iterdir()] == ["network.pt2"]
    assert out.read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(not VOLUMES.is_dir(), reason="the scans (../shared/data/volumes) are not here")
@pytest.mark.skipif(shipped_checkpoint() is None, reason="this build carries no weights")
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_the_exported_shipped_network_gives_its_image_on_real_slices(ending, tmp_path):
    scan = VOLUMES / "TCGA-FG-6692" / "TCGA-FG-6692"
    files = {"target": Path(f"{scan}_t2.nii.gz"), "auxiliary": Path(f"{scan}_t1.nii.gz")}
    _, check = export(ExportConfig(out=tmp_path / f"network.{ending}", **files))
    assert check.slices >= 10
    assert check.beyond_rounding < 1e-3
    assert check.psnr_between > 90


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_networks_are_exported_by_the_command(name, ending, tmp_path, checkpoint_file):
    checkpoint = checkpoint_file(tmp_path / "model.safetensors", name)
    out = tmp_path / f"network.{ending}"
    assert main(["export", "--checkpoint", str(checkpoint), "--out", str(out)]) == 0
    assert out.stat().st_size > 100_000


@pytest.fixture
def small_unrolled(tmp_path, checkpoint_file):
    """Checkpoint of a network for k-space with one step and weights that do something."""
    torch.manual_seed(0)
    path = checkpoint_file(tmp_path / "model.safetensors", "fsmnet_unrolled", steps=1, widths=[8, 8, 8])
    state, header = read_checkpoint(path)
    save_checkpoint(path, {name: value + 0.05 * torch.randn_like(value) for name, value in state.items()}, header)
    return path


def test_a_network_for_kspace_in_real_numbers_is_the_same(small_unrolled):
    """Also with a known noise, without an auxiliary, and for a width whose half is odd."""
    model = load_model(small_unrolled)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 16, 40, generator=generator, dtype=torch.complex64)
    columns = torch.rand(40, generator=generator) < 0.5
    for auxiliary in (torch.rand(1, 1, 16, 40, generator=generator), torch.zeros(1, 1, 16, 40)):
        for level in (-1.0, 0.1):
            lines, mask, other, _ = as_lines(image, auxiliary, columns)
            given = lines, mask, other, torch.tensor([level])
            with torch.inference_mode():
                torch.testing.assert_close(RealUnrolled(model)(*given), original(model)(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["hub", "monai"])
def test_a_folder_is_loaded_without_this_package_and_by_it(form, tmp_path, small_unrolled):
    """The graph with torch alone, the weights with safetensors alone, the folder as a checkpoint."""
    out, scores = tmp_path / "folder", tmp_path / "summary.json"
    row = {
        "protocol": "complex",
        "acceleration": 4.0,
        "patients": 12,
        "psnr_patient_mean": 40.0,
        "ssim_patient_mean": 0.9,
    }
    scores.write_text(json.dumps([row | {"psnr_interval": [39.0, 41.0], "head_psnr_mean": 35.0}]))
    export(ExportConfig(out=out, format=form, checkpoint=small_unrolled, scores=scores))
    inside = out / ("models" if form == "monai" else "")
    card = (out / ("docs/README.md" if form == "monai" else "README.md")).read_text()
    assert "39.00 to 41.00" in card
    assert "not for clinical use" in card
    assert (out / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    described = json.loads((out / ("configs/metadata.json" if form == "monai" else "config.json")).read_text())
    assert {"lines", "mask", "auxiliary", "noise"} <= described.get("fsmnet", described)["inputs"].keys()
    given = noise(lines=True).slices[0]
    model = load_model(out)
    with torch.inference_mode():
        expected = original(model)(*given)
    np.savez(tmp_path / "given.npz", *[each.numpy() for each in given])
    program = (
        "import sys, numpy, torch, safetensors.torch\n"
        "given = [torch.from_numpy(x) for x in numpy.load('given.npz').values()]\n"
        f"image = torch.export.load(r'{inside / 'model.pt2'}').module()(*given).detach().numpy()\n"
        f"weights = safetensors.torch.load_file(r'{inside / 'model.safetensors'}')\n"
        "assert not any(name.split('.')[0] == 'fsmnet' for name in sys.modules)\n"
        "numpy.savez('image.npz', image=image, count=len(weights))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    made = np.load(tmp_path / "image.npz")
    np.testing.assert_allclose(made["image"], expected, rtol=1e-4, atol=1e-5)
    assert made["count"] == len(model.state_dict())
    with pytest.raises(UserError, match="exists already"):
        export(ExportConfig(out=out, format=form, checkpoint=small_unrolled))


@pytest.mark.slow
def test_monai_loads_the_bundle(tmp_path, small_unrolled):
    """Its configuration by MONAI's own parser, without this package; tried with the version that the bundle names."""
    version = pytest.importorskip("monai", reason="monai is not here; pip install --no-deps monai").__version__
    export(ExportConfig(out=tmp_path / "bundle", format="monai", checkpoint=small_unrolled))
    assert json.loads((tmp_path / "bundle/configs/metadata.json").read_text())["monai_version"] == version
    given = noise(lines=True).slices[0]
    np.savez(tmp_path / "given.npz", *[each.numpy() for each in given])
    program = (
        "import sys, numpy, torch\n"
        "from monai.bundle import ConfigParser\n"
        "parser = ConfigParser()\n"
        "parser.read_config('bundle/configs/inference.json')\n"
        "parser.read_meta('bundle/configs/metadata.json')\n"
        "parser['bundle_root'] = 'bundle'\n"
        "given = [torch.from_numpy(x) for x in numpy.load('given.npz').values()]\n"
        "image = parser.get_parsed_content('network')(*given).detach().numpy()\n"
        "assert not any(name.split('.')[0] == 'fsmnet' for name in sys.modules)\n"
        "numpy.savez('image.npz', image=image)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    with torch.inference_mode():
        expected = original(load_model(tmp_path / "bundle"))(*given)
    np.testing.assert_allclose(np.load(tmp_path / "image.npz")["image"], expected, rtol=1e-4, atol=1e-5)


def test_scores_that_are_none_are_refused_and_nothing_is_left(tmp_path, small_unrolled):
    (tmp_path / "scores.json").write_text("[{}]")
    with pytest.raises(UserError, match=r"scores\.json: not a summary\.json"):
        export(
            ExportConfig(out=tmp_path / "f", format="hub", checkpoint=small_unrolled, scores=tmp_path / "scores.json")
        )
    assert {path.name for path in tmp_path.iterdir()} <= {"scores.json", "model.safetensors"}


@pytest.mark.skipif(torch.__version__ < "2.13", reason="PyTorch 2.9 writes it wrong, and the file is refused")
def test_a_network_for_kspace_runs_without_pytorch(tmp_path, small_unrolled, smooth, write_nifti):
    """The example measures a scan by a mask, and gives what the network gives."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path, model = tmp_path / "network.onnx", load_model(small_unrolled)
    export(ExportConfig(out=path, checkpoint=small_unrolled))
    volumes = [smooth(seed, (21, 32, 2)) for seed in (0, 1)]
    scans = [write_nifti(tmp_path / f"{i}.nii.gz", volume) for i, volume in enumerate(volumes)]
    columns = np.arange(32) % 2 == 0
    columns[12:20] = True
    np.savez(tmp_path / "mask.npz", mask=columns)
    out = tmp_path / "out.nii.gz"
    script = ROOT / "examples" / "run_onnx.py"
    subprocess.run([sys.executable, script, path, *scans, out, tmp_path / "mask.npz"], check=True)
    x, y = (torch.from_numpy(volume / volume.max()).float().movedim(2, 0) for volume in volumes)
    rows = [torch.nn.functional.pad(each, (0, 0, 0, 3)) for each in (x, y)]
    with torch.inference_mode():
        lines = Acquisition.simulate(rows[0] + 0j, torch.from_numpy(columns))
        expected = model(lines, rows[1][:, None]).image.abs()[:, 0, :21].movedim(0, 2) * float(volumes[0].max())
    np.testing.assert_allclose(nib.load(out).get_fdata(), expected, rtol=1e-3, atol=1e-3 * float(volumes[0].max()))


def test_a_network_for_kspace_of_ones_own_is_refused(tmp_path, monkeypatch):
    class Own(nn.Module):
        takes = "acquisition"

    model = Own()
    model.recipe, model.header = {"name": "own", "options": {}}, Header({"name": "own", "options": {}})
    monkeypatch.setattr("fsmnet.export.export.load_model", lambda path: model)
    with pytest.raises(UserError, match="a network for k-space of your own"):
        export(ExportConfig(out=tmp_path / "network.onnx", checkpoint=tmp_path / "own.safetensors"))


def test_wrong_exports_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match=r"choose \.pt2 or \.onnx"):
        export(ExportConfig(out=tmp_path / "network.pth"))
    taken = tmp_path / "network.onnx"
    taken.touch()
    with pytest.raises(UserError, match="pass --overwrite"):
        export(ExportConfig(out=taken))
    out = tmp_path / "other.onnx"
    with pytest.raises(UserError, match="--auxiliary is missing"):
        export(ExportConfig(out=out, target=taken))
    with pytest.raises(UserError, match="--target is missing"):
        export(ExportConfig(out=out, auxiliary=taken))
