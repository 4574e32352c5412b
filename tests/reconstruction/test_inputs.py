"""Nothing that is not ours is replaced, whatever is asked for; small slices are reconstructed without scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.reconstruction.reconstruct import reconstruct

SIDECAR = '{"EchoTime": 0.1}'


@pytest.fixture
def go(tmp_path, write_nifti, smooth, checkpoint_file):
    """Function (name of the output, size of the slices, **options) -> result."""
    checkpoint = checkpoint_file(tmp_path / "best.safetensors")

    def run(out: str, size: tuple[int, int] = (20, 16), **options):
        target, other = smooth(0, (*size, 2)), smooth(1, (*size, 2))
        voxels = {"t2": target, "t1": np.sqrt(target) * 30 + other / 5}  # the same anatomy
        files = [write_nifti(tmp_path / f"{name}.nii.gz", array) for name, array in voxels.items()]
        return reconstruct(
            *files, tmp_path / out, checkpoint=checkpoint, acceleration=2, center_fraction=0.2, device="cpu", **options
        )

    return run


@pytest.mark.parametrize(
    ("out", "sidecar"), [("t2.nii", "t2.json"), ("t1.nii", "t1.json"), ("other.nii.gz", "other.json")]
)
@pytest.mark.parametrize("content", [SIDECAR, "", "[]", "no JSON"])
def test_a_json_that_is_no_record_stays(go, tmp_path, out, sidecar, content):
    (tmp_path / sidecar).write_text(content)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"json: (belongs to .*, an input|exists already and is no record)"):
            go(out, overwrite=overwrite)
    assert (tmp_path / sidecar).read_text() == content
    assert not (tmp_path / out).exists()


def test_the_record_of_an_input_stays(go, tmp_path):
    go("first.nii.gz")
    record = (tmp_path / "first.json").read_text()
    (tmp_path / "t2.json").write_text(record)  # as if the input were a result of ours
    with pytest.raises(UserError, match=r"t2\.json: belongs to .*t2\.nii\.gz, an input; choose another --out"):
        go("t2.nii", overwrite=True)
    go("first.nii.gz", overwrite=True)  # our own is replaced
    assert json.loads((tmp_path / "first.json").read_text())["Output"]["file"] == "first.nii.gz"


@pytest.mark.parametrize("size", [(6, 6), (6, 20), (20, 5)])
def test_slices_too_small_for_scores_are_reconstructed(go, size, caplog):
    result = go("r.nii.gz", size=size)
    assert result.image.shape == (2, *size)
    assert result.sidecar["Metrics"] is None
    assert f"t2.nii.gz: slices of {size[0]} x {size[1]} pixels are too small for SSIM" in caplog.text


@pytest.mark.parametrize("word", ["off", "no", "NO", "False", "false", '"off"'])
def test_yaml_words_for_off(tmp_path, word, capsys):
    path = Path(tmp_path / "off.yaml")
    path.write_text(f"target: gone.nii.gz\nauxiliary: t1.nii.gz\nout: r.nii.gz\ndata_consistency: {word}\n")
    assert main(["reconstruct", "--config", str(path)]) == 2
    assert "gone.nii.gz: no such file" in capsys.readouterr().err
