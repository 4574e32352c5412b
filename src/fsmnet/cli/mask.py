"""``fsmnet mask``: draw a sampling mask and save it."""

from __future__ import annotations

from pathlib import Path

from fsmnet.cli.options import MaskConfig
from fsmnet.cli.terminal import say
from fsmnet.errors import UserError
from fsmnet.physics.masks import default_center_fraction, make_mask, save_mask, seed_from_name


def command(config: MaskConfig) -> int:
    """``fsmnet mask``."""
    if config.seed is not None and config.name is not None:
        raise UserError("give --seed or --name, not both")
    if config.name is not None and not Path(config.name).name:
        raise UserError(f"--name {config.name!r} has no file name to take the seed from")
    center = default_center_fraction(config.acceleration) if config.center_fraction is None else config.center_fraction
    seed = config.seed if config.name is None else seed_from_name(config.name)
    if config.out.exists() and not config.overwrite:  # what was measured or simulated with it hangs on it
        raise UserError(f"{config.out}: exists already; pass --overwrite to replace it, or choose another --out")
    mask = make_mask(config.kind, config.columns, config.acceleration, center, seed)
    save_mask(mask, config.out)
    say(f"{config.out}: {mask.describe()}")
    return 0
