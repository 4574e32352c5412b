"""Rows of scores, and what is said of them."""

from __future__ import annotations

import math

import pytest

from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import Row, summarise, summary_lines
from fsmnet.metrics import Metrics
from fsmnet.physics.masks import MaskRecipe


def test_identical_images_have_no_finite_psnr(tmp_path):
    rows = [Row("same", "case", 0, Metrics(math.inf, 1.0, 0.0)), Row("same", "case", 1, Metrics(30.0, 0.9, 0.1))]
    config = EvaluateConfig(data=tmp_path, out=tmp_path, models=["same"])
    summary = summarise(rows, config, MaskRecipe("random", 4.0, 0.08, "name"))
    assert (summary[0]["psnr_mean"], summary[0]["psnr_std"]) == (None, None)
    assert summary[0]["nmse_mean"] == pytest.approx(0.05)
    assert "infinite" in summary_lines(summary)[1]
