"""
A network of your own
=====================

Any ``torch.nn.Module`` that takes two images can be trained, scored and compared as if it came with the package.
"""

# %%
# A network: three convolutions over both contrasts, which give what the zero-filled image lacks.

import tempfile
from pathlib import Path

import torch
from torch import nn

import fsmnet
from fsmnet.data.phantom import write_subjects


class ThreeConvolutions(nn.Module):
    """Zero-filled target and auxiliary, normalised, ``(B, 1, H, W)`` each, to the image."""

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, features, 3, padding=1), nn.ReLU(), nn.Conv2d(features, features, 3, padding=1), nn.ReLU(),
            nn.Conv2d(features, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, target: torch.Tensor, auxiliary: torch.Tensor) -> torch.Tensor:
        """The residual is learned."""
        return target + self.layers(torch.cat([target, auxiliary], dim=1))


fsmnet.register_model("three_convolutions", ThreeConvolutions, "this page")
print([name for name in fsmnet.list_models() if name.startswith("t")])

# %%
# Compared with zero-filling and a U-Net of a few features: the same split, masks, steps and optimiser for all.

folder = Path(tempfile.mkdtemp())
write_subjects(folder / "heads", range(4), slices=4)
fsmnet.compare(
    data=folder / "heads",
    out=folder / "table",
    protocol="complex",
    acceleration=4,
    reference="U-Net",
    iterations=20,
    methods={
        "Three convolutions": {"model": "three_convolutions"},
        "U-Net": {"model": "mdunet", "model_options": {"features": 8}},
    },
)
print((folder / "table" / "table.md").read_text())

# %%
# Twenty steps teach nothing; a table worth reading takes minutes or hours for each method. :doc:`/extending` says
# how a package of your own makes its networks known wherever it is installed.
