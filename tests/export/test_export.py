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

from fsmnet.checkpoint import Header, shipped_checkpoint
from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.export.export import export
from fsmnet.export.onnx_file import as_onnx
from fsmnet.export.options import ExportConfig
from fsmnet.export.parity import compare, noise
from fsmnet.export.torch_file import as_pt2
from fsmnet.models.output import Output
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
    assert (on_noise["of"], on_noise["slices"]) == ("noise", 2)
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
        UserError, match=r"not written; its image of noise differs from the model's by 0\.01, more than"
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
    assert check.largest_difference < 1e-3
    assert check.psnr_between > 90


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
@pytest.mark.parametrize("name", ["fsmnet", "fsmnet_released"])
def test_networks_are_exported_by_the_command(name, ending, tmp_path, checkpoint_file):
    checkpoint = checkpoint_file(tmp_path / "model.safetensors", name)
    out = tmp_path / f"network.{ending}"
    assert main(["export", "--checkpoint", str(checkpoint), "--out", str(out)]) == 0
    assert out.stat().st_size > 100_000


def test_a_network_for_kspace_is_refused(tmp_path, checkpoint_file):
    checkpoint = checkpoint_file(tmp_path / "model.safetensors", "fsmnet_unrolled", steps=1, widths=[8, 8, 8])
    with pytest.raises(UserError, match=r"model\.safetensors: is a network for k-space, which no \.pt2 or"):
        export(ExportConfig(out=tmp_path / "network.onnx", checkpoint=checkpoint))


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
