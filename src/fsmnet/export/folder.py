"""A folder that other programs load: in the form of a Hugging Face repository, or of a MONAI bundle.

Both hold the same: the checkpoint as it is (safetensors, whose header says what made it), the network as a graph of
torch.export, which needs no code of this package, what it takes and gives, and a card for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from fsmnet._version import __version__
from fsmnet.checkpoint import Header, header_of
from fsmnet.files import json_text
from fsmnet.inference.suitability import purpose_of
from fsmnet.models import recipe_of, takes_acquisition

WEIGHTS, GRAPH = "model.safetensors", "model.pt2"
LICENCES = "Apache-2.0 (code); the weights keep the licences of the scans they were trained on"


def hub_files(model: nn.Module, metadata: Mapping[str, str]) -> dict[str, str]:
    """Name and text of what a Hugging Face folder has beside weights and graph."""
    config = {"model_type": "fsmnet", "library_name": "fsmnet", "fsmnet_version": __version__} | _interface(
        model, metadata
    )
    return {"config.json": json_text(config, 2) + "\n", "README.md": _front_matter(model) + card(model, metadata)}


def bundle_files(model: nn.Module, metadata: Mapping[str, str]) -> dict[str, str]:
    """Name and text of what a MONAI bundle has beside weights and graph."""
    interface = _interface(model, metadata)
    described = {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": __version__,
        "changelog": {__version__: "as written by fsmnet export"},
        "monai_version": "1.4.0",
        "pytorch_version": json.loads(metadata["versions"])["torch"],
        "numpy_version": json.loads(metadata["versions"])["numpy"],
        "required_packages_version": {},
        "name": recipe_of(model)["name"],
        "task": "Accelerated multi-contrast MRI reconstruction",
        "description": str(purpose_of(model)),
        "authors": "The FSMNet developers",
        "copyright": "see LICENSE",
        "intended_use": "research use only, not for clinical use",
        "network_data_format": {"inputs": interface["inputs"], "outputs": interface["outputs"]},
        "fsmnet": interface,
    }
    inference = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "network": f"$torch.export.load(@bundle_root + '/models/{GRAPH}').module()",
    }
    return {
        "configs/metadata.json": json_text(described, 2) + "\n",
        "configs/inference.json": json_text(inference, 2) + "\n",
        "docs/README.md": card(model, metadata),
    }


def licence() -> str:
    """Text of this package's licence, from wherever it is installed."""
    for text in resources.files("fsmnet").joinpath("LICENSE"), Path(__file__).parents[3] / "LICENSE":
        if text.is_file():
            return text.read_text(encoding="utf-8")
    return "Apache-2.0\n"


def _interface(model: nn.Module, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the graph takes and gives, and what the network was made for."""
    image = {"type": "image", "dtype": "float32", "shape": [1, 1, "8*h", "8*w"]}
    pair = {"type": "complex pair", "dtype": "float32", "shape": [1, 2, "8*h", "8*w"]}
    if takes_acquisition(model):
        inputs: dict[str, Any] = {
            "lines": pair | {"what": "k-space along W, image along H; zero where not measured"},
            "mask": {"dtype": "float32", "shape": [1, "8*w"], "what": "1 where a line was measured"},
            "auxiliary": image | {"what": "magnitude of the other contrast; zeros where there is none"},
            "noise": {"dtype": "float32", "shape": [1], "what": "standard deviation in the lines; negative if unknown"},
        }
        outputs = {"image": pair}
    else:
        inputs, outputs = {"target": image, "auxiliary": image}, {"image": image}
    header = header_of(model)
    return {
        "model": recipe_of(model),
        "weights": WEIGHTS,
        "graph": GRAPH,
        "weights_sha256": metadata["weights_sha256"],
        "normalisation": metadata["normalisation"],
        "inputs": inputs,
        "outputs": outputs,
        "made_for": str(purpose_of(model)),
        "contrasts": header.contrasts,
        "mask": header.mask,
        "protocol": header.protocol,
        "use": metadata["use"],
    }


def _front_matter(model: nn.Module) -> str:
    tags = "".join(f"\n- {tag}" for tag in ("mri", "medical-imaging", "reconstruction", recipe_of(model)["name"]))
    return f"---\nlicense: apache-2.0\nlibrary_name: fsmnet\npipeline_tag: image-to-image\ntags:{tags}\n---\n\n"


def card(model: nn.Module, metadata: Mapping[str, str]) -> str:
    """What the network is, what it saw, how it scored and what it cannot do, from the header of its checkpoint."""
    header = header_of(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    parts = [
        f"# {recipe_of(model)['name']}\n",
        "Reconstruction of accelerated MRI with the help of a second contrast. **Research use only, not for clinical "
        "use.**\n",
        f"- made for: {purpose_of(model)}\n- {parameters:,} parameters; options `{json.dumps(recipe_of(model)['options'])}`"
        f"\n- weights: `{WEIGHTS}`, SHA-256 {metadata['weights_sha256']}\n- licences: {LICENCES}\n",
        "## Data\n",
        _data(header),
        "## Scores\n",
        _scores(header),
        "## Limits\n",
        "It knows what it was trained on, and nothing else: other anatomy, contrasts, masks or scanners were not tried. "
        "Structure that was not measured is a guess. "
        "`fsmnet reconstruct` compares a scan with what the network was made for and checks it on lines kept back.\n",
        "## Use\n",
        "```python\nimport fsmnet\n\nmodel = fsmnet.load_model('THIS FOLDER')\n```\n\nWithout this package, with torch "
        f"alone (`config.json` or `configs/metadata.json` says what goes in):\n\n```python\nimport torch\n\n"
        f"network = torch.export.load('{GRAPH}').module()\n```\n",
    ]
    return "\n".join(parts)


def _data(header: Header) -> str:
    said = {name: header.split.get(name) or [] for name in ("train", "validation", "test")}
    if not any(said.values()):
        return "The checkpoint does not name its data.\n"
    return "".join(f"- {name}: {', '.join(cases) or 'none'}\n" for name, cases in said.items())


def _scores(header: Header) -> str:
    flat = {name: value for name, value in header.metrics.items() if isinstance(value, int | float | str)}
    if not flat:
        return "The checkpoint keeps no scores; `fsmnet evaluate --models THIS FOLDER` measures them.\n"
    return "".join(f"- {name}: {value}\n" for name, value in flat.items())
