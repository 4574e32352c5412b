"""``fsmnet calibrate``."""

from __future__ import annotations

from fsmnet.cli.terminal import say
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.trust.calibrate import calibrate
from fsmnet.trust.conformal import promised
from fsmnet.trust.options import CalibrateConfig


def command(config: CalibrateConfig) -> int:
    """Measure, write the copy of the checkpoint, and print what it may promise."""
    large_blocks_apart()
    found = calibrate(config)
    say(
        f"{found.patients} patients, which could promise up to {promised(found.patients):.1%}; promised: {found.says()}"
    )
    edges = [0.0, *found.edges, float("inf")]
    for low, high, factor in zip(edges, edges[1:], found.factors, strict=False):
        say(f"  expected error {low:.2%} to {high:.2%} of the image's brightness: error below {factor:.2f} times that")
    say(f"written: {config.out}")
    return 0
