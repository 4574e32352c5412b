"""Nothing is made or left on the processor where a GPU computes; and it computes the same, to the bit.

What only a real one can tell is in tests/cli/test_gpu.py.
"""

from __future__ import annotations

from dataclasses import fields

import nibabel as nib
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from fsmnet.cli import main
from fsmnet.data.augment import augment, draw, measure
from fsmnet.inference.optimise import optimise
from fsmnet.models import create_model, list_models, takes_acquisition
from fsmnet.models.output import Output, as_output
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.coils import root_sum_of_squares
from fsmnet.physics.espirit import estimate_maps
from fsmnet.physics.fourier import fft1c
from fsmnet.physics.holdout import folds, unseen, without
from fsmnet.physics.random_scans import Random
from fsmnet.physics.weighed import weighed
from fsmnet.reconstruction.adapt import adapt
from fsmnet.training.losses import SpatialFrequencyLoss, UnrolledLoss
from fsmnet.training.step import take_step
from other_device import GPU, Elsewhere, NoWaiting, WrongDeviceError, other_device
from synthetic_coils import columns_of, synthetic
from training_run import log_rows

HEIGHT, WIDTH, COILS = 16, 40, 3
SMALL = {
    "fsmnet": {"features": 8, "blocks": 1},
    "fsmnet_released": {"features": 8},
    "fsmnet_fast": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
    "fsmnet_unrolled": {"steps": 2, "widths": [8, 8, 8]},
    "mdunet": {"features": 4, "levels": 2},
    "minet": {"features": 16, "groups": 1, "blocks": 1},
    "mcca": {"channels": 32, "channel_mult": [1, 2]},
    "swinir": {"embed_dim": 12, "depths": [1], "num_heads": [2]},
    "mtrans": {"hidden": 2, "image_size": [HEIGHT, WIDTH]},
    "dcamsr": {"nf": 8, "n_blks": [1, 1, 1], "n_blks_dec": [1] * 6},
}


@pytest.fixture
def gpu(monkeypatch):
    with other_device(monkeypatch) as device:
        yield device


def scan_of(coils: int, noise: float | None = 0.01, real: bool = False) -> Acquisition:
    image, maps = synthetic(HEIGHT, WIDTH, max(coils, 2))
    image = torch.stack([image, 0.5 * image.flip(-1)])
    maps = None if coils == 1 else maps
    generator = torch.Generator().manual_seed(0)
    return Acquisition.simulate(image.abs() if real else image, columns_of(1, WIDTH), maps, noise or 0.0, generator)


def auxiliary() -> torch.Tensor:
    return scan_of(1).zero_filled.abs()[:, None].flip(-2)


def same(there, here) -> None:
    assert isinstance(there, Elsewhere)
    assert torch.equal(there.cpu(), here)


# -- the instrument ----------------------------------------------------------------------------------------------------


def test_what_a_gpu_would_refuse_is_refused(gpu):
    here, there = torch.rand(3), torch.rand(3, device=gpu)
    refused = {
        "sum": lambda: here + there,
        "where": lambda: torch.where(here > 0.5, there, there),
        "indices": lambda: here[(there > 0.5).nonzero()[:, 0]],
        "generator": lambda: torch.rand(3, device=gpu, generator=torch.Generator()),
        "double": there.double,
        "product": lambda: torch.nn.Linear(3, 3)(there),
    }
    for operation in refused.values():
        with pytest.raises(WrongDeviceError):
            operation()
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()
    for waiting in (there.sum().item, there.cpu, lambda: there[there > 0.5]):
        with pytest.raises(WrongDeviceError, match="waits"), NoWaiting():
            waiting()


def test_what_a_gpu_would_compute_is_computed(gpu):
    here = torch.rand(3, dtype=torch.complex64)
    there = here.to(gpu)
    same(there * 2 + torch.tensor(1.0), here * 2 + 1)
    same(there[torch.arange(2)], here[:2])
    same((there.conj() * there.imag).conj(), (here.conj() * here.imag).conj())
    same(torch.as_tensor(0.5, device=gpu).expand(2) * torch.arange(2, device=gpu), torch.tensor([0, 0.5]))
    assert bool((there.abs() >= 0).all())
    there[1:] = torch.zeros(2)
    assert there.cpu()[1:].abs().sum() == 0
    wanted = torch.rand(3, device=gpu).requires_grad_()
    (wanted**2).sum().backward()
    same(wanted.grad, 2 * wanted.detach().cpu())


# -- networks, losses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_every_network(gpu, name):
    torch.manual_seed(0)
    model = create_model(name, **SMALL.get(name, {})).eval()
    fast = optimise(model)
    targets = [scan_of(1), scan_of(COILS)] if takes_acquisition(model) else [scan_of(1).zero_filled.abs()[:, None]]
    with torch.no_grad():
        for target in targets:
            expected = as_output(model.cpu()(target, auxiliary())).image
            same(as_output(model.to(gpu)(target.to(gpu), auxiliary().to(gpu))).image, expected)
            image = as_output(fast.to(gpu)(target.to(gpu), auxiliary().to(gpu))).image
            assert isinstance(image, Elsewhere)  # its sums are in another order
            torch.testing.assert_close(image.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_losses_and_their_gradients(gpu):
    torch.manual_seed(0)
    target = scan_of(1).zero_filled.abs()[:, None]
    loss = SpatialFrequencyLoss(0.01, True, image_weight=1.0, auxiliary_weight=0.5, kspace_weight=0.1)
    for losses, first in ((loss, auxiliary()), (UnrolledLoss(), auxiliary().to(torch.complex64))):
        found = []
        for device in ("cpu", gpu):
            image = first.to(device).detach().requires_grad_()
            output = Output(image, image * 0.9, image * 0.8, iterates=(image * 0.5, image))
            value = losses(output, target.to(device), auxiliary().to(device))
            value.backward()
            found.append((value.detach().cpu(), image.grad.cpu()))
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])


# -- physics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coils", [1, COILS])
@pytest.mark.parametrize("noise", [None, 0.01])
def test_what_is_done_with_measured_lines(gpu, coils, noise):
    scan = scan_of(coils, noise)
    columns = folds(columns_of(1, WIDTH).numpy(), 1, (3,))[0]
    methods = {
        "forward": lambda scan, x: scan.forward(x),
        "adjoint": lambda scan, x: scan.adjoint(scan.lines),
        "hard": lambda scan, x: scan.consistent(x.abs()),
        "soft": lambda scan, x: scan.consistent(x, 2.0),
        "sense": lambda scan, x: scan.sense(4, 0.1),
        "residual": lambda scan, x: scan.residual(x),
        "part": lambda scan, x: scan[1:].rows(slice(3, 9)).zero_filled,
        "weighed": lambda scan, x: weighed(scan, x.abs()),
        "correction": lambda scan, x: scan.correction(x, torch.full((WIDTH,), 0.7, device=x.device), 3),
        "without": lambda scan, x: without(scan, columns).zero_filled,
    }
    image = scan.zero_filled * 1.1
    for name, method in methods.items():
        there = method(scan.to(gpu), image.to(gpu))
        assert torch.equal(there.cpu(), method(scan, image)), name
        assert isinstance(there, Elsewhere), name
    found = [unseen(one, columns, one.zero_filled) for one in (scan.to(gpu), scan)]
    assert found[0].explained == found[1].explained


def test_a_real_image(gpu):
    scan = scan_of(1, None, real=True)
    same(create_model("pocs")(scan.to(gpu), auxiliary().to(gpu)).image, create_model("pocs")(scan, auxiliary()).image)


def test_maps_from_the_centre(gpu):
    image, maps = synthetic(HEIGHT, WIDTH, COILS)
    kspace = fft1c(fft1c(image * maps), -2)
    same(estimate_maps(kspace.to(gpu)), estimate_maps(kspace))
    same(root_sum_of_squares(kspace.to(gpu)), root_sum_of_squares(kspace))


def test_what_training_draws(gpu):
    """A GPU draws other numbers."""
    pairs = torch.rand(4, 2, 40, 40)
    for coils in (1, COILS):
        drawn = draw(4, (HEIGHT, WIDTH), Random(gpu), coils=coils)
        sample = augment(drawn, pairs.to(gpu), (HEIGHT, WIDTH))
        target, scan = measure(drawn, sample.target, 1.0)
        made = [getattr(one, field.name) for one in (drawn, sample) for field in fields(one)]
        made += [target, scan.lines, scan.mask]
        assert all(isinstance(one, Elsewhere) for one in made if isinstance(one, torch.Tensor))


def test_adapting_a_network(gpu, monkeypatch):
    monkeypatch.setattr("fsmnet.reconstruction.adapt.STEPS", 4)
    torch.manual_seed(0)
    model = create_model("fsmnet_unrolled", **SMALL["fsmnet_unrolled"]).eval()
    for step in model.steps:
        torch.nn.init.normal_(step.leave.weight, std=0.01)
    scan = scan_of(COILS)
    expected = adapt(model, lambda n: (scan[n : n + 1], None), 2, (7,))[1]
    assert adapt(model.to(gpu), lambda n: (scan[n : n + 1].to(gpu), None), 2, (7,))[1] == expected


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path, write_nifti, smooth):
    return [str(write_nifti(tmp_path / f"{n}.nii.gz", smooth(n, (HEIGHT, WIDTH, 2)))) for n in (0, 1)]


@pytest.mark.parametrize("name", ["mdunet", "fsmnet_unrolled", "pocs"])
def test_reconstruct_with_all_its_maps(monkeypatch, tmp_path, pair, checkpoint_file, name):
    weights = "pocs" if name == "pocs" else str(checkpoint_file(tmp_path / "net.safetensors", name, **SMALL[name]))
    words = ["reconstruct", *pair, "--checkpoint", weights, "--acceleration", "2", "--no-picture"]
    words += ["--precision", "float32", "--batch", "2", "--keep-auxiliary"]
    assert main([*words, "--device", "cpu", "-o", str(tmp_path / "here.nii.gz")]) == 0
    with other_device(monkeypatch):
        assert main([*words, "--device", str(GPU), "-o", str(tmp_path / "there.nii.gz")]) == 0
    for what in ("", "_error", "_influence", "_loss"):
        here, there = (np.asarray(nib.load(tmp_path / f"{place}{what}.nii.gz").dataobj) for place in ("here", "there"))
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-4 * here.max())  # sums in another order


@pytest.mark.parametrize("name", ["mdunet", "fsmnet_unrolled"])
def test_training_waits_for_the_gpu_between_steps_only(monkeypatch, tmp_path, brats_folder, name):
    def accelerator(_):
        made = Accelerator(cpu=True)
        PartialState().device = AcceleratorState().device = GPU
        return made

    def watched(*arguments):
        with NoWaiting():
            take_step(*arguments)

    monkeypatch.setattr("fsmnet.training.run.choose_accelerator", accelerator)
    monkeypatch.setattr("fsmnet.training.deadline.take_step", watched)
    words = ["train", str(brats_folder), "--protocol", "complex", "--model", name, "--model-options", str(SMALL[name])]
    words += ["--iterations", "2", "--batch", "2", "--optimizer", "sgd", "--ema", "0.9", "--clip-norm", "1"]
    words += ["--simulated-coils", "2"] if name == "fsmnet_unrolled" else []
    words += ["--validation-fraction", "0.4", "--validate-slices", "2", "--log-every", "1", "--no-pictures"]
    try:
        with other_device(monkeypatch):
            assert main([*words, "-o", str(tmp_path / "run")]) == 0
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert np.isfinite([float(row["loss"]) for row in log_rows(tmp_path / "run")]).all()
