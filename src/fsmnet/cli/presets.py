"""Configurations that come with the package: ``--config quick`` is the file ``quick.yaml`` among them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fsmnet.options import Options, load_yaml, options_of

FOLDER = Path(str(resources.files("fsmnet"))) / "configs"


def find_preset(name: str) -> Path | None:
    """The file of a preset; None if there is none of that name, or a file of the user's own is called so."""
    file = FOLDER / f"{name}.yaml"
    return file if Path(name).name == name and file.is_file() and not Path(name).is_file() else None


def preset_names(config: type[Options]) -> list[str]:
    """Presets that a configuration can be made from."""
    known = {one.name for one in options_of(config)}
    files = sorted(FOLDER.glob("*.yaml"))
    return [file.stem for file in files if known >= set(load_yaml(file.read_text(encoding="utf-8")))]
