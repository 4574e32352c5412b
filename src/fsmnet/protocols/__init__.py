"""The ways to simulate and to score; what they differ in is answered by one object each.

``brats`` is the paper's protocol for the brain, ``fastmri`` its protocol for the knee on measured k-space, ``float``
keeps the scan's own size and precision and scores whole volumes as fastMRI does, and ``complex`` adds what a scanner's
k-space has: phase and noise. A protocol of one's own is a subclass
of :class:`fsmnet.protocols.base.Protocol`, or of :class:`fsmnet.protocols.volumes.VolumeProtocol` if it simulates
k-space from volumes; :func:`register_protocol` makes it known by name.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fsmnet.data.options import PairOptions, SliceOptions
from fsmnet.errors import UserError
from fsmnet.options import build, options_of
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.slices import TrainingSlices
from fsmnet.registry import Registry

BUILT_IN = {
    "brats": "fsmnet.protocols.brats:BRATS",
    "float": "fsmnet.protocols.float:FLOAT",
    "complex": "fsmnet.protocols.complex:COMPLEX",
    "fastmri": "fsmnet.protocols.fastmri:FASTMRI",
}
PROTOCOLS: Registry[Protocol[Any]] = Registry(
    "protocol",
    "fsmnet.protocols",
    BUILT_IN,
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


def training_slices(data: str | Path, *, seed: int = 0, augment: bool = False, **options: Any) -> TrainingSlices:
    """Slices of a folder as a data set for training, e.g. in ``DataLoader(slices, batch_size=4, shuffle=True)``.

    An item is a :class:`fsmnet.protocols.slices.Sample` of normalised float32 images ``(1, H, W)``: the zero-filled
    target, the auxiliary, the fully sampled target.

    Args:
        data: the folder.
        seed: of the masks and the augmentation.
        augment: shift both contrasts before under-sampling.
        options: the other fields of :class:`fsmnet.data.options.SliceOptions`, as of ``fsmnet train``: ``target``,
            ``auxiliary``, ``cases``, ``protocol``, ``acceleration``, ``mask_kind``, ...

    Raises:
        UserError: options or data that cannot be used.
    """
    config = build(SliceOptions, {"data": data} | options)
    protocol = protocol_of(config)
    with TemporaryDirectory() as folder:  # for fastMRI's index, unless the options name a place
        cases = protocol.named_cases(config, Path(folder), config.cases)
    recipe = protocol.training_recipe(config)
    return protocol.training_slices(cases, recipe, seed=seed, augment=augment, resample=config.resample)


OWN = {"fastmri": ("pairs", "coils"), "complex": ("phase", "noise", "simulated_coils")}
"""Options that one of this package's protocols reads alone."""


def protocol_names() -> list[str]:
    """Names of all protocols."""
    return PROTOCOLS.names()


def protocol_of(options: PairOptions) -> Protocol[Any]:
    """The protocol that the options name, as they configure it.

    Raises:
        UserError: there is none, or an option that it does not read.
    """
    protocol = get_protocol(options.protocol)
    for owner, names in OWN.items():
        if protocol.name == owner or protocol.name not in BUILT_IN:
            continue
        for name in names:
            if getattr(options, name) != next(one.default for one in options_of(PairOptions) if one.name == name):
                raise UserError(
                    f"--{name.replace('_', '-')} is read in protocol {owner} only, not in {protocol.name}; leave it "
                    f"out, or give --protocol {owner}"
                )
    return protocol.configured(options)


def get_protocol(name: str) -> Protocol[Any]:
    """The protocol of a name.

    Raises:
        UserError: there is none.
    """
    protocol = PROTOCOLS.get(name)
    return protocol() if isinstance(protocol, type) else protocol
