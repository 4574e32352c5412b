"""The ways to simulate and to score; what they differ in is answered by one object each.

``brats`` is the paper's protocol for the brain, ``fastmri`` its protocol for the knee on measured k-space, ``float``
keeps the scan's own size and precision and scores whole volumes as fastMRI does. A protocol of one's own is a subclass
of :class:`fsmnet.protocols.base.Protocol`, or of :class:`fsmnet.protocols.volumes.VolumeProtocol` if it simulates
k-space from volumes; :func:`register_protocol` makes it known by name.
"""

from __future__ import annotations

from typing import Any

from fsmnet.protocols.base import Protocol
from fsmnet.registry import Registry

PROTOCOLS: Registry[Protocol[Any]] = Registry(
    "protocol",
    "fsmnet.protocols",
    {
        "brats": "fsmnet.protocols.brats:BRATS",
        "float": "fsmnet.protocols.float:FLOAT",
        "fastmri": "fsmnet.protocols.fastmri:FASTMRI",
    },
)


def register_protocol(name: str, protocol: Protocol[Any] | str) -> None:
    """Make a protocol known.

    Args:
        name: by which options and checkpoints call it.
        protocol: the object, or the place ``package.module:name`` of it or of its class.

    Raises:
        UserError: another protocol has that name.
    """
    PROTOCOLS.register(name, protocol)


def protocol_names() -> list[str]:
    """Names of all protocols."""
    return PROTOCOLS.names()


def get_protocol(name: str) -> Protocol[Any]:
    """The protocol of a name.

    Raises:
        UserError: there is none.
    """
    protocol = PROTOCOLS.get(name)
    return protocol() if isinstance(protocol, type) else protocol
