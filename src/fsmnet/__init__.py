"""Accelerated multi-contrast MRI reconstruction: FSMNet and the methods it is compared with.

Research software, not for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fsmnet._version import __version__

if TYPE_CHECKING:
    from fsmnet.checkpoint import load_model
    from fsmnet.errors import UserError
    from fsmnet.models import create_model, list_models
    from fsmnet.models.released_weights import export_released, load_released
    from fsmnet.reconstruction.reconstruct import reconstruct

# Imported on first use, so that "import fsmnet" and "fsmnet --help" do not wait for PyTorch.
_PLACES = {
    "UserError": "fsmnet.errors",
    "create_model": "fsmnet.models",
    "export_released": "fsmnet.models.released_weights",
    "list_models": "fsmnet.models",
    "load_model": "fsmnet.checkpoint",
    "load_released": "fsmnet.models.released_weights",
    "reconstruct": "fsmnet.reconstruction.reconstruct",
}

__all__ = [
    "UserError",
    "__version__",
    "create_model",
    "export_released",
    "list_models",
    "load_model",
    "load_released",
    "reconstruct",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'fsmnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
