"""The pictures of a run: there after a validation, whole, cheap, and never what a run ends for."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

import fsmnet.training.pictures
from fsmnet.errors import UserError
from fsmnet.training.pictures import CURVES, EXAMPLE, Album, curves
from fsmnet.training.run import train
from fsmnet.training.schedule import Progress


def test_a_run_leaves_pictures(configure):
    config = configure(pictures=True, validation_fraction=0.25)
    train(config)
    for name in (CURVES, EXAMPLE):
        image = imread(config.out / name)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.05  # something is drawn
    train(replace(config, out=config.out.with_name("none"), pictures=False))
    assert not (config.out.with_name("none") / CURVES).exists()


def rows(count: int) -> list[list[float]]:
    return [[n, 0, n * 0.5, 1e-3, 1 / n, 1.0, 20 + n if n % 10 == 0 else np.nan] for n in range(1, count + 1)]


def test_curves_of_any_length(tmp_path):
    curves([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    for count in (1, 50, 5000):
        curves(rows(count), tmp_path / f"{count}.png")
        assert imread(tmp_path / f"{count}.png").std() > 0.05


class FewThings:
    """What an album needs of a run."""

    is_main = True

    def __init__(self, config) -> None:
        self.config = config


@pytest.fixture
def album(configure):
    config = configure(pictures=True)
    config.out.mkdir()
    (config.out / "log.csv").write_text(
        "step,epoch,seconds,learning_rate,loss,gradient_norm,validation_psnr\n1,0,1,0.1,0.5,1,\n"
    )
    return Album(FewThings(config))


def test_they_take_a_small_share_of_the_time(album, monkeypatch):
    drawn = []
    monkeypatch.setattr(fsmnet.training.pictures, "curves", lambda rows, path: drawn.append(len(rows)))
    album.seconds = 1.0
    album.draw(Progress(step=1, seconds=49.0))
    assert drawn == []
    album.draw(Progress(step=1, seconds=51.0))
    album.seconds = 1.0
    album.draw(Progress(step=1, seconds=1.0), last=True)
    assert drawn == [1, 1]


def test_a_run_does_not_end_for_a_picture(album, monkeypatch, caplog):
    def full(rows, path):
        raise UserError(f"{path}: cannot be written (no space left on device)")

    monkeypatch.setattr(fsmnet.training.pictures, "curves", full)
    with caplog.at_level(logging.WARNING):
        album.draw(Progress(step=1, seconds=1e6))
        album.draw(Progress(step=1, seconds=1e6))
    assert [message.partition(";")[2] for message in caplog.messages] == [" no more pictures are drawn"]
