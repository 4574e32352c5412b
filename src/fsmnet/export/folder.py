"""A folder that other programs load: in the form of a Hugging Face repository, or of a MONAI bundle.

Both hold the same: the checkpoint as it is (safetensors, whose header says what made it), the network as a graph of
torch.export, which needs no code of this package, what it takes and gives, and a card for people.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from torch import nn

from fsmnet._version import __version__
from fsmnet.checkpoint import EXPORTED, Header, header_of
from fsmnet.errors import UserError
from fsmnet.files import json_text, parse_json
from fsmnet.inference.suitability import purpose_of
from fsmnet.models import recipe_of, takes_acquisition

WEIGHTS, GRAPH = EXPORTED[0], "model.pt2"
MONAI = "1.6.1"  # loads a bundle in tests/export/test_export.py


def write_folder(
    folder: Path, form: str, model: nn.Module, checkpoint: Path, metadata: Mapping[str, str], scores: Path | None
) -> Path:
    """Write all but the graph into a new folder.

    Args:
        folder: an empty one.
        form: ``hub`` or ``monai``.
        model: from the checkpoint.
        checkpoint: copied as it is.
        metadata: of the graph.
        scores: ``summary.json`` of an evaluation, for the card.

    Returns:
        Where the graph belongs.
    """
    texts = (hub_files if form == "hub" else bundle_files)(model, metadata, _scores(model, scores))
    weights = folder / "models" if form == "monai" else folder
    weights.mkdir(exist_ok=True)
    shutil.copyfile(checkpoint, weights / WEIGHTS)
    for name, text in (texts | {"LICENSE": licence()}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return weights / GRAPH


def is_ours(folder: Path) -> bool:
    """Whether a folder was written by export, so that replacing it loses nothing else."""
    return any((folder / place).is_file() and (folder / place).with_name(GRAPH).is_file() for place in EXPORTED)


def hub_files(model: nn.Module, metadata: Mapping[str, str], scores: str) -> dict[str, str]:
    """Name and text of what a Hugging Face folder has beside weights and graph."""
    config = {"model_type": "fsmnet", "library_name": "fsmnet", "fsmnet_version": __version__} | _interface(
        model, metadata
    )
    text = _front_matter(model) + card(model, metadata, scores)
    return {"config.json": json_text(config, 2) + "\n", "README.md": text}


def bundle_files(model: nn.Module, metadata: Mapping[str, str], scores: str) -> dict[str, str]:
    """Name and text of what a MONAI bundle has beside weights and graph."""
    interface = _interface(model, metadata)
    described = {
        "version": __version__,
        "changelog": {__version__: "as written by fsmnet export"},
        "monai_version": MONAI,
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
        "docs/README.md": card(model, metadata, scores),
    }


def licence() -> str:
    """Text of the licence that this package was installed with."""
    return distribution("fsmnet").read_text("licenses/LICENSE") or "Apache-2.0\n"


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


CARD = """# {name}

Reconstruction of accelerated MRI with the help of a second contrast. **Research use only, not for clinical use.**

- made for: {purpose}
- {parameters:,} parameters; options `{options}`
- weights: `{weights}`, SHA-256 {sha256}
- licences: Apache-2.0 (code); the weights keep the licences of the scans they were trained on

## Data

{data}
## Scores

{scores}
## Limits

It knows what it was trained on, and nothing else: other anatomy, contrasts, masks or scanners were not tried.
Structure that was not measured is a guess. `fsmnet reconstruct` compares a scan with what the network was made for and
checks it on lines kept back.

## Use

```python
import fsmnet

model = fsmnet.load_model("THIS FOLDER")
```

Without this package, with torch alone (`config.json` or `configs/metadata.json` says what goes in and what comes out):

```python
import torch

network = torch.export.load("{graph}").module()
```
"""


def card(model: nn.Module, metadata: Mapping[str, str], scores: str) -> str:
    """What the network is, what it saw, how it scored and what it cannot do."""
    recipe = recipe_of(model)
    return CARD.format(
        name=recipe["name"],
        purpose=purpose_of(model),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        options=json.dumps(recipe["options"]),
        weights=WEIGHTS,
        sha256=metadata["weights_sha256"],
        data=_data(header_of(model)),
        scores=scores,
        graph=GRAPH,
    )


def _data(header: Header) -> str:
    said = {name: header.split.get(name) or [] for name in ("train", "validation", "test")}
    if not any(said.values()):
        return "The checkpoint does not name its data.\n"
    return "".join(f"- {name}: {', '.join(cases) or 'none'}\n" for name, cases in said.items())


def _scores(model: nn.Module, summary: Path | None) -> str:
    """Scores of an evaluation by ``fsmnet evaluate``, with their intervals; else what the checkpoint says."""
    if summary is None:
        told = {k: v for k, v in header_of(model).metrics.items() if isinstance(v, int | float | str)}
        kept = "".join(f"- {name}: {value}\n" for name, value in told.items())
        return kept + "\nMeasured for your data by `fsmnet evaluate --models THIS FOLDER ...`.\n"
    try:
        rows = parse_json(summary.read_text(encoding="utf-8"))
        lines = [
            f"| {row['protocol']} | {row['acceleration']:g}x | {row['patients']} | {row['psnr_patient_mean']:.2f} | "
            f"{_interval(row['psnr_interval'])} | {row['ssim_patient_mean']:.3f} | {row['head_psnr_mean']:.2f} |\n"
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{summary}: not a summary.json of 'fsmnet evaluate' ({error})") from None
    head = "| protocol | acceleration | patients | PSNR (dB) | 95% interval | SSIM | PSNR in the head |\n"
    return head + "|---|---|---|---|---|---|---|\n" + "".join(lines)


def _interval(limits: list[float] | None) -> str:
    return "too few patients" if limits is None else f"{limits[0]:.2f} to {limits[1]:.2f}"
