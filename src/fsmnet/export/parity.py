"""Does an exported file give the image of the model it was made from? On noise, and on slices of a real scan."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn

from fsmnet.checkpoint import trained_recipe
from fsmnet.data.pairing.names import load_pair
from fsmnet.errors import UserError
from fsmnet.export.torch_file import MULTIPLE
from fsmnet.models import takes_acquisition
from fsmnet.models.output import as_output
from fsmnet.physics.acquisition import Acquisition
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.float import FLOAT
from fsmnet.transforms import pad_to_multiple, unpad

EVERY = 10  # of the slices with content, every tenth is compared
ROUNDING = 1e-6  # of the deviation: sums in float32 lose as much on their way through a network
DRAWS = 2  # of such changes


@dataclass(frozen=True)
class Inputs:
    """What both are given.

    Attributes:
        of: what it shows, in words.
        slices: what the file takes: normalised zero-filled target and auxiliary, ``(1, 1, H, W)`` each, or what
            :class:`fsmnet.export.lines_graph.RealUnrolled` says.
    """

    of: str
    slices: list[tuple[Tensor, ...]]


@dataclass(frozen=True)
class Parity:
    """How well the image of a written file agrees with the model's.

    Attributes:
        of: what was reconstructed, in words.
        slices: how many.
        largest_difference: of any pixel, in deviations of the target (the networks' unit).
        beyond_rounding: the same less what rounding alone does to the model's image of the slice (:func:`unsettled`).
        psnr_between: PSNR (dB) of the file's image, with the range of the model's as peak; None if identical.
    """

    of: str
    slices: int
    largest_difference: float
    beyond_rounding: float
    psnr_between: float | None

    def __str__(self) -> str:
        """In words, for the log."""
        psnr = "identical" if self.psnr_between is None else f"PSNR {self.psnr_between:.1f} dB"
        told = f"{self.slices} slices of {self.of}: within {self.largest_difference:.1e} of the model's image, {psnr}"
        mostly = self.beyond_rounding < self.largest_difference / 2
        return told + (", which rounding alone does to the model's own" if mostly else "")


def noise(lines: bool = False) -> Inputs:
    """Smooth noise of deviation 1, twice in two sizes other than the traced one; as images, or as measured lines."""
    generator = torch.Generator().manual_seed(1)
    slices: list[tuple[Tensor, ...]] = []
    for height, width in 2 * ((64, 40), (72, 80)):
        rough = torch.randn(2, 1, height + 4, width + 4, generator=generator)
        target, auxiliary = (5 * nn.functional.avg_pool2d(rough, 5, stride=1)).split(1)
        if lines:
            columns = torch.rand(width, generator=generator) < 0.4
            columns[width // 2 - 4 : width // 2 + 4] = True
            slices.append(as_lines(torch.complex(target, auxiliary)[0], auxiliary.abs()[None, 0], columns))
        else:
            slices.append((target, auxiliary))
    return Inputs("noise", slices)


def as_lines(image: Tensor, auxiliary: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
    """What a file for k-space takes: of an image ``(1, H, W)``, an auxiliary ``(1, 1, H, W)``, a mask ``(W,)``."""
    measured = Acquisition.simulate(image, columns).lines
    return as_pair(measured), columns[None].float(), auxiliary, torch.tensor([-1.0])


def as_pair(image: Tensor) -> Tensor:
    """Complex ``(1, 1, H, W)`` to real and imaginary part, ``(1, 2, H, W)``."""
    return torch.view_as_real(image)[:, 0].movedim(-1, 1).contiguous()


def original(model: nn.Module) -> Callable[..., Tensor]:
    """Function of what a file takes to the image that the model itself gives."""

    def of_lines(lines: Tensor, mask: Tensor, auxiliary: Tensor, noise: Tensor) -> Tensor:
        measured = Acquisition(torch.complex(lines[:, :1], lines[:, 1:]), mask[0] > 0, noise=noise)
        return as_pair(as_output(model(measured, auxiliary)).image)

    return of_lines if takes_acquisition(model) else lambda *images: as_output(model(*images)).image


def of_scan(model: nn.Module, target: Path, auxiliary: Path) -> Inputs:
    """Every tenth slice with content of a scan, under-sampled as the model was trained for; else 4x at random.

    Args:
        model: from a checkpoint.
        target: fully sampled volume of the contrast to reconstruct, see :func:`fsmnet.read_volume`.
        auxiliary: volume of the other contrast on the same grid.

    Raises:
        UserError: files that cannot be used.
    """
    scan = FLOAT.prepare(*load_pair(target, auxiliary))
    recipe = trained_recipe(model) or FLOAT.mask_recipe(MaskOptions())
    fully_sampled, helper = scan.target[::EVERY], scan.auxiliary[::EVERY]
    columns = recipe.draw(fully_sampled.shape[-1], target.name).columns
    if takes_acquisition(model):
        mask = torch.from_numpy(columns)
        rows, width = (side - side % MULTIPLE for side in fully_sampled.shape[-2:])
        inside = [each[:, :rows, :width] for each in (fully_sampled, helper)]
        return Inputs(
            target.name, [as_lines(x[None], a[None, None], mask[:width]) for x, a in zip(*inside, strict=True)]
        )
    inputs = FLOAT.normalisation.inputs(FLOAT.zero_fill(fully_sampled, torch.from_numpy(columns)), helper)
    pairs = zip(inputs.target[:, None].split(1), inputs.auxiliary[:, None].split(1), strict=True)
    return Inputs(target.name, [*pairs])


def compare(path: Path, model: nn.Module, inputs: Inputs) -> Parity:
    """Run both on the same slices.

    The file takes sides that are multiples of 8, so it and the model get padded slices; the margin is not compared.

    Args:
        path: exported file, ``.pt2`` or ``.onnx``.
        model: that it was made from, in eval mode.
        inputs: the slices.
    """
    exported, own, lines = open_file(path), original(model), takes_acquisition(model)
    exact = None if lines else original(copy.deepcopy(model).double())  # networks for k-space have no phases in them
    expected, images, beyond = [], [], []
    for given in inputs.slices:
        height, width = given[0].shape[-2:]
        padded = given if lines else tuple(pad_to_multiple(image, MULTIPLE) for image in given)
        with torch.inference_mode():
            expected.append(unpad(own(*padded), height, width).flatten())
            images.append(unpad(exported(*padded), height, width).flatten())
        by_rounding = unsettled(exact, padded) if exact else 0.0
        beyond.append(max(0.0, float((images[-1] - expected[-1]).abs().max()) - by_rounding))
    reference, image = torch.cat(expected), torch.cat(images)
    largest = float((image - reference).abs().max())
    return Parity(inputs.of, len(expected), largest, max(beyond), psnr_between(reference, image))


def unsettled(model: Callable[..., Tensor], images: tuple[Tensor, ...]) -> float:
    """How much a network's image of these changes at most under changes as small as rounding, in deviations.

    FSMNet's changes where the phase of a coefficient is next to pi (Eq. 2): there the last digit decides between +pi
    and -pi, and with it on which machine the image is another one, the network's as well as the file's.

    Args:
        model: in float64, so that the answer is the same on every machine.
        images: ``(1, 1, H, W)`` each.
    """
    generator = torch.Generator().manual_seed(0)
    found: list[Tensor] = []
    with torch.inference_mode():
        for _ in range(DRAWS + 1):
            kept = ROUNDING * len(found[:1])  # the first as it is
            moved = [x + kept * torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in images]
            found.append(model(*moved))
    return max(float((a - b).abs().max()) for a, b in combinations(found, 2))


def psnr_between(expected: Tensor, image: Tensor) -> float | None:
    """PSNR (dB) of an image against the one it should equal, whose range is the peak; None where they are identical."""
    reference = expected.double()
    error = float((image.double() - reference).square().mean())
    return 10 * math.log10(float(reference.max() - reference.min()) ** 2 / error) if error else None


def open_file(path: Path) -> Callable[..., Tensor]:
    """Function of what an exported file takes to the image that it computes."""
    if path.suffix == ".pt2":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")  # PyTorch 2.9, of its own buffer
            graph: Callable[..., Tensor] = torch.export.load(path).module()
        return graph
    try:
        import onnxruntime
    except ImportError:
        raise UserError("checking the ONNX file needs onnxruntime; pip install 'fsmnet[export]'") from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    names = [taken.name for taken in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        [result] = session.run(["image"], {name: each.numpy() for name, each in zip(names, given, strict=True)})
        return torch.from_numpy(result)

    return run
