"""What is known of a scan before any network looks at it: its contrasts, how it looks, whether lines are missing."""

from __future__ import annotations

from dataclasses import dataclass

from fsmnet.data.appearance import UNKNOWN, appearance
from fsmnet.data.contrast import ScanFacts, told_contrast
from fsmnet.data.scan import Scan
from fsmnet.data.volume import Volume
from fsmnet.physics.completeness import Lines, lines_of
from fsmnet.reconstruction.options import ReconstructConfig


@dataclass(frozen=True)
class PairFacts:
    """Both scans of a reconstruction.

    Attributes:
        target: what is known of it.
        auxiliary: likewise; None without one.
        across: whether lines of the target's k-space are missing along H.
        along: likewise along W, the phase-encode axis. Both are unknown for a target that is k-space.
    """

    target: ScanFacts
    auxiliary: ScanFacts | None
    across: Lines
    along: Lines


def facts_of(config: ReconstructConfig, target: Scan, read: Scan | None, auxiliary: Volume | None) -> PairFacts:
    """Look at both scans.

    Args:
        config: what the user says of them.
        target: as read, or made of k-space.
        read: the auxiliary as read; None without one.
        auxiliary: the same on the target's grid.
    """
    volume, source = target.volume, config.kspace or target.volume.source
    said = told_contrast(source, config.target_contrast, "by --target-contrast", target.series)
    looks, helper = UNKNOWN, None
    if config.kspace is None and config.target_is == "full":
        looks = appearance(volume.data)
    elif auxiliary is not None:
        looks = appearance(volume.data, auxiliary.data)
    if read is not None and auxiliary is not None:
        name, given = read.volume.source, config.auxiliary_contrast
        helps = told_contrast(name, given, "by --auxiliary-contrast", read.series)
        helper = ScanFacts(read.volume.name, helps, appearance(auxiliary.data))
    across, along = lines_of(volume.data) if config.kspace is None else ("unknown", "unknown")
    return PairFacts(ScanFacts(volume.name, said, looks), helper, across, along)
