"""Activation checkpointing: the blocks of a network keep their inputs alone, and compute the rest again when needed.

Chen et al. 2016, "Training deep nets with sublinear memory cost": one more forward pass for a fraction of the memory.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from fsmnet.errors import UserError
from fsmnet.models.blocks import ChannelAttention, Down, FrequencyBlock, ResidualGroup, SelectiveFusion, Up
from fsmnet.models.released import ReleasedFSFusion

_KINDS = Down, Up, FrequencyBlock, ResidualGroup, SelectiveFusion, ChannelAttention, ReleasedFSFusion


def recomputed_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of an FSMNet variant, the outer one where they are nested; of other models none."""
    chosen: list[nn.Module] = []
    inner: set[nn.Module] = set()
    for module in model.modules():  # parents come first
        if isinstance(module, _KINDS) and module not in inner:
            chosen.append(module)
            inner.update(module.modules())
    return chosen


def recompute_activations(model: nn.Module) -> None:
    """Let the blocks of a model, changed in place, compute their feature maps a second time in the backward pass.

    Raises:
        UserError: the model has no such blocks.
    """
    blocks = recomputed_blocks(model)
    if not blocks:
        raise UserError("checkpointing is there for fsmnet, fsmnet_released and fsmnet_fast only; leave it out")
    for block in blocks:
        # They draw no random numbers, which would have to be repeated.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
