"""Rows of scores, and what is said of them."""

from __future__ import annotations

import math

import pytest

from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import Row, circumstances, summarise, summary_lines
from fsmnet.metrics import Metrics
from fsmnet.physics.masks import MaskRecipe

RECIPE = MaskRecipe("random", 4.0, 0.08, "name")


def summary(rows, tmp_path):
    return summarise(rows, EvaluateConfig(data=tmp_path, out=tmp_path, models=["one"], protocol="float"), RECIPE)


def row(case, psnr, **facts):
    return Row("one", case, None, Metrics(psnr, 0.9, 0.05), **{"achieved": 4.0, "slices": 7, **facts})


def test_identical_images_have_no_finite_psnr(tmp_path):
    rows = [row("case", math.inf), row("case", 30.0)]
    found = summary(rows, tmp_path)
    assert (found[0]["psnr_mean"], found[0]["psnr_std"]) == (None, None)
    assert found[0]["nmse_mean"] == pytest.approx(0.05)
    assert "infinite" in summary_lines(found)[1]
    assert "nan" not in "".join(summary_lines(found))


def test_one_row_has_no_deviation(tmp_path):
    found = summary([row("case", 30.0, head=Metrics(25.0, 0.8, 0.04))], tmp_path)
    assert found[0]["psnr_std"] is None
    text = "\n".join(summary_lines(found))
    assert "+-" not in text
    assert "nan" not in text
    assert text.splitlines()[1].split() == ["one", "1", "30.00", "0.900", "0.0500", "25.00", "0.800"]


def test_the_interval_is_of_the_patients_means(tmp_path):
    cases = {"a-1_ses-1": 30.0, "a-1_ses-2": 34.0, "b-2": 31.0, "c-3": 36.0}
    rows = [row(case, psnr, patient=case.partition("_")[0]) for case, psnr in cases.items()]
    found = summary(rows, tmp_path)[0]
    assert (found["n"], found["patients"], found["psnr_patient_mean"]) == (4, 3, 33.0)
    assert sum(found["psnr_interval"]) == pytest.approx(66.0)
    assert "33.00 dB" in summary_lines([found])[-1]


def test_the_circumstances_tell_accelerations_that_differ(tmp_path):
    found = summary([row("a", 30.0, achieved=3.82), row("b", 31.0, achieved=4.36)], tmp_path)
    assert found[0]["achieved_acceleration"] == {"mean": 4.09, "least": 3.82, "most": 4.36}
    expected = "protocol float, 4x requested, 3.82x to 4.36x (not all alike) achieved, 14 slices of 2 patients"
    assert circumstances(found) == expected
    assert "4.00x achieved, 7 slices of 1 patient" in circumstances(summary([row("a", 30.0)], tmp_path))
