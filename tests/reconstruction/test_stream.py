"""Slices that are done: put to the measurement, scored and packed as if all had come at once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fsmnet.data.formats import read_volume
from fsmnet.data.scan import Scan, begin_nifti
from fsmnet.data.stored import Stored
from fsmnet.data.volume import Volume
from fsmnet.errors import UserError
from fsmnet.inference.slices import Batch
from fsmnet.metrics import volume_metrics
from fsmnet.physics.masks import make_mask
from fsmnet.reconstruction.measured import of_image
from fsmnet.reconstruction.stream import Finishing

KEEP = torch.tensor([False, True, True, False, True, True, True, False])


@pytest.fixture
def target(smooth):
    data = smooth(0, (8, 20, 24), 0, 900)
    data[~KEEP.numpy()] = 0
    return Scan(Volume(data, np.diag([1.0, 2.0, 3.0, 1.0]), Path("made")))


def simulated(target):
    scaled = torch.from_numpy(target.volume.data)[KEEP] / target.volume.maximum
    return scaled, of_image(scaled, make_mask("random", 24, 3, 0.2, 1))


@pytest.mark.parametrize("consistency", ["hard", None])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_parts_make_the_whole(tmp_path, target, size, consistency):
    scaled, scan = simulated(target)
    image = scaled + 0.3 * torch.randn(scaled.shape, generator=torch.Generator().manual_seed(0))
    out = tmp_path / "out.nii.gz"
    threads = []

    def beside():
        threads.append(threading.current_thread())
        return 0.5

    writer = begin_nifti(target, out, "a test", Stored())
    with Finishing(scan, target, KEEP, writer, beside, consistency=consistency) as finishing:
        for start in range(0, 5, size):
            part = slice(start, start + size)
            finishing.take(Batch(part, image[part], 0.25))
        assert finishing.wait() == 0.5
    assert threads[0] is not threading.current_thread()

    images = {"zero_filling": scan.zero_filled, "network": image.clamp_min(0)}
    last, residuals = image, {}
    if consistency:
        slices = [scan.put_back(one, number, "hard") for number, one in enumerate(image)]
        last = torch.stack([one for one, _ in slices])
        residuals = {name: [values[name] for _, values in slices] for name in slices[0][1]}
        images["consistent"] = last.clamp_min(0)
    expected = np.zeros_like(target.volume.data)
    expected[KEEP] = last.clamp_min(0) * target.volume.maximum
    np.testing.assert_allclose(finishing.result, expected, rtol=1e-6, atol=1e-4)
    finishing.writer.save()
    assert np.array_equal(read_volume(out).data, finishing.result)
    assert finishing.n_below_zero == np.count_nonzero(last < 0) > 0
    scores = {name: volume_metrics(scaled.numpy(), one.numpy())._asdict() for name, one in images.items()}
    assert list(finishing.metrics()) == list(scores)
    for name, values in scores.items():
        found = finishing.metrics()[name]
        assert {figure: found[figure] for figure in values} == pytest.approx(values, rel=1e-6)
        assert found["head_psnr"] > 0
    assert finishing.network == 0.25 * -(-5 // size)
    assert finishing.consistency > 0
    assert finishing.complex_image() is None
    if not consistency:
        assert finishing.record() is None
    else:
        record = finishing.record()
        assert record.pop("Kind") == "hard: measured k-space lines replaced"
        assert record == pytest.approx({name: np.mean(x) for name, x in residuals.items()}, rel=1e-4, abs=1e-7)


def test_what_fails_in_the_thread_is_raised(target):
    _, scan = simulated(target)

    def beside():
        raise UserError("SimpleITK is tired")

    with Finishing(scan, target, KEEP, None, beside, consistency="hard") as finishing:
        finishing.take(Batch(slice(0, 5), scan.zero_filled, 1.0))
        with pytest.raises(UserError, match="SimpleITK is tired"):
            finishing.wait()


def test_a_reference_that_cannot_be_compared_with_is_refused_before_the_network(target):
    _, scan = simulated(target)
    with pytest.raises(UserError, match="zero everywhere"):
        Finishing(of_image(scan.reference * 0, scan.mask), target, KEEP, None, lambda: None, consistency=None)


def test_a_reference_too_small_for_scores_gets_none(target, caplog):
    _, scan = simulated(target)
    small = of_image(scan.reference[:, :5], scan.mask)
    assert Finishing(small, target, KEEP, None, lambda: None, consistency=None).metrics() is None
    assert "too small for SSIM" in caplog.text
