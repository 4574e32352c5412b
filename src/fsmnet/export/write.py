"""A trained model made fast for inference (:func:`optimise`), or self-contained for use without this package."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from fsmnet.checkpoint import load_model, shipped_checkpoint, versions
from fsmnet.errors import UserError
from fsmnet.export.fourier_matrices import without_complex_numbers
from fsmnet.export.options import ExportConfig
from fsmnet.files import atomic_path, sha256
from fsmnet.inference.options import PrecisionChoice
from fsmnet.inference.simplify import STEPS, simplify
from fsmnet.models import recipe_of
from fsmnet.models.blocks import Down
from fsmnet.models.fast import FastFSMNet
from fsmnet.models.fsmnet import FSMNet
from fsmnet.models.kernels.fused import fuse
from fsmnet.models.output import Output
from fsmnet.models.released import ReleasedFSMNet

if TYPE_CHECKING:
    from fsmnet.export.parity import Parity

logger = logging.getLogger(__name__)

Variant = FSMNet | ReleasedFSMNet | FastFSMNet
Precision = Literal["float32", "bfloat16"]
Step = Callable[[nn.Module], object]
Save = Callable[[Path, dict[str, str]], None]  # writes a network, ready in memory, with this metadata
MULTIPLE = 8  # rows and columns of what an exported network takes are multiples of this
LARGEST = 1024
NORMALISATION = (
    "target: zero-filled slice minus its mean, over its population standard deviation plus 1e-11, clipped to +-6; "
    "auxiliary: likewise by its own statistics; image: times the target's deviation, plus its mean"
)


class Optimised(nn.Module):
    """A model for inference only, with the calling convention of the one it was made from.

    Attributes:
        model: the simplified copy.
        precision: of convolutions and of the feature maps between them.
    """

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, target: Tensor, auxiliary: Tensor) -> Output:
        """Zero-filled target and auxiliary, ``(B, 1, H, W)`` float32, to an output in float32."""
        half = self.precision == "bfloat16"
        with torch.autocast(target.device.type, dtype=torch.bfloat16, enabled=half):
            output: Output = self.model(target, auxiliary)
        return output

    def train(self, mode: bool = True) -> Optimised:
        """Refused: slopes and scales are numbers here, and kernels are sums of the trained ones."""
        if mode:
            raise RuntimeError("an optimised model cannot be trained; train the one it was made from")
        super().train(False)
        return self


def optimise(model: nn.Module, precision: Precision = "float32") -> nn.Module:
    """A copy of a model that computes the same image faster: the model after all of its :func:`steps`.

    With ``float32`` the image is equal to rounding.

    Args:
        model: any of :func:`fsmnet.list_models`; it is left as it was.
        precision: ``float32`` or ``bfloat16``.
    """
    return after(model, steps(model, precision))


def steps(model: nn.Module, precision: Precision = "float32") -> tuple[Step, ...]:
    """What :func:`optimise` does to a copy of a model, in order.

    1. Exact algebra (:mod:`fsmnet.inference.simplify`), for the FSMNet variants.
    2. Weights in channels-last memory.
    3. With ``bfloat16``: convolutions and feature maps in bfloat16; transforms, angles and sums over pixels in float32.
    4. Convolution, sum and activation in one pass (:mod:`fsmnet.models.kernels.fused`), for the FSMNet variants on a
       processor.
    """
    ours = isinstance(model, Variant)
    half: tuple[Step, ...] = (bfloat16,) if precision == "bfloat16" else ()
    return (*(STEPS if ours else ()), channels_last, *half, *((fuse,) if ours else ()))


def after(model: nn.Module, done: Sequence[Step]) -> nn.Module:
    """A copy of a model after the first of its :func:`steps`, in evaluation mode without gradients.

    Args:
        model: it is left as it was.
        done: the steps to take.
    """
    half = bfloat16 in done
    fast = copy.deepcopy(model, _half_weights(model) if half else None)
    for step in done:
        step(fast)
    optimised = Optimised(fast, "bfloat16" if half else "float32").eval().requires_grad_(False)
    for name in ("recipe", "header"):
        if hasattr(model, name):
            setattr(optimised, name, getattr(model, name))
    return optimised


def _half_weights(model: nn.Module) -> dict[int, Any] | None:
    """What a deep copy is to put in place of the widest kernels: never is there a second set of them in float32."""
    if not isinstance(model, Variant):
        return None
    # Those of Down are summed first, in float32.
    summed = {
        id(parameter) for module in model.modules() if isinstance(module, Down) for parameter in module.parameters()
    }
    return {
        id(weight): nn.Parameter(weight.detach().to(torch.bfloat16), requires_grad=False)
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and id(weight := module.weight) not in summed
    }


def bfloat16(model: nn.Module) -> None:
    """Convert weights and biases of 2D convolutions once, which autocast would do in every call.

    Other networks than the FSMNet variants leave it to autocast: some use such weights outside a convolution.
    """
    for module in model.modules() if isinstance(model, Variant) else ():
        if isinstance(module, nn.Conv2d):
            module.to(torch.bfloat16)


def channels_last(model: nn.Module) -> None:
    """Lay out 2D convolution weights as channels-last; the feature maps follow. 3D convolutions would refuse."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def chosen_precision(name: PrecisionChoice, device: torch.device, optimised: bool = True) -> Precision:
    """The precision that an option names; ``auto`` is the device's best, and float32 for a network left as it is."""
    if name != "auto":
        return name
    return best_precision(device) if optimised else "float32"


def best_precision(device: torch.device) -> Precision:
    """bfloat16 where the processor multiplies matrices of it in hardware, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type != "cpu":
        return "float32"
    flags: Any = torch.cpu
    return "bfloat16" if flags._is_amx_tile_supported() or flags._is_avx512_bf16_supported() else "float32"


class ImageOnly(nn.Module):
    """A network whose result is the image alone, for inputs whose size needs no padding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, target: Tensor, auxiliary: Tensor) -> Tensor:
        """Normalised ``(1, 1, H, W)`` each, H and W multiples of 8, to the normalised reconstruction."""
        image: Tensor = self.model(target, auxiliary).image
        return image


def export(config: ExportConfig) -> list[Parity]:
    """Write a network with its weights as ``.pt2`` (torch.export) or ``.onnx``, and compare it with the original.

    Both take float32 of any H and W that are multiples of 8, one slice at a time. ONNX runtimes know no complex
    numbers, so there the transforms are products of real matrices, equal to rounding.

    Returns:
        How well the written file agrees with the model: on noise, and on the slices of a scan if one was given. The
        file's metadata says the same under ``parity``.

    Raises:
        UserError: options that cannot be used, or a written file that does not give the model's image.
    """
    from fsmnet.export import parity  # which reads scans, and so needs more than this module's other half

    kind = config.out.suffix
    if kind not in (".pt2", ".onnx"):
        raise UserError(f"{config.out}: the format follows the ending; choose .pt2 or .onnx")
    if config.out.exists() and not config.overwrite:
        raise UserError(f"{config.out}: exists already; pass --overwrite to replace it, or choose another --out")
    if (config.target is None) != (config.auxiliary is None):
        missing = "--auxiliary" if config.auxiliary is None else "--target"
        raise UserError(f"{missing} is missing; a comparison on real slices needs both contrasts")
    checkpoint = config.checkpoint or shipped_checkpoint()
    if checkpoint is None:
        raise UserError("this build carries no weights; give a checkpoint from 'fsmnet train' with --checkpoint")
    model = load_model(checkpoint)
    inputs = [parity.noise()]
    if config.target is not None and config.auxiliary is not None:
        inputs.append(parity.of_scan(model, config.target, config.auxiliary))
    metadata = {
        "model": json.dumps(recipe_of(model)),
        "weights_sha256": sha256(checkpoint),
        "normalisation": NORMALISATION,
        "multiple": str(MULTIPLE),
        "use": "research use only, not for clinical use",
        "versions": json.dumps(versions()),
    }
    logger.info("tracing %s; this takes about a minute", recipe_of(model)["name"])
    save = (as_pt2 if kind == ".pt2" else as_onnx)(model)
    with atomic_path(config.out) as path:
        save(path, metadata)
        checks = [parity.compare(path, model, each) for each in inputs]
        for check in checks:
            logger.info("%s", check)
            if not check.largest_difference <= config.tolerance:
                raise UserError(
                    f"{config.out}: not written; its image of {check.of} differs from the model's by "
                    f"{check.largest_difference:.2g}, more than --tolerance {config.tolerance:g}"
                )
        save(path, metadata | {"parity": json.dumps([asdict(check) for check in checks])})
    return checks


def traced(model: nn.Module) -> torch.export.ExportedProgram:
    """A model as a graph with its weights, for any H and W that are multiples of 8."""
    height, width = (MULTIPLE * torch.export.Dim(name, min=2, max=LARGEST // MULTIPLE) for name in ("h", "w"))
    sizes = {2: height, 3: width}
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(1, 1, 48, 64, generator=generator) for _ in range(2))
    with torch.no_grad():
        return torch.export.export(
            ImageOnly(model).eval(), inputs, dynamic_shapes={"target": sizes, "auxiliary": sizes}
        )


def as_pt2(model: nn.Module) -> Save:
    """How to write a model as a ``.pt2`` file, which ``torch.export.load`` reads; the metadata is ``fsmnet.json``."""
    program = traced(_plain(model))

    def save(path: Path, metadata: dict[str, str]) -> None:
        torch.export.save(program, path, extra_files={"fsmnet.json": json.dumps(metadata)})

    return save


def as_onnx(model: nn.Module) -> Save:
    """How to write a model as an ONNX file with inputs ``target`` and ``auxiliary`` and the output ``image``.

    Raises:
        UserError: onnx and onnxscript are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - the exporter's own need
    except ImportError:
        raise UserError("ONNX needs more packages; pip install 'fsmnet[export]'") from None
    program = traced(without_complex_numbers(_plain(model)))
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it misses torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, of a function it calls
            made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=["image"])
    finally:
        log.setLevel(level)
    if made is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    proto = made.model_proto

    def save(path: Path, metadata: dict[str, str]) -> None:
        onnx.helper.set_model_props(proto, metadata)
        onnx.save_model(proto, path)

    return save


def _plain(model: nn.Module) -> nn.Module:
    """A simplified copy in float32 and the usual memory layout."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(copied, Variant):
        simplify(copied)
    return copied.requires_grad_(False)
