"""A network's purpose in one line, and what is said where a scan is another."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from torch import nn

from fsmnet.checkpoint import Header, load_model
from fsmnet.data.appearance import UNKNOWN, Appearance
from fsmnet.data.contrast import Contrast, ScanFacts
from fsmnet.errors import UserError
from fsmnet.inference.suitability import mask_doubts, purpose_of, suitability
from fsmnet.physics.masks import Mask, MaskRecipe, make_mask

BRIGHT, DARK = Appearance("bright", "stripped"), Appearance("dark", "stripped")


def network(**header):
    model = nn.Identity()
    model.header = Header({}, **header)
    return model


def purpose(target="t2", auxiliary="t1", heads="stripped", mixed=(), span=None, kind="random"):
    mask = asdict(MaskRecipe(kind, 4.0, 0.1, 1337, mixed, span))
    split = {"train": ["a", "b", "c", "d"]}
    contrasts = {"target": target, "auxiliary": auxiliary}
    return purpose_of(network(contrasts=contrasts, mask=mask, protocol="brats", split=split, heads=heads))


def seen(contrast="", looks=UNKNOWN, name="scan.nii.gz"):
    return ScanFacts(name, Contrast(contrast, "by its name" if contrast else ""), looks)


LINES = {
    "shipped-image": "any contrast with any other, 2 to 12x, heads with and without skull, protocol complex, "
    "trained on 7 patients",
    "shipped": "any contrast with any other or none, 2 to 12x, heads with and without skull, protocol complex, "
    "trained on 8 patients",
}


@pytest.mark.parametrize(("name", "line"), LINES.items())
def test_the_shipped_networks_say_what_they_are_for(name, line):
    assert str(purpose_of(load_model(name))) == line


def test_lines_of_other_networks():
    several = purpose(["t1", "t2", "flair", "t1ce"], "any", "both", span=(2.0, 12.0))
    assert str(several).startswith("T1, T2, FLAIR or T1ce with any other, 2 to 12x, heads with and without skull")
    mixed = purpose("{case}/{case}_T2w.nii.gz", "{case}/other.nii.gz", "", ((8.0, 0.04), (4.0, 0.08)))
    assert str(mixed) == "T2, 4x or 8x random, protocol brats, trained on 4 patients"
    knee = purpose_of(network(contrasts={"target": "CORPDFS_FBK, AXT2", "auxiliary": "CORPD_FBK"}))
    assert str(knee).startswith("CORPDFS_FBK or T2 with PD")
    assert str(purpose_of(nn.Identity())) == "its checkpoint does not say what it is for"


def test_what_it_was_made_for_is_fine():
    for target, auxiliary in (("t2", "t1"), ("", "t1"), ("t2", "")):
        found = suitability(purpose(), seen(target, BRIGHT), seen(auxiliary, DARK))
        assert found.refusals == ()
        # Dark fluid alone does not tell T1 from FLAIR.
        assert len(found.doubts) == (auxiliary == "")
    nothing = purpose_of(nn.Identity())
    assert suitability(nothing, seen("flair", DARK), seen()).enforce().doubts == ()
    assert suitability(purpose(), seen("t2", BRIGHT), None).enforce().doubts == ()


@pytest.mark.parametrize(
    ("target", "auxiliary", "words"),
    [
        ("flair", "t1", "is FLAIR .by its name., but the network was made for T2 with T1, and makes whatever it gets"),
        ("t2", "flair", "is FLAIR .by its name., but the network was made for T2 with T1; give T1 as the auxiliary"),
        ("t1", "t2", "the target is T1 and the auxiliary T2, the wrong way round .* exchange --target and --auxiliary"),
        ("t2", "t2", "is T2 .by its name., but"),
        ("t1ce", "t1", "is T1ce"),
        ("adc", "t1", "is ADC"),
    ],
)
def test_another_contrast_is_refused_and_done_anyway(target, auxiliary, words, caplog):
    with pytest.raises(UserError, match=words + ".*, or pass --anyway"):
        suitability(purpose(), seen(target), seen(auxiliary)).enforce()
    assert not caplog.messages
    record = suitability(purpose(), seen(target), seen(auxiliary), anyway=True).enforce().record()
    assert len(caplog.messages) == len(record["NotMadeForIt"]) == 1
    assert (record["Target"], record["TargetSaid"], record["Doubts"]) == (target, "by its name", [])


def test_a_helping_contrast_that_is_nearly_the_same_is_doubted():
    found = suitability(purpose(), seen("t2", BRIGHT), seen("t1ce", DARK))
    assert (found.refusals, len(found.doubts)) == ((), 1)


def test_what_only_looks_wrong_is_warned_of(caplog):
    [doubt] = suitability(purpose(), seen("t2", DARK), seen("t1", DARK)).enforce().doubts
    assert caplog.messages == [doubt]
    assert doubt == "scan.nii.gz: is T2 (by its name), but its fluid is dark, as in T1, T1ce or FLAIR"
    first, second = suitability(purpose(), seen("", DARK), seen("", BRIGHT)).doubts
    assert "its fluid is dark, as in T1, T1ce or FLAIR, and the network was made for T2" in first
    assert "its fluid is bright, as in T2" in second
    assert "--auxiliary-contrast" in second
    [doubt] = suitability(purpose(), seen(), seen("t1", DARK)).doubts
    assert "nothing tells its contrast" in doubt
    against = ScanFacts("scan", Contrast("t2", "by --target-contrast", "FLAIR by its name"), BRIGHT)
    assert suitability(purpose(), against, seen("t1", DARK)).doubts == (
        "scan: T2 by --target-contrast, FLAIR by its name",
    )


def test_heads():
    skull = Appearance("bright", "whole")
    words = "scan.nii.gz: shows a head with skull, and the network saw only skull-stripped heads"
    assert suitability(purpose(), seen("t2", skull), seen("t1")).doubts == (words,)
    assert suitability(purpose(), seen("t2", skull), seen("t1", DARK)).doubts == ()  # they contradict each other
    whole = purpose(heads="whole")
    assert "shows a skull-stripped head" in suitability(whole, seen("t2", BRIGHT), seen("t1", DARK)).doubts[0]
    for heads in ("", "both"):
        assert suitability(purpose(heads=heads), seen("t2", skull), seen("t1")).doubts == ()


def test_masks():
    made = purpose()
    for fine in (make_mask("random", 240, 4, 0.1, 5), Mask(make_mask("random", 240, 4, 0.1, 5).columns, "file")):
        assert mask_doubts(made, fine) == []
    assert mask_doubts(made, make_mask("random", 240, 8, 0.04, 5)) == ["the network was trained for 4x, not 8x"]
    [doubt] = mask_doubts(made, make_mask("equispaced", 240, 8, 0.04, 5))
    assert doubt == "the network was trained for 4x random, not 8x equispaced"
    every_fourth = np.arange(240) % 4 == 0
    [doubt] = mask_doubts(made, Mask(every_fourth, "inferred from empty columns"))
    assert doubt == "the network was trained for 4x random, not 4x evenly spaced"
    even = purpose(kind="equispaced")
    assert mask_doubts(even, Mask(every_fourth, "file")) == []
    assert "x random" in mask_doubts(even, Mask(make_mask("random", 240, 4, 0.1, 5).columns, "file"))[0]
    ranged = purpose(span=(2.0, 12.0))
    for acceleration in (2, 5, 12):
        assert mask_doubts(ranged, make_mask("equispaced", 240, acceleration, 0.02, 5)) == []
    assert mask_doubts(ranged, make_mask("random", 240, 16, 0.02, 5))[0].startswith(
        "the network was trained for 2 to 12x"
    )
    assert mask_doubts(purpose_of(nn.Identity()), make_mask("random", 240, 16, 0.02, 5)) == []
