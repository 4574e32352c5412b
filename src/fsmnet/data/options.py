"""Options of data: which exams, which contrasts, which patients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fsmnet.options import Options, option, required
from fsmnet.physics.options import TrainingMaskOptions


@dataclass(kw_only=True)
class PairOptions(Options, group="data"):
    """Which exams, and which contrast of each is accelerated."""

    data: Path = required(
        "folder of cases: BraTS (either naming convention), any folder if the contrasts are patterns, or fastMRI's "
        "volumes",
        material="content",
    )
    target: str = option(
        "t2",
        "contrast to be accelerated, or a pattern such as '{case}/{case}_T2w.nii.gz'; fastmri: an acquisition, by "
        "default what the list of pairs says",
    )
    auxiliary: str = option("t1", "fully sampled contrast, likewise")
    cases: list[str] | None = option(None, "only these cases")
    protocol: str = option(
        "complex",
        "how to simulate and score: complex (phase and noise), float (of magnitudes) or fastmri (measured k-space), "
        "all three per volume; or the paper's brats (of magnitudes in 8 bits, per slice)",
    )
    phase: float = option(1.0, "complex: standard deviation of the smooth random phase, in radians", most=100)
    noise: float = option(
        0.01, "complex: standard deviation of the noise in k-space, the volume's maximum being 1", most=100
    )
    simulated_coils: int = option(1, "complex: number of coils", most=256)
    patient: str | None = option(
        None,
        "how a case names its patient, such as '{patient}-*', or a regular expression with a group; default: what the "
        "files say, else the conventions of BraTS, BIDS and others",
    )
    patient_table: Path | None = option(None, "table (.csv, .tsv) with the columns case and patient")
    resample: bool = option(False, "bring the auxiliary onto the target's grid where they differ")
    pairs: Path | None = option(
        None, "fastmri: list of pairs (.csv), auxiliary first, as 'fsmnet pair' writes it or MINet published"
    )
    coils: Literal["single", "multi"] = option("single", "fastmri: emulated single-coil or multi-coil volumes")
    index: Path | None = option(
        None, "fastmri: where the files' headers are kept; default: OUT/fastmri_index.json", material=False
    )


@dataclass(kw_only=True)
class SliceOptions(TrainingMaskOptions, PairOptions):
    """Which slices, and how they are under-sampled."""


@dataclass(kw_only=True)
class SplitOptions(Options, group="split"):
    """Which patients are trained on, which choose the checkpoint, which are scored."""

    split: Path | None = option(None, "JSON file with train, validation and test cases; made from split_seed if absent")
    split_seed: int = option(0, "seed of the split by patient", most=2**32 - 1)
    validation_fraction: float = option(0.1, "share of the patients kept for choosing the best checkpoint")
    test_fraction: float = option(0.0, "share of the patients left untouched, for 'fsmnet evaluate'")


@dataclass(kw_only=True)
class PairConfig(Options, group="data"):
    """Find pairs of contrasts in a folder and say of each candidate whether it can be used, and why not."""

    data: Path = required(
        "folder of cases: BraTS, BIDS, DICOM studies, or any folder if the contrasts are patterns with {case}; "
        "may stand right behind the command without --data",
        material="content",
    )
    out: Path = option(
        Path("pairs.csv"), "table to write: case, target, auxiliary, status, reason", material=False, group="output"
    )
    target: str = option(
        "t2",
        "contrast to be accelerated, a pattern such as '{case}/{case}_T2w.nii.gz', or for DICOM a part of the series' "
        "description",
    )
    auxiliary: str = option("t1", "fully sampled contrast, likewise")
    resample: bool = option(False, "accept pairs on different grids, to be resampled or registered later")
    overwrite: bool = option(False, "replace an existing table with other rows", material=False, group="output")
    layout: Literal["cases", "fastmri"] = option(
        "cases", "cases: the files' names or headers tell the pairs; fastmri: nothing does, they are found by content"
    )
    coils: Literal["single", "multi"] = option("single", "fastmri: emulated single-coil or multi-coil volumes")
    index: Path | None = option(
        None, "fastmri: where the files' headers are kept; default: fastmri_index.json beside --out", material=False
    )
