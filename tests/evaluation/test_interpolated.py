"""A score of an image that was enlarged by zeros in k-space comes with a warning."""

from __future__ import annotations

import numpy as np
import pytest

from fsmnet import evaluate


@pytest.mark.parametrize("enlarged", [False, True])
def test_the_true_acceleration_is_told(tmp_path, write_nifti, caplog, enlarged):
    rng = np.random.default_rng(0)
    spectrum = np.fft.fft2(rng.normal(size=(2, 3, 48, 80))) / (0.05 + np.abs(np.fft.fftfreq(80)))
    if enlarged:
        spectrum[..., 20:-19] = 0
    for name, contrast in zip(("t2", "t1"), np.fft.ifft2(spectrum).real, strict=True):
        image = np.round(1000 + 200 * contrast / contrast.std()).clip(1).transpose(1, 2, 0)
        write_nifti(tmp_path / "data" / "A" / f"A_{name}.nii.gz", image.astype(np.float32))
    evaluate(models=["zero_filling"], data=tmp_path / "data", protocol="float", out=tmp_path / "out", device="cpu")
    told = [message for message in caplog.messages if "k-space is empty beyond its middle" in message]
    assert len(told) == enlarged
