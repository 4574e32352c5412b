"""Quality against time: PSNR and seconds per slice of trained networks, plain and optimised, on one case."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fsmnet.benchmark.options import BenchmarkConfig
from fsmnet.checkpoint import open_model, warn_if_seen
from fsmnet.data.contrast import Contrast, ScanFacts
from fsmnet.data.pairing.names import find_pairs
from fsmnet.inference.optimise import Precision, optimise
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.inference.suitability import purpose_of, suitability
from fsmnet.models import recipe_of
from fsmnet.physics.acquisition import Acquisition
from fsmnet.pictures.figures import save_figure
from fsmnet.protocols.brats import BRATS, brats_mask
from fsmnet.protocols.volumes import prepared_slices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

EVERY = 10  # of the slices with content, every tenth is scored
ACCELERATION = 4
KINDS = ("plain", "optimised")


def quality_against_time(config: BenchmarkConfig, precision: Precision, device: torch.device) -> dict[str, Any]:
    """PSNR of each checkpoint on every tenth slice of a case, plain and optimised, and its seconds per slice.

    Args:
        config: ``models``, ``data`` and ``case``.
        precision: of the optimised networks; the plain ones are in float32.
        device: where they compute.

    Returns:
        The circumstances, the PSNR (dB, mean over slices, protocol ``brats``) of zero-filling, and under ``models`` a
        row for each network, with the median, least and most seconds per slice (from 8-bit images to 8-bit image) and
        the change of the PSNR by the optimisation.

    Raises:
        UserError: a checkpoint or case that cannot be used.
    """
    assert config.data is not None
    assert config.case is not None
    [pair] = find_pairs(config.data, "t2", "t1", [config.case])
    slices = prepared_slices(pair, BRATS)
    target, auxiliary = slices.target[::EVERY], slices.auxiliary[::EVERY]
    columns = torch.from_numpy(brats_mask(ACCELERATION).columns)
    zero_filled = BRATS.zero_fill(target, columns)
    plain = {name: open_model(name).to(device) for name in dict.fromkeys(config.models)}
    seen = {name: warn_if_seen(model, name, [config.case], [slices.content]) for name, model in plain.items()}
    for name, model in plain.items():
        purpose = purpose_of(model)
        logger.info("network %s: %s", name, purpose)
        said = [ScanFacts(f"{name}: {config.case}", Contrast(role, "by the file's name")) for role in ("t2", "t1")]
        suitability(purpose, said[0], said[1], anyway=True).enforce()  # its time is measured all the same
    networks = {
        (name, kind): model if kind == "plain" else optimise(model, precision)
        for name, model in plain.items()
        for kind in KINDS
    }

    def measured(part: slice) -> Acquisition:
        return BRATS.measure(target[part], columns)

    images, seconds = _in_turn(networks, zero_filled, auxiliary, device, measured)
    psnr = {key: _psnr(target, image) for key, image in images.items()}
    return {
        "case": config.case,
        "protocol": BRATS.name,
        "acceleration": ACCELERATION,
        "slices": len(target),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "zero_filled_psnr": _psnr(target, zero_filled),
        "models": [
            {
                "model": name,
                **recipe_of(plain[name]),
                "seen": None if (known := seen[name]) is None else known.side,
                "kind": kind,
                "precision": "float32" if kind == "plain" else precision,
                "psnr": psnr[name, kind],
                "psnr_change": psnr[name, kind] - psnr[name, "plain"],
                "seconds_per_slice": statistics.median(times),
                "seconds_per_slice_least": min(times),
                "seconds_per_slice_most": max(times),
            }
            for (name, kind), times in seconds.items()
        ],
    }


Key = tuple[str, str]


def _in_turn(
    networks: dict[Key, nn.Module],
    zero_filled: Tensor,
    auxiliary: Tensor,
    device: torch.device,
    measured: Callable[[slice], Acquisition],
) -> tuple[dict[Key, Tensor], dict[Key, list[float]]]:
    """Images and seconds, slice by slice in turn, so that a change of the machine meets all of them.

    The first slice is computed once before, in which libraries choose their kernels.
    """

    def run(network: nn.Module, number: int) -> Tensor:
        one = slice(number, number + 1)
        return reconstruct_slices(
            network,
            zero_filled[one],
            auxiliary[one],
            BRATS.normalisation,
            measured=lambda _: measured(one),
            finish=BRATS.finish,
            batch=1,
            device=device,
        )

    for network in networks.values():
        run(network, 0)
    images: dict[Key, list[Tensor]] = {key: [] for key in networks}
    seconds: dict[Key, list[float]] = {key: [] for key in networks}
    for number in range(len(zero_filled)):
        for key, network in networks.items():
            started = time.perf_counter()
            images[key].append(run(network, number))
            seconds[key].append(time.perf_counter() - started)
    return {key: torch.cat(parts) for key, parts in images.items()}, seconds


def _psnr(target: Tensor, image: Tensor) -> float:
    return statistics.fmean(metrics.psnr for metrics in BRATS.score(target, image))


def draw(result: dict[str, Any], path: Path) -> None:
    """Write the picture (PNG, SVG or PDF) of what :func:`quality_against_time` returned."""
    save_figure(picture(result), path, dpi=150)


def picture(result: dict[str, Any]) -> Figure:
    """PSNR against seconds per slice: a line from each plain network (hollow) to the optimised one (filled)."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    lines = []
    rows = {(row["model"], row["kind"]): row for row in result["models"]}
    for number, name in enumerate(dict.fromkeys(name for name, _ in rows)):
        plain, fast = (rows[name, kind] for kind in KINDS)
        style: dict[str, Any] = {"color": f"C{number}", "marker": "os^DvP*X"[number % 8], "markersize": 8}
        places = [(row["seconds_per_slice"], row["psnr"]) for row in (plain, fast)]
        axes.plot(*zip(*places, strict=True), color=style["color"], linewidth=1)
        axes.plot(*places[0], **style, markerfacecolor="white")
        axes.plot(*places[1], **style)
        gain = f"{plain['seconds_per_slice'] / fast['seconds_per_slice']:.2f}x as fast, {fast['psnr_change']:+.4f} dB"
        lines.append(Line2D([], [], **style, label=f"{_label(plain)}\n{gain}"))
    lines.append(Line2D([], [], color="black", linestyle="none", marker="o", markerfacecolor="white", label="plain"))
    lines.append(Line2D([], [], color="black", linestyle="none", marker="o", label="optimised"))
    floor = result["zero_filled_psnr"]
    lines.append(axes.axhline(floor, color="grey", linestyle="--", label=f"zero-filling, {floor:.2f} dB"))
    axes.set_xscale("log")
    axes.margins(x=0.15, y=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("time per slice (s, median)")
    axes.set_ylabel("PSNR (dB, mean over slices)")
    axes.grid(alpha=0.3)
    threads = f"{result['threads']} thread" + "s" * (result["threads"] != 1)
    axes.set_title(
        f"{result['case']}, {result['slices']} slices, {result['acceleration']}x, protocol {result['protocol']}\n"
        f"{result['device']}, {threads}, plain float32 and optimised {result['precision']}",
        fontsize=9,
    )
    figure.legend(handles=lines, loc="outside right upper", fontsize=8, frameon=False, labelspacing=0.9)
    return figure


def _label(row: dict[str, Any]) -> str:
    """The end of a checkpoint's path, and what it holds."""
    end = "/".join(Path(row["model"]).with_suffix("").parts[-2:])
    features = row["options"].get("features")
    return f"{end}: {row['name']}" + (f", {features} features" if features else "")
