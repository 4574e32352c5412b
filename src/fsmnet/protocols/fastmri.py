"""Protocol ``fastmri``: the paper's for the knee. The scanner's k-space is under-sampled, whole volumes are scored.

Intensities and slices are the file's: nothing is scaled, none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from fsmnet.data.options import PairOptions, SplitOptions
from fsmnet.data.pairing.fastmri_lists import FastMRIPair, patients_told, read_pairs, split_pairs
from fsmnet.data.pairing.fastmri_tree import read_tree
from fsmnet.data.patients import patients_of
from fsmnet.data.split import Split
from fsmnet.data.volume import slices_with_content
from fsmnet.errors import UserError
from fsmnet.metrics import Metrics, plane_metrics
from fsmnet.physics.masks import MaskRecipe
from fsmnet.protocols.base import Protocol
from fsmnet.protocols.cases import Accelerated, Slices, thinned
from fsmnet.protocols.fastmri_slices import NORMALISATION, FastMRISlices, accelerate_fastmri


class FastMRI(Protocol[FastMRIPair]):
    """Pairs of k-space files, from a list."""

    name = "fastmri"
    normalisation = NORMALISATION
    measured = True

    def find_cases(self, options: PairOptions, out: Path, cases: Sequence[str] | None = None) -> list[FastMRIPair]:
        """The pairs of the list whose files are there and have a reference.

        The index of the files is kept in the output folder, unless the options name a place.
        """
        if options.pairs is None:
            raise UserError(
                "protocol fastmri needs a list of pairs, since the files carry no link between contrasts; make one "
                "with 'fsmnet pair --layout fastmri' and give it with --pairs"
            )
        tree = read_tree(options.data, options.index or out / "fastmri_index.json")
        files = [file for file in tree.files if file.multicoil == (options.coils == "multi")]
        if not files:
            raise UserError(f"{options.data}: holds no {options.coils}-coil volume; see --coils")
        asked = self.contrasts(options)
        pairs = read_pairs(options.pairs, files, asked.get("target"), asked.get("auxiliary"))
        known = {pair.case: pair for pair in pairs}
        cases = sorted(known) if cases is None else cases
        if absent := [case for case in cases if case not in known]:
            shown = ", ".join(list(known)[:8]) + (" ..." if len(known) > 8 else "")
            raise UserError(f"{options.pairs}: no pair for case {', '.join(absent)}; there are {shown}")
        pairs = [known[case] for case in cases]
        for file in (file for pair in pairs for file in (pair.target, pair.auxiliary)):
            file.check_reference()
        return pairs

    def patients(self, cases: Sequence[FastMRIPair], options: PairOptions) -> dict[str, str]:
        """As the options say, else by the files' ``patient_id``."""
        return patients_of([pair.case for pair in cases], options, patients_told(cases))

    def split(
        self, cases: Sequence[FastMRIPair], options: SplitOptions, patients: Mapping[str, str] | None = None
    ) -> Split:
        """By NYU's folders where there are such, else by the shares."""
        return split_pairs(cases, options.split_seed, options.validation_fraction, options.test_fraction, patients)

    def contrasts(self, options: PairOptions, cases: Sequence[FastMRIPair] = ()) -> dict[str, str]:
        """The acquisitions asked for, or those of the cases; without either the list of pairs decides."""
        default = {"target": "t2", "auxiliary": "t1"}  # the options' own, which no file of fastMRI's has
        given = {name: getattr(options, name) for name in default}
        seen = {name: ", ".join(sorted({getattr(case, name).acquisition for case in cases})) for name in default}
        named = {name: seen[name] if given[name] == default[name] else given[name] for name in default}
        return {name: acquisition for name, acquisition in named.items() if acquisition}

    def accelerate(
        self,
        case: FastMRIPair,
        recipe: MaskRecipe,
        *,
        resample: bool = False,
        cache: Path | None = None,
        most: int | None = None,
    ) -> Accelerated:
        """Both volumes under the masks that belong to their names; nothing is resampled or cached."""
        return accelerate_fastmri(case, recipe, thinned(case.slices, most, ends=False))

    def training_slices(
        self,
        cases: Sequence[FastMRIPair],
        recipe: MaskRecipe,
        *,
        seed: int = 0,
        augment: bool = True,
        resample: bool = False,
        cache: Path | None = None,
    ) -> FastMRISlices:
        """Slices read when they are asked for; measured k-space is not shifted."""
        return FastMRISlices(cases, recipe, seed=seed)

    def score_planes(self, slices: Slices, image: Tensor) -> dict[int, Metrics]:
        """Every slice that is not empty by itself, its own maximum as data range."""
        shown = slices_with_content(slices.target.numpy())
        planes = zip(slices.numbers, shown, slices.target.numpy(), image.numpy(), strict=True)
        return {number: plane_metrics(g, p) for number, content, g, p in planes if content}

    def slice_to_show(self, slices: Slices) -> int:
        """The brightest, since noise is everywhere above zero."""
        return int(slices.target.sum((-2, -1)).argmax())


FASTMRI = FastMRI()
