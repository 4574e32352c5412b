"""Accelerated multi-contrast MRI reconstruction: FSMNet and the methods it is compared with.

Research software, not for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fsmnet._version import __version__

if TYPE_CHECKING:  # for editors and type checkers; tests/test_imports.py compares it with the list below
    from fsmnet.checkpoint import load_model
    from fsmnet.data.formats import Format, read_kspace, read_volume, register_format, write_volume
    from fsmnet.data.pairing.names import find_pairs, load_pair
    from fsmnet.data.volume import Volume
    from fsmnet.errors import UserError
    from fsmnet.evaluation.compare import compare
    from fsmnet.evaluation.evaluate import evaluate
    from fsmnet.metrics import nmse, psnr, ssim
    from fsmnet.models import create_model, list_models, register_model
    from fsmnet.models.output import Output
    from fsmnet.models.released_weights import export_released, load_released
    from fsmnet.pages.report import report
    from fsmnet.physics.acquisition import Acquisition, undersample, zero_fill
    from fsmnet.physics.espirit import estimate_maps
    from fsmnet.physics.masks import Mask, load_mask, make_mask, register_mask_kind, save_mask
    from fsmnet.protocols import register_protocol, training_slices
    from fsmnet.training.run import train
    from fsmnet.trust.check import reconstruct

# Where each name lives. It is imported on first use, so that "import fsmnet" and "fsmnet --help" need no PyTorch.
_NAMES = {
    "fsmnet.checkpoint": ("load_model",),
    "fsmnet.data.formats": ("Format", "read_kspace", "read_volume", "register_format", "write_volume"),
    "fsmnet.data.pairing.names": ("find_pairs", "load_pair"),
    "fsmnet.data.volume": ("Volume",),
    "fsmnet.errors": ("UserError",),
    "fsmnet.evaluation.compare": ("compare",),
    "fsmnet.evaluation.evaluate": ("evaluate",),
    "fsmnet.metrics": ("nmse", "psnr", "ssim"),
    "fsmnet.models": ("create_model", "list_models", "register_model"),
    "fsmnet.models.output": ("Output",),
    "fsmnet.models.released_weights": ("export_released", "load_released"),
    "fsmnet.pages.report": ("report",),
    "fsmnet.physics.acquisition": ("Acquisition", "undersample", "zero_fill"),
    "fsmnet.physics.espirit": ("estimate_maps",),
    "fsmnet.physics.masks": ("Mask", "load_mask", "make_mask", "register_mask_kind", "save_mask"),
    "fsmnet.protocols": ("register_protocol", "training_slices"),
    "fsmnet.training.run": ("train",),
    "fsmnet.trust.check": ("reconstruct",),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Acquisition",
    "Format",
    "Mask",
    "Output",
    "UserError",
    "Volume",
    "__version__",
    "compare",
    "create_model",
    "estimate_maps",
    "evaluate",
    "export_released",
    "find_pairs",
    "list_models",
    "load_mask",
    "load_model",
    "load_pair",
    "load_released",
    "make_mask",
    "nmse",
    "psnr",
    "read_kspace",
    "read_volume",
    "reconstruct",
    "register_format",
    "register_mask_kind",
    "register_model",
    "register_protocol",
    "report",
    "save_mask",
    "ssim",
    "train",
    "training_slices",
    "undersample",
    "write_volume",
    "zero_fill",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'fsmnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
