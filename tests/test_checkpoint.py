"""Checkpoints come back as they were written, say what they are, and refuse what they are not."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fsmnet.checkpoint import (
    FORMAT,
    Header,
    header_of,
    load_model,
    load_weights,
    open_model,
    read_checkpoint,
    save_checkpoint,
    shipped_checkpoint,
    trained_normalisation,
    trained_recipe,
    trained_split,
    versions,
    warn_if_seen,
)
from fsmnet.data.formats import read_volume
from fsmnet.data.volume import content_hash
from fsmnet.errors import UserError, listed
from fsmnet.models import create_model
from fsmnet.models.released_weights import export_released
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols import get_protocol
from fsmnet.transforms import NormalisationRecipe

OPTIONS = {"features": 8, "blocks": 1}
HEADER = {
    "training": {"learning_rate": 1e-4, "data": "µ"},
    "split": {"train": ["a", "b"], "validation": [], "test": ["c"]},
    "metrics": {"psnr": 31.25},
    "versions": {"torch": "2"},
    "protocol": "fastmri",
    "normalisation": {"deviation": "sample", "clip": 6.0, "clip_target": 6.0, "auxiliary": "undersampled"},
    "contrasts": {"target": "CORPDFS_FBK", "auxiliary": "CORPD_FBK"},
    "mask": {"kind": "random", "acceleration": 4.0, "center_fraction": 0.08, "seed": "name", "mixed": [[4.0, 0.08]]},
    "heads": "stripped",
    "trust": {"familiar": {"scans": 3}, "calibration": {"rate": 0.9}},
}
BESIDE = {"first.weight": torch.arange(6.0).reshape(2, 3).half()}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("fsmnet", **OPTIONS).eval()


@pytest.fixture
def path(tmp_path, model):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, model.state_dict(), Header(model.recipe, **HEADER, error_network=BESIDE))
    return path


def images():
    return torch.randn(2, 1, 1, 24, 16, generator=torch.Generator().manual_seed(0))


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def rewrite(path, **changes):
    """The same weights under another header; None takes an entry out."""
    entries = {**metadata(path), **changes}
    save_file(load_file(path), path, metadata={k: v for k, v in entries.items() if v is not None})


def test_a_model_comes_back_with_its_weights_and_header(path, model):
    again = load_model(path)
    assert not again.training
    assert again.recipe == model.recipe
    with torch.inference_mode():
        assert torch.equal(again(*images()).image, model(*images()).image)
    header = header_of(again)
    assert header.model == {
        "name": "fsmnet",
        "options": {**OPTIONS, "modality_fusion": "selective", "branch_fusion": "attention"},
    }
    assert header.error_network.keys() == BESIDE.keys()
    assert torch.equal(header.error_network["first.weight"], BESIDE["first.weight"])
    assert vars(header) == {"model": model.recipe, **HEADER, "error_network": header.error_network}
    assert torch.equal(load_model(str(path)).heads[0].conv.weight, model.heads[0].conv.weight)


def test_the_header_can_be_read_by_any_safetensors_reader(path, model):
    entries = metadata(path)
    assert entries.pop("format") == FORMAT == "fsmnet-1"
    assert {name: json.loads(text) for name, text in entries.items()} == {"model": model.recipe, **HEADER}


def test_a_loaded_model_knows_how_it_was_trained(path):
    model = load_model(path)
    assert trained_recipe(model) == MaskRecipe("random", 4.0, 0.08, "name", ((4.0, 0.08),))
    assert trained_normalisation(model) == get_protocol("fastmri").normalisation
    assert trained_recipe(create_model("zero_filling")) is None
    assert trained_normalisation(create_model("zero_filling")) == get_protocol("float").normalisation


@pytest.mark.parametrize(
    ("training", "mask", "contrasts"),
    [
        (
            {"protocol": "brats", "target": "t2", "auxiliary": "t1", "acceleration": 8, "mask_kind": None},
            MaskRecipe("equispaced_fraction", 8.0, 0.04, 1337),
            {"target": "t2", "auxiliary": "t1"},
        ),
        (
            {"protocol": "fastmri", "target": "t2", "auxiliary": "CORPD_FBK", "acceleration": 4, "mask_seed": 5},
            MaskRecipe("random", 4.0, 0.08, 5),
            {"auxiliary": "CORPD_FBK"},  # what the list of pairs says of the target is not known any more
        ),
        (
            {"protocol": "float", "acceleration": 4, "mixed_accelerations": [4, 8]},
            MaskRecipe("random", 4.0, 0.08, "name", ((4.0, 0.08), (8.0, 0.04))),
            {},
        ),
    ],
)
def test_what_an_older_header_does_not_say_follows_from_its_options(path, training, mask, contrasts):
    new = dict.fromkeys(("protocol", "normalisation", "contrasts", "mask"))
    rewrite(path, training=json.dumps(training), **new)
    model = load_model(path)
    header = header_of(model)
    assert (header.protocol, header.contrasts, trained_recipe(model)) == (training["protocol"], contrasts, mask)
    assert trained_normalisation(model) == get_protocol(training["protocol"]).normalisation


def test_a_protocol_that_is_not_installed_does_no_harm(path):
    rewrite(path, protocol='"elsewhere"')
    assert trained_normalisation(load_model(path)).deviation == "sample"


def test_warns_of_a_network_trained_for_other_masks(checkpoint_file, tmp_path, caplog):
    training = {"protocol": "brats", "acceleration": 8}
    file = checkpoint_file(tmp_path / "eight.safetensors", training=training)
    open_model(str(file), MaskRecipe("equispaced_fraction", 8.0, 0.04, 1337))
    open_model(str(file))
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "fsmnet"):
        open_model(str(file), MaskRecipe("random", 4.0, 0.10, 1337))
    assert "eight.safetensors was trained for other masks" in caplog.text
    assert "(equispaced_fraction, 8x with centre 0.04, seed 1337) than these (random, 4x" in caplog.text


def test_weights_of_any_layout_and_with_gradients_are_written(tmp_path, model):
    state = {name: tensor.clone().requires_grad_() for name, tensor in model.state_dict().items()}
    state = {name: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t for name, t in state.items()}
    save_checkpoint(tmp_path / "last.safetensors", state, Header(model.recipe))
    weights, header = read_checkpoint(tmp_path / "last.safetensors")
    assert list(weights.keys()) == sorted(state)
    assert all(torch.equal(weights[name], state[name]) for name in state)
    assert (header.training, header.split, header.metrics, header.versions) == ({}, {}, {}, {})


def test_writing_replaces_in_one_step_with_usual_permissions(path, model):
    before = os.umask(0o022)
    try:
        save_checkpoint(path, model.state_dict(), Header(model.recipe))
    finally:
        os.umask(before)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_said_in_words_and_keeps_the_old_checkpoint(path, model, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old = path.read_bytes()
    monkeypatch.setattr("fsmnet.files.os.fsync", full)
    with pytest.raises(UserError, match="no space left on device"):
        save_checkpoint(path, model.state_dict(), Header(model.recipe))
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_cut_short_anywhere_is_refused_in_words(path):
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cut short, or not a safetensors checkpoint"):
            load_model(path)


def test_other_files_are_refused_in_words(tmp_path, path):
    with pytest.raises(UserError, match="no such checkpoint file; make one with 'fsmnet train'"):
        load_model(tmp_path / "gone.safetensors")
    with pytest.raises(UserError, match="is a folder; give the one file that is meant"):
        load_model(tmp_path)
    (tmp_path / "text.safetensors").write_text("not weights at all\n")
    with pytest.raises(UserError, match="cut short, or not a safetensors checkpoint"):
        load_model(tmp_path / "text.safetensors")
    for entries in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors", metadata=entries)
        with pytest.raises(UserError, match="a safetensors file, but not a checkpoint of fsmnet"):
            load_model(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "{"}, "the header is damaged"),
        ({"model": None}, "the header is damaged"),
        ({"model": "{}"}, "the header is damaged"),
        ({"model": "3"}, "the header is damaged"),
        ({"surprise": "3"}, "the header is damaged"),
        ({"mask": '{"kind": "random"}'}, "the header is damaged"),
        ({"normalisation": '{"mean": 3}'}, "the header is damaged"),
        ({"format": "fsmnet-99"}, "not a checkpoint of fsmnet"),
        ({"model": '{"name": "fsmnet3", "options": {}}'}, "unknown model 'fsmnet3'"),
        ({"model": '{"name": "fsmnet", "options": {"width": 3}}'}, "model fsmnet has no option 'width'"),
    ],
)
def test_a_damaged_header_is_refused_in_words(path, changes, sentence):
    rewrite(path, **changes)
    with pytest.raises(UserError, match=sentence):
        load_model(path)


def test_weights_of_another_model_are_listed_in_one_error(path):
    rewrite(path, model=json.dumps({"name": "fsmnet", "options": {**OPTIONS, "blocks": 2}}))
    with pytest.raises(UserError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(f"{path}: not weights of fsmnet: missing encoder.0.target.spatial.blocks.1.conv1.weight; ")
    assert text.endswith("; and 16 more")  # 11 groups of two convolutions are missing, 6 are shown
    plainer = create_model("fsmnet", **OPTIONS, branch_fusion="sum")
    with pytest.raises(
        UserError, match=r"not weights of fsmnet: extra decoder\.0\.fuse_branches\.select\.conv_a\.bias; "
    ):
        load_weights(plainer, read_checkpoint(path)[0], path)


def test_misshapen_entries_are_said_with_both_shapes(model):
    state = model.state_dict()
    state["heads.0.conv.weight"] = torch.zeros(8, 2, 3, 3)
    before = model.heads[1].conv.weight.clone()
    with pytest.raises(UserError) as error:
        load_weights(model, state, "weights")
    assert str(error.value) == (
        "weights: not weights of fsmnet: heads.0.conv.weight is [8, 2, 3, 3] instead of [8, 1, 3, 3]"
    )
    assert torch.equal(model.heads[1].conv.weight, before)  # nothing was loaded


def test_a_list_of_problems_shows_the_first_and_counts_the_rest():
    assert listed(["a", "b"]) == "a; b"
    assert listed(list("abcdefgh")) == "a; b; c; d; e; f; and 2 more"
    assert listed(list("abc"), most=2) == "a; b; and 1 more"


def test_an_authors_checkpoint_loads_too(tmp_path):
    torch.manual_seed(0)
    original = create_model("fsmnet_released", **OPTIONS).eval()
    export_released(original, tmp_path / "authors.pth")
    again = load_model(tmp_path / "authors.pth")
    assert not again.training
    assert header_of(again).model["name"] == "fsmnet_released"
    assert header_of(again).model["options"]["features"] == 8
    with torch.inference_mode():
        assert torch.equal(again(*images()).image, original(*images()).image)


def test_a_model_made_here_has_an_empty_header(model):
    assert header_of(model) == Header({})


def test_versions_name_what_a_result_depends_on():
    assert set(versions()) == {"fsmnet", "torch", "numpy", "python"}
    assert versions()["torch"] == torch.__version__
    assert all(isinstance(version, str) for version in versions().values())
    json.dumps(versions())


def test_shipped_weights_if_there_are_any_can_be_used():
    shipped = shipped_checkpoint("shipped-image")
    if shipped is None:
        pytest.skip("this build has no weights")
    model = load_model("shipped-image")
    assert model(*images()).image.isfinite().all()
    assert trained_recipe(model) == MaskRecipe("random", 4.0, 0.08, "name", span=(2.0, 12.0))
    assert header_of(model).contrasts == {"target": "any", "auxiliary": "any"}
    assert header_of(model).protocol == "complex"
    assert trained_normalisation(model) == NormalisationRecipe(clip=None)


@pytest.mark.parametrize(("name", "heads"), [("shipped-image", "both"), ("shipped", "both")])
def test_the_heads_that_the_shipped_weights_saw(name, heads):
    assert header_of(load_model(name)).heads == heads


@pytest.mark.parametrize(("name", "targets"), [("shipped-image", 2), ("shipped", 2)])
def test_the_scans_that_the_shipped_weights_saw_are_known_by_their_voxels(name, targets):
    split = trained_split(load_model(name))
    contents = {case: split.contents[case].split() for case in (*split.train, *split.validation)}
    assert all(len(hashes) >= targets for hashes in contents.values())
    assert not {*split.contents} & {*split.test}
    for case, hashes in contents.items():
        seen = split.seen("renamed", content=hashes[-1])
        assert (seen.case, seen.by) == (case, "content")


def test_a_renamed_training_scan_is_recognised(caplog):
    scan = Path(__file__).parents[2] / "shared/data/volumes/OMS-19/OMS-19_t2.nii.gz"
    if not scan.is_file():
        pytest.skip("the training's scans are not here")
    seen = warn_if_seen(load_model("shipped"), "shipped", ["anybody"], [content_hash(read_volume(scan).data)])
    assert (seen.side, seen.case, seen.by) == ("train", "OMS-19", "content")
    assert "was trained on OMS-19, whose voxels these are" in caplog.text
