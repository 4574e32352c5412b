"""The checks in the record of a reconstruction and on the terminal."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

import fsmnet
from fsmnet.cli import main
from fsmnet.data.formats import read_volume
from fsmnet.errors import UserError
from fsmnet.files import sha256
from fsmnet.physics.acquisition import with_phase
from fsmnet.physics.fourier import fft2c
from fsmnet.physics.masks import Mask, make_mask
from fsmnet.physics.simulate import smooth_phase
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import of_image
from fsmnet.trust.check import check
from fsmnet.trust.familiar import SUITS
from fsmnet.trust.words import BLANK, NETWORK, in_words


@pytest.fixture
def scan(heads, checkpoint_file, tmp_path):
    case = sorted(path for path in heads.iterdir() if path.is_dir())[0]
    files = {name: next(case.glob(f"*_{ending}.nii*")) for name, ending in (("target", "t2"), ("auxiliary", "t1"))}
    checkpoint = checkpoint_file(tmp_path / "best.safetensors")
    return files | {"checkpoint": checkpoint, "device": "cpu", "precision": "float32", "acceleration": 2}


def knowing(target, auxiliary):
    """A network that knows the target as far as the auxiliary is the right one."""

    def network(zero_filled, other, lines):
        [number] = [n for n in range(len(target)) if torch.equal(other[0], auxiliary[n])] or [None]
        return zero_filled if number is None else target[number][None]

    return network


def again(target, auxiliary, network, given=None):
    mask = make_mask("random", target.shape[-1], 2, seed=0)
    other = auxiliary if given is None else given
    scan = Again("scan.nii", of_image(target, mask), other, network, "hard")
    if network is None:
        return scan
    return replace(scan, result=torch.stack([scan.magnitude(number) for number in range(len(target))]))


@pytest.fixture
def pair(scan):
    volumes = [torch.from_numpy(read_volume(scan[name]).data) for name in ("target", "auxiliary")]
    return [volume / volume.max() for volume in volumes]


def test_an_oracle_explains_all_and_a_foreign_auxiliary_takes_it_away(pair):
    target, auxiliary = pair
    network = knowing(target, auxiliary)
    found = check(again(target, auxiliary, network)).record
    assert found["HoldOut"]["Explained"][NETWORK] == pytest.approx(1, abs=1e-3)
    assert found["HoldOut"]["Explained"][BLANK] < 0.5
    assert found["Auxiliary"]["ExplainedLessWithoutIt"] > 0.5
    assert found["Auxiliary"]["ChangeWithBlank"] > 0.05
    assert found["Auxiliary"]["ChangeWithMoved"] > 0.05
    foreign = check(again(target, auxiliary, network, auxiliary.flip(-1))).record
    assert foreign["HoldOut"]["Explained"][NETWORK] < 0.5
    assert foreign["Auxiliary"]["ChangeWithBlank"] == 0


def test_few_lines_kept_back_are_told_but_do_not_judge(pair):
    target, auxiliary = pair

    def silent(zero_filled, other, lines):
        return torch.zeros_like(zero_filled) if other.any() else zero_filled

    scan = again(target, auxiliary, silent)
    found = check(scan).record
    assert found["HoldOut"]["EnoughToJudge"] is True
    assert found["Verdict"]["Kind"] != SUITS
    columns = np.zeros(target.shape[-1], dtype=bool)
    columns[28:37] = columns[2:24:4] = True
    few = check(replace(scan, measured=of_image(target, Mask(columns, "file")))).record
    assert len(few["HoldOut"]["LinesKeptBack"][0]) == 2
    assert few["HoldOut"]["EnoughToJudge"] is False
    assert few["HoldOut"]["Explained"][NETWORK] < few["HoldOut"]["Explained"][BLANK]
    assert few["Verdict"]["Kind"] == SUITS
    assert "could not be checked by so few measured lines" in in_words(few)


def test_the_record_and_the_line(scan, tmp_path, caplog):
    out = tmp_path / "one.nii.gz"
    options = [f"--{name}={value}" for name, value in scan.items()]
    with caplog.at_level(logging.INFO):
        assert main(["reconstruct", *options, f"--out={out}", "--check=2"]) == 0
    record = json.loads((tmp_path / "one.json").read_text())
    found = record["Check"]["HoldOut"]
    assert len(found["LinesKeptBack"]) == 2
    assert found["ConjugatesKeptBackTogether"] is True
    assert set(found["Explained"]) == {NETWORK, BLANK, "zero-filling", "POCS"}
    assert found["Explained"][NETWORK] is not None
    assert {line for one in found["LinesKeptBack"] for line in one} <= set(record["Mask"]["columns"])
    assert record["Seconds"]["check"] > 0
    assert in_words(record["Check"]) in caplog.messages


def test_one_fold_by_default_none_in_a_list_and_the_image_is_the_same(scan, tmp_path):
    plain = fsmnet.reconstruct(**scan, out=tmp_path / "plain.nii.gz", check="off")
    checked = fsmnet.reconstruct(**scan, out=tmp_path / "checked.nii.gz")
    assert plain.sidecar["Check"] is None
    assert len(checked.sidecar["Check"]["HoldOut"]["LinesKeptBack"]) == 1
    assert np.array_equal(plain.image, checked.image)
    table = tmp_path / "pairs.csv"
    table.write_text(f"case,target,auxiliary\none,{scan['target']},{scan['auxiliary']}\n")
    options = [f"--{name}={value}" for name, value in scan.items() if name not in ("target", "auxiliary")]
    for name, more, there in (("a", [], False), ("b", ["--check=1"], True)):
        assert main(["reconstruct", f"--pairs={table}", f"--out={tmp_path / name}", *options, *more]) == 0
        assert (json.loads((tmp_path / name / "one.json").read_text())["Check"] is not None) == there


def test_without_lines_it_says_why_not(scan, tmp_path, caplog):
    degraded = {name: value for name, value in scan.items() if name != "acceleration"} | {"target-is": "zero-filled"}
    with caplog.at_level(logging.INFO):
        options = [f"--{name}={value}" for name, value in degraded.items()]
        assert main(["reconstruct", *options, f"--out={tmp_path / 'one.nii.gz'}"]) == 0
    assert "hold-out check: not made, since no line of the target's k-space is known" in caplog.text
    assert json.loads((tmp_path / "one.json").read_text())["Check"]["Auxiliary"]["ChangeWithBlank"] > 0
    few = of_image(torch.rand(2, 8, 16), make_mask("equispaced", 16, 8, seed=0))
    assert "too few" in in_words(check(Again("scan.nii", few, None, lambda x, *_: x, "hard")).record)


def test_a_number_of_folds_that_there_is_not(scan, tmp_path):
    with pytest.raises(UserError, match="check takes 1 to 5 folds, or off, not 7"):
        fsmnet.reconstruct(**scan, out=tmp_path / "one.nii.gz", check=7)


@pytest.mark.parametrize("consistency", ["hard", "off"])
def test_from_k_space_with_a_phase(scan, pair, tmp_path, consistency):
    target, _ = pair
    phase = smooth_phase(*target.shape[-2:], 1.0, torch.Generator().manual_seed(0))
    kspace = fft2c(with_phase(target, torch.polar(torch.ones_like(phase), phase).expand(target.shape)))
    np.save(tmp_path / "kspace.npy", kspace.numpy())
    given = {name: value for name, value in scan.items() if name != "target"}
    result = fsmnet.reconstruct(
        **given, kspace=tmp_path / "kspace.npy", out=tmp_path / "one.nii.gz", data_consistency=consistency
    )
    found = result.sidecar["Check"]["HoldOut"]
    assert found["ConjugatesKeptBackTogether"] is False
    assert found["Explained"]["zero-filling"] == pytest.approx(0, abs=1e-3)


def test_without_an_auxiliary(pair):
    target, _ = pair
    scan = Again("scan.nii", of_image(target, make_mask("random", 64, 2)), None, lambda x, *_: x, "hard")
    found = check(scan).record
    assert set(found["HoldOut"]["Explained"]) == {NETWORK, "zero-filling", "POCS"}
    assert found["Auxiliary"] is None
    assert "blank" not in in_words(found)


def test_maps_lie_beside_the_result_on_its_grid_and_go_with_it(scan, tmp_path):
    out, influence = tmp_path / "one.nii.gz", tmp_path / "one_influence.nii.gz"
    result = fsmnet.reconstruct(**scan, out=out)
    told = result.sidecar["Maps"]["influence"]
    assert told["file"] == influence.name
    assert told["sha256"] == sha256(influence)
    image, shown = nib.load(out), nib.load(influence)
    assert np.array_equal(image.affine, shown.affine)
    assert image.shape == shown.shape
    change = read_volume(influence).data
    assert change.min() >= 0
    share = np.linalg.norm(change) / np.linalg.norm(result.image)
    assert share == pytest.approx(result.sidecar["Check"]["Auxiliary"]["ChangeWithBlank"], abs=1e-4)
    with pytest.raises(UserError, match="exists already"):
        fsmnet.reconstruct(**scan, out=out)
    again = fsmnet.reconstruct(**scan, out=out, overwrite=True, trust_maps=False)
    assert again.sidecar["Maps"] == {}
    assert not influence.exists()


def test_a_file_that_is_not_ours_stays(scan, tmp_path):
    mine = tmp_path / "one_influence.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), dtype=np.float32), np.eye(4)), mine)
    before = mine.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        fsmnet.reconstruct(**scan, out=tmp_path / "one.nii.gz", check="off")
    fsmnet.reconstruct(**scan, out=tmp_path / "one.nii.gz", check="off", overwrite=True)
    assert mine.read_bytes() == before
