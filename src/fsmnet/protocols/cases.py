"""Cases to train on and to score, whichever the protocol: pairs of volumes, or pairs of k-space files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fsmnet.data.options import PairOptions, ProtocolName, SplitOptions
from fsmnet.data.pairing.fastmri_lists import FastMRIPair, read_pairs, split_pairs
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.data.pairing.names import Pair, find_pairs
from fsmnet.data.split import Split, make_split
from fsmnet.errors import UserError
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols.base import Slices, zero_fill
from fsmnet.protocols.fastmri_slices import accelerate_fastmri
from fsmnet.protocols.slices import Accelerated, prepared_slices

Case = Pair | FastMRIPair


def find_cases(options: PairOptions, out: Path, cases: Sequence[str] | None = None) -> list[Case]:
    """The pairs that the options describe.

    Args:
        options: data folder, contrasts, protocol.
        out: output folder, in which fastMRI's index is kept unless the options name a place.
        cases: only these; each must be there.

    Raises:
        UserError: no pair, or a case that is not there.
    """
    if options.protocol != "fastmri":
        return [*find_pairs(options.data, options.target, options.auxiliary, cases)]
    if options.pairs is None:
        raise UserError(
            "protocol fastmri needs a list of pairs, since the files carry no link between contrasts; make one with "
            "'fsmnet pair --layout fastmri' and give it with --pairs"
        )
    tree = read_tree(options.data, options.index or out / "fastmri_index.json")
    files = [file for file in tree.files if file.multicoil == (options.coils == "multi")]
    if not files:
        raise UserError(f"{options.data}: holds no {options.coils}-coil volume; see --coils")
    known = {pair.case: pair for pair in read_pairs(options.pairs, files, *options.contrasts())}
    cases = sorted(known) if cases is None else cases
    if absent := [case for case in cases if case not in known]:
        shown = ", ".join(list(known)[:8]) + (" ..." if len(known) > 8 else "")
        raise UserError(f"{options.pairs}: no pair for case {', '.join(absent)}; there are {shown}")
    pairs = [known[case] for case in cases]
    for file in (file for pair in pairs for file in (pair.target, pair.auxiliary)):
        file.check_reference()
    return [*pairs]


def split_cases(cases: Sequence[Case], options: SplitOptions) -> Split:
    """Cases for training, validation and testing by the shares, or by NYU's folders where there are such."""
    shares = (options.split_seed, options.validation_fraction, options.test_fraction)
    knees = [case for case in cases if isinstance(case, FastMRIPair)]
    return split_pairs(knees, *shares) if knees else make_split([case.case for case in cases], *shares)


def accelerate_case(
    case: Case,
    recipe: MaskRecipe,
    protocol: ProtocolName,
    *,
    resample: bool = False,
    cache: Path | None = None,
    most: int | None = None,
) -> Accelerated:
    """A case under-sampled by the mask that belongs to it.

    Args:
        case: the pair.
        recipe: how masks are drawn.
        protocol: how to prepare and under-sample.
        resample: bring the auxiliary onto the target's grid; volumes only.
        cache: folder of prepared slices; volumes only.
        most: slices at most, spread evenly; all if None.
    """
    if isinstance(case, FastMRIPair):
        return accelerate_fastmri(case, recipe, thinned(case.slices, most, ends=False))
    slices = prepared_slices(case, protocol, resample, cache)
    if most is not None:
        keep = thinned(len(slices.numbers), most)
        slices = Slices(slices.target[keep], slices.auxiliary[keep], [slices.numbers[i] for i in keep])
    mask = recipe.draw(slices.target.shape[-1], case.target.name)
    return Accelerated(slices, zero_fill(slices.target, torch.from_numpy(mask.columns), protocol), None, mask)


def thinned(count: int, most: int | None, ends: bool = True) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spread.

    Args:
        count: of indices.
        most: of them; all if None.
        ends: from the first to the last; or without them, the middles of equal parts, since the outermost slices of a
            volume that was not sifted show little.
    """
    if most is None or most >= count:
        return list(range(count))
    if not ends:
        return [(2 * part + 1) * count // (2 * most) for part in range(most)]
    return [int(i) for i in torch.linspace(0, count - 1, most).round().long()]
