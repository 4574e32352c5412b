"""How a head looks: fluid bright or dark, with skull or without; and never a guess where it does not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fsmnet.data.appearance import UNKNOWN, appearance
from fsmnet.data.phantom import make_subject
from fsmnet.physics.acquisition import undersample, zero_fill
from fsmnet.physics.completeness import lines_of
from fsmnet.physics.masks import make_mask

FLUIDS = {"t1": "dark", "t2": "bright", "flair": "dark"}


@pytest.fixture(scope="module")
def head():
    made = make_subject(1, size=120, slices=16, voxel=2).contrasts
    return {name: np.ascontiguousarray(made[name].transpose(2, 0, 1)) for name in FLUIDS}


def zero_filled(image, kind="random", acceleration=4):
    columns = make_mask(kind, image.shape[-1], acceleration, 0.32 / acceleration, 1).columns
    return zero_fill(undersample(torch.from_numpy(image), torch.from_numpy(columns))).numpy()


def with_skull(image):
    """Fat around bone around the brain."""
    out = image.copy()
    for number, one in enumerate(image):
        brain = ndimage.binary_fill_holes(one > 0)
        away, level = ndimage.distance_transform_edt(~brain), np.median(one[brain])
        out[number] = np.where(brain, one, np.where(away <= 4, 0.05 * level, np.where(away <= 8, 1.6 * level, 0)))
    return out


@pytest.mark.parametrize("name", FLUIDS)
def test_fluid_and_skull(head, name):
    assert vars(appearance(head[name])) == {"fluid": FLUIDS[name], "head": "stripped"}
    assert vars(appearance(with_skull(head[name]))) == {"fluid": FLUIDS[name], "head": "whole"}
    assert name in appearance(head[name]).contrasts()


@pytest.mark.parametrize("name", FLUIDS)
def test_neither_scale_nor_orientation_matters(head, name):
    expected = appearance(head[name])
    for image in (head[name] * 1e-3, head[name][::-1], head[name].swapaxes(1, 2), (head[name] * 99).astype(np.uint8)):
        assert appearance(image) == expected


def test_of_a_zero_filled_image_the_fluid_alone_is_judged(head):
    found = appearance(zero_filled(head["t2"]), head["t1"])
    assert vars(found) == {"fluid": "bright", "head": "unknown"}
    assert vars(appearance(zero_filled(head["flair"]), head["t1"]))["fluid"] != "bright"


def test_what_is_no_head_is_nothing():
    noise = np.abs(np.random.default_rng(0).standard_normal((5, 64, 64))).astype(np.float32)
    for image in (np.zeros((3, 40, 40)), np.ones((3, 40, 40)), noise[:, :10, :10], np.eye(40)[None]):
        assert appearance(image).head != "whole"
    assert appearance(np.zeros((3, 40, 40))) == appearance(noise[:, :10, :10]) == UNKNOWN


@pytest.mark.parametrize("name", FLUIDS)
def test_lines_that_are_missing_show(head, name):
    assert "missing" not in lines_of(head[name])
    for kind, acceleration in (("random", 4), ("equispaced", 4), ("equispaced", 8)):
        across, along = lines_of(zero_filled(head[name], kind, acceleration))
        assert (across != "missing", along) == (True, "missing")
        turned = np.ascontiguousarray(zero_filled(head[name], kind, acceleration).swapaxes(1, 2))
        assert lines_of(turned) == (along, across)
