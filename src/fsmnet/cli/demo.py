"""The demonstration: a made head, accelerated, reconstructed, scored and shown. Needs no data and no download."""

from __future__ import annotations

import logging
from pathlib import Path

from fsmnet.checkpoint import shipped_checkpoint
from fsmnet.cli.options import DemoConfig
from fsmnet.cli.report import write_beside
from fsmnet.cli.terminal import say
from fsmnet.data.phantom import subject_name, write_subjects
from fsmnet.errors import UserError
from fsmnet.evaluation.evaluate import evaluate
from fsmnet.evaluation.options import EvaluateConfig
from fsmnet.evaluation.scores import summary_lines
from fsmnet.files import make_folder
from fsmnet.inference.allocator import large_blocks_apart
from fsmnet.inference.alone import alone
from fsmnet.physics.options import MaskOptions
from fsmnet.protocols.brats import BRATS, SIZE
from fsmnet.reconstruction.stages import Reconstruction
from fsmnet.training.options import TrainConfig
from fsmnet.training.run import train
from fsmnet.trust.check import reconstruct
from fsmnet.trust.familiar import SUITS
from fsmnet.trust.words import in_words

logger = logging.getLogger(__name__)

SLICES = 24


@alone((), what="demo")
def demo(config: DemoConfig) -> Path:
    """Make subjects, get weights, reconstruct the held-out subject; the folder with everything.

    Raises:
        UserError: nilearn is missing, or an option that cannot be used.
    """
    if config.subjects < 1 or not config.minutes > 0:
        raise UserError("subjects must be at least 1 and minutes more than 0")
    if config.seed < 0:
        raise UserError(f"seed must be at least 0, not {config.seed}")
    BRATS.mask_recipe(MaskOptions(acceleration=config.acceleration)).draw(SIZE, "")  # refuses what cannot be
    out = make_folder(config.out)
    held_out = subject_name(config.seed)
    training = config.train or shipped_checkpoint() is None
    needed = [config.seed + i for i in range(config.subjects + 1)] if training else [config.seed]
    logger.info("making %d head%s of %d slices, T1- and T2-weighted", len(needed), "s" * (len(needed) > 1), SLICES)
    write_subjects(out / "heads", needed, slices=SLICES)
    if training:
        logger.info("training the quick network for %g minutes", config.minutes)
        weights = str(_train(config, out, [subject_name(seed) for seed in needed[1:]]))
    else:
        logger.info("using the shipped weights, trained on scans of patients")
        weights = "shipped"  # by name: where the package lies is told to nobody
    summary = evaluate(
        EvaluateConfig(
            models=["zero_filling", weights],
            data=out / "heads",
            cases=[held_out],
            protocol=BRATS.name,
            acceleration=config.acceleration,
            out=out,
            optimise=config.optimise,
            device=config.device,
            threads=config.threads,
        )
    )
    say("", f"{held_out}, {config.acceleration:g}x, protocol brats:")
    labels = ("zero-filling", "FSMNet, trained here" if training else "FSMNet, shipped weights")
    named = [{**row, "model": label} for row, label in zip(summary, labels, strict=True)]
    say(*summary_lines(named))
    scan = out / "heads" / held_out / held_out
    result = reconstruct(
        f"{scan}_t2.nii.gz",
        f"{scan}_t1.nii.gz",
        out / f"{held_out}_t2_reconstructed.nii.gz",
        checkpoint=weights,
        acceleration=config.acceleration,
        device=config.device,
        optimise=config.optimise,
        overwrite=True,
    )
    _say_what_is_saved(result)
    if (check := result.sidecar["Check"]) and check["Verdict"]["Kind"] == SUITS:  # anything else is a warning already
        say("", in_words(check))
    say("", f"picture: {out / 'picture.png'}", f"volume:  {result.out}")
    return out


def _say_what_is_saved(result: Reconstruction) -> None:
    """Scores of the volume that is written, with the measured lines in it; those above are the network's alone."""
    metrics = result.sidecar["Metrics"] or {}
    names = {
        "zero_filling": "zero-filling",
        "network": "the network alone",
        "consistent": "the saved volume: measured lines put back",
    }
    known = {names[name]: values for name, values in metrics.items() if values["psnr"] is not None}
    if known:
        width = max(map(len, known))
        say("", f"the whole volume {result.out.name}, scored in full precision:")
        say(*(f"{name:{width}}  {values['psnr']:.2f} dB" for name, values in known.items()))


def command(config: DemoConfig) -> int:
    """``fsmnet demo``."""
    large_blocks_apart()
    out = demo(config)
    if config.report:
        write_beside(out, out / "heads" / subject_name(config.seed))
    return 0


def _train(config: DemoConfig, out: Path, cases: list[str]) -> Path:
    """The quick network, trained on the made heads."""
    folder = out / "training"
    resume = (folder / "resume.pt").exists()
    result = train(
        TrainConfig(
            data=out / "heads",
            cases=cases,
            protocol=BRATS.name,
            out=folder,
            resume=resume,
            acceleration=config.acceleration,
            model_options={"features": 16, "blocks": 2},
            seed=config.seed,
            batch=2,
            iterations=None,
            minutes=config.minutes,
            learning_rate=1e-3,
            schedule="cosine",
            warmup=20,
            clip_norm=1.0,
            validation_fraction=0.0,
            save_every=50,
            device=config.device,
            threads=config.threads,
        )
    )
    if not result.finished:
        raise KeyboardInterrupt
    return result.best
