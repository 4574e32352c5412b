"""A network as a graph with its weights, and that as a ``.pt2`` file of torch.export."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fsmnet.export.lines_graph import RealUnrolled
from fsmnet.inference.simplify import simplify
from fsmnet.models.output import as_output
from fsmnet.models.unrolled import UnrolledFSMNet

Save = Callable[[Path, dict[str, str]], None]  # writes a network, ready in memory, with this metadata
MULTIPLE = 8  # rows and columns of what an exported network takes are multiples of this
LARGEST = 1024


class ImageOnly(nn.Module):
    """A network whose result is the image alone, for inputs whose size needs no padding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, target: Tensor, auxiliary: Tensor) -> Tensor:
        """Normalised ``(1, 1, H, W)`` each, H and W multiples of 8, to the normalised reconstruction."""
        return as_output(self.model(target, auxiliary)).image


def traced(model: nn.Module) -> torch.export.ExportedProgram:
    """A model as a graph with its weights, for any H and W that are multiples of 8."""
    height, width = (MULTIPLE * torch.export.Dim(name, min=2, max=LARGEST // MULTIPLE) for name in ("h", "w"))
    sizes = {2: height, 3: width}
    generator = torch.Generator().manual_seed(0)
    auxiliary = torch.randn(1, 1, 48, 64, generator=generator)
    if isinstance(model, UnrolledFSMNet):
        graph: nn.Module = RealUnrolled(model)
        lines, mask = torch.randn(1, 2, 48, 64, generator=generator), torch.ones(1, 64)
        inputs: tuple[Tensor, ...] = (lines, mask, auxiliary.abs(), torch.tensor([-1.0]))
        shapes = {"lines": sizes, "mask": {1: width}, "auxiliary": sizes, "noise": {}}
    else:
        graph, inputs = ImageOnly(model), (torch.randn(1, 1, 48, 64, generator=generator), auxiliary)
        shapes = {"target": sizes, "auxiliary": sizes}
    with torch.no_grad():
        return torch.export.export(graph.eval(), inputs, dynamic_shapes=shapes)


def as_pt2(model: nn.Module) -> Save:
    """How to write a model as a ``.pt2`` file, which ``torch.export.load`` reads; the metadata is ``fsmnet.json``."""
    program = traced(simplified(model))

    def save(path: Path, metadata: dict[str, str]) -> None:
        packed = io.BytesIO()  # what torch says of a full disk is no OSError
        torch.export.save(program, packed, extra_files={"fsmnet.json": json.dumps(metadata)})
        path.write_bytes(packed.getbuffer())

    return save


def simplified(model: nn.Module) -> nn.Module:
    """A copy after the exact algebra of :mod:`fsmnet.inference.simplify`, in the precision and layout of the model."""
    return simplify(copy.deepcopy(model).eval().requires_grad_(False)).requires_grad_(False)
