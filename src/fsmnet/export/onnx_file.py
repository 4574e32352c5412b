"""A network as an ONNX file."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from fsmnet.errors import UserError
from fsmnet.export.fourier_matrices import without_complex_numbers
from fsmnet.export.torch_file import Save, simplified, traced


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
    program = traced(without_complex_numbers(simplified(model)))
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
