"""One verdict from all that is known, and the words and the level in which it is told."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from fsmnet.checkpoint import Header
from fsmnet.models import create_model
from fsmnet.physics.masks import make_mask
from fsmnet.reconstruction.again import Again
from fsmnet.reconstruction.measured import of_image
from fsmnet.trust.familiar import REFUSE, SUITS, UNUSUAL
from fsmnet.trust.verdict import by_reference, verdict
from fsmnet.trust.words import in_words, tell

BETTER = {"zero_filling": {"psnr": 20.0}, "network": {"psnr": 30.0}}
WORSE = {"zero_filling": {"psnr": 20.0}, "network": {"psnr": 19.5}}


@pytest.fixture
def scan():
    image = torch.rand(2, 16, 40, generator=torch.Generator().manual_seed(0))
    model = create_model("zero_filling")
    model.header = Header({})
    measured = of_image(image, make_mask("random", 40, 2, seed=0))
    return Again("scan.nii", measured, None, None, "hard", result=image, model=model, scores=BETTER)


def test_a_network_that_is_worse_than_nothing_is_refused_whatever_else_speaks_for_it(scan):
    explained = {"network": 0.9, "zero-filling": 0.1}
    assert verdict(scan, [0, 1], explained).kind == SUITS
    found = verdict(replace(scan, scores=WORSE, doubts=("its mask is new",)), [0, 1], explained)
    assert found.kind == REFUSE
    assert found.because == (
        "by its reference the network is worse than zero-filling here (19.50 dB against 20.00 dB)",
        "its mask is new",
    )
    assert verdict(replace(scan, doubts=("its mask is new",)), [0, 1], explained).kind == UNUSUAL


def test_the_image_that_is_written_counts():
    assert by_reference(WORSE | {"consistent": {"psnr": 24.0}}) == []
    assert by_reference(BETTER | {"consistent": {"psnr": 19.0}})


def test_without_an_error_there_is_nothing_to_refuse():
    assert by_reference(None) == []
    assert by_reference({"zero_filling": {"psnr": 20.0}, "network": {"psnr": None}}) == []
    assert by_reference({"zero_filling": {"psnr": None}, "network": {"psnr": None}}) == []
    [reason] = by_reference({"zero_filling": {"psnr": None}, "network": {"psnr": 60.0}})
    assert "60.00 dB against no error at all" in reason


def record(kind, because=(), known=0, **hold_out):
    explained = {"network": 0.834, "network, auxiliary blank": 0.7, "zero-filling": 0.2}
    found = {"Explained": explained, "LinesKeptBack": [[1, 2, 3]], "OfKnownScans": {"Least": 0.6, "Mean": 0.8}}
    verdict = {"Kind": kind, "Because": list(because), "ComparedWithScans": known}
    return {"HoldOut": found | hold_out, "Verdict": verdict, "Error": None}


def test_the_words_say_what_was_compared_and_what_was_not():
    assert "not compared with training scans" in in_words(record(SUITS))
    assert "the network suits this scan" in in_words(record(SUITS, known=9))
    assert "of known scans 80%, at least 60%" in in_words(record(SUITS))
    few = in_words(record(SUITS, known=9, EnoughToJudge=False))
    assert "trust: could not be checked by so few measured lines; nothing else speaks" in few
    assert "suits" not in few
    assert "3 measured lines kept back, and the network explains 83%" in few
    untried = in_words(record(SUITS, known=9) | {"HoldOut": None, "Why": "3 outer lines are too few"})
    assert "suits" not in untried
    assert "no measured line was kept back to try the network; hold-out check: not made, since 3 outer" in untried
    words = in_words(record(UNUSUAL, ["its mask is new", "and old"], OfTestPatients={"Least": 0.79, "Most": 0.912}))
    assert "unusual for this network, because its mask is new (and 1 more)" in words
    assert "explains 83% of their energy (on its test patients 79% to 91%; zero-filling 20%" in words
    assert "do not use this network on this scan, because" in in_words(record(REFUSE, ["it is worse"]))


@pytest.mark.parametrize(("kind", "level"), [(SUITS, "INFO"), (UNUSUAL, "WARNING"), (REFUSE, "WARNING")])
def test_what_does_not_suit_is_a_warning(caplog, kind, level):
    with caplog.at_level(logging.INFO):
        tell(record(kind, ["it is so"]), "head.nii.gz")
    assert [one.levelname for one in caplog.records] == [level]
    assert caplog.messages[0].startswith("head.nii.gz: trust: ")
