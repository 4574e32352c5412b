"""Protocol ``float``: the scan's own size and full precision, whole volumes scored, as fastMRI does."""

from __future__ import annotations

from fsmnet.protocols.volumes import LEAK, VolumeProtocol


class Float(VolumeProtocol):
    """Simulated k-space of magnitude images; the target is never clipped."""

    name = "float"
    caveat = LEAK


FLOAT = Float()
