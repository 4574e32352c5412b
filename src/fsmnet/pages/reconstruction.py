"""The section of a reconstruction: is it to be trusted, how it looks, how it was made."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fsmnet.data.contrast import spoken
from fsmnet.files import json_text
from fsmnet.models.titles import title_of
from fsmnet.pages.charts import Chart, bands, image_source
from fsmnet.pages.niivue import niivue
from fsmnet.pages.scan import Shown
from fsmnet.pages.tables import Cell, cell
from fsmnet.pages.volumes import Packed, packed
from fsmnet.pictures.panels import Panel, Picture, content, draw, rounded
from fsmnet.pictures.view import view_of
from fsmnet.reconstruction.picture import slice_to_show
from fsmnet.trust.verdict import by_reference
from fsmnet.trust.words import in_words

WORDS = {
    "suits": "Nothing speaks against this scan",
    "unusual": "This scan is unusual for the network",
    "refuse": "The network is not for this scan",
    "": "No verdict",
}
SCORES = {"zero_filling": "Zero-filled", "network": "Network alone", "consistent": "With the measured lines put back"}
SOME = (0.25, 0.5, 0.75)  # of the slices with content: those that are shown still, beside that with most signal
ACROSS = 3  # panels in a row


def section(shown: Shown, most: int) -> dict[str, Any]:
    """What the template takes.

    Args:
        shown: the layers.
        most: bytes that its volumes may take.
    """
    record = shown.record
    viewer = niivue() is not None
    suits = record.get("Suitability") or {}
    contrast = spoken(suits["Target"]) if suits.get("Target") else "Scan"
    return {
        "kind": "reconstruction",
        "title": f"{contrast} by {title_of(record['Model'])}",
        "verdict": _verdict(record),
        "check": in_words(record["Check"]) if record.get("Check") else "",
        "warnings": _warnings(record),
        "packed": packed(shown, most) if viewer else Packed({}, {}, ""),
        "no_viewer": "" if viewer else "The viewer needs nilearn, which brings NiiVue: pip install 'fsmnet[report]'.",
        "stills": _stills(shown),
        "notes": shown.notes,
        "curve": _curve(record),
        "mask": _mask(record["Mask"]),
        "facts": _facts(record, shown),
        "scores": _scores(record.get("Metrics")),
        "provenance": _provenance(record),
        "record": json_text(record),
    }


def _verdict(record: Mapping[str, Any]) -> dict[str, Any]:
    """Of the checks; of records from before there was one, what the network was made for."""
    told = (record.get("Check") or {}).get("Verdict")
    suits = record.get("Suitability") or {}
    if told:
        kind, because = str(told["Kind"]), [str(reason) for reason in told["Because"]]
    else:
        because = [*suits.get("NotMadeForIt", ()), *suits.get("Doubts", ())]
        kind = "refuse" if suits.get("NotMadeForIt") else "unusual" if because else ""
    return {"kind": kind, "word": WORDS.get(kind, kind), "because": because, "line": str(suits.get("MadeFor", ""))}


def _warnings(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the verdict."""
    warnings = [str(doubt) for source in record["Sources"] for doubt in source.get("doubts", ())]
    if (seen := record.get("SeenInTraining")) and seen.get("side") == "train":
        warnings.append("The network was trained on this scan, so it does better here than on others.")
    if not (record.get("Check") or {}).get("Verdict"):  # which knows it
        warnings += [f"Do not use this network on this scan: {why}." for why in by_reference(record.get("Metrics"))]
    return warnings


def _stills(shown: Shown) -> list[Chart]:
    """Pictures of some slices in all layers; three in a row, which a phone can show."""
    first = shown.layers[0].data
    filled = np.flatnonzero((first > 0).any((1, 2)))
    middle = slice_to_show(first)
    others = [int(filled[int(share * (filled.size - 1))]) for share in SOME] if filled.size else []
    rows, columns = content(first.max(0))
    view = view_of(shown.affine, shown.placed)
    stills = []
    for number in dict.fromkeys([middle, *others]):
        panels = [
            Panel(
                layer.title,
                view(layer.data[number][rows, columns]),
                layer.top,
                f"0 to {rounded(layer.top)}, in intensities of the scan" if layer.coloured else "",
                "intensity" if layer.coloured else "",
            )
            for layer in sorted(shown.layers, key=lambda layer: layer.coloured)
        ]
        file = io.BytesIO()
        draw(Picture([panels[k : k + ACROSS] for k in range(0, len(panels), ACROSS)], view)).save(
            file, "JPEG", quality=88
        )
        stills.append({"source": image_source(file.getvalue(), "jpeg"), "says": f"Slice {number}."})
    return stills


def _curve(record: Mapping[str, Any]) -> Chart | None:
    found = (record.get("Check") or {}).get("HoldOut")
    return None if not found else bands(found["ExplainedByBand"], found["BandsUpTo"])


def _mask(mask: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if mask is None:
        return None
    asked = mask["requested_acceleration"]  # of a scanner's mask nothing is known
    line = (
        f"{mask['kind']}: {len(mask['columns'])} of {mask['of']} lines measured, {mask['achieved_acceleration']:.2f}x"
        + ("" if asked is None else f" ({asked:g}x requested)")
    )
    return {"of": mask["of"], "columns": mask["columns"], "line": line}


def _facts(record: Mapping[str, Any], shown: Shown) -> list[tuple[str, str]]:
    view = view_of(shown.affine, shown.placed)
    slices, height, width = shown.layers[0].data.shape
    sizes = np.linalg.norm(shown.affine[:3, :3], axis=0)
    facts = [("Matrix", f"{height} x {width}, {slices} slices")]
    if view.pixel is not None:
        facts.append(("Voxel", " x ".join(f"{size:.3g}" for size in sizes) + " mm"))
    if view.plane:
        words = "patient's right is at the left" if view.edges[0] == "R" else "anterior is at the left"
        facts.append(
            ("Slices", f"{view.plane}, {words}; letters at the edges: L left, R right, A anterior, P posterior")
        )
    else:
        facts.append(("Place", "not known; slices are shown as they are stored"))
    for name, role in (("Target", "Target"), ("Auxiliary", "Auxiliary")):
        suits = record.get("Suitability") or {}
        if suits.get(role):
            facts.append((name, f"{spoken(suits[role])}, {suits.get(f'{role}Said') or 'as told'}"))
    facts.append(("Simulation", str(record.get("Simulation"))))
    if (consistency := record.get("DataConsistency")) is not None:
        facts.append(("Measured lines", str(consistency.get("Kind"))))
    if (registration := record.get("Registration")) is not None:
        facts.append(("Auxiliary's grid", str(registration.get("Kind"))))
    auxiliary = (record.get("Check") or {}).get("Auxiliary")
    if auxiliary:
        facts += [
            ("Blank auxiliary", f"would change the image by {_share(auxiliary.get('ChangeWithBlank'))} of its norm"),
            ("Moved auxiliary", f"by two pixels, by {_share(auxiliary.get('ChangeWithMoved'))}"),
        ]
    kept = (record.get("Check") or {}).get("Kept")
    if kept and kept["Median"] is not None:
        words = (
            f"of {kept['Millimetres']:g} mm that only the target shows would keep {kept['Median']:.0%} of its contrast"
        )
        facts.append(("Small structure", f"{words}, in a tenth of the head less than {kept['Tenth']:.0%}"))
    return facts


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"


def _scores(metrics: Mapping[str, Mapping[str, float | None]] | None) -> dict[str, Any] | None:
    if not metrics:
        return None
    names = ("psnr", "ssim", "nmse", "head_psnr", "head_ssim")
    rows = []
    for name, scores in metrics.items():
        figures = [cell(scores.get(key), 2 if "psnr" in key else 4, infinite="psnr" in key) for key in names]
        rows.append([Cell(SCORES.get(name, name)), *figures])
    return {"headings": ["", "PSNR (dB)", "SSIM", "NMSE", "head: PSNR", "head: SSIM"], "rows": rows}


def _provenance(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for source, role in zip(record["Sources"], ("Target", "Auxiliary"), strict=False):
        yield role, f"{source['file'] or '(not named)'}, {source['shape']}, SHA-256 {source['sha256']}"
    model = record["Model"]
    yield "Weights", f"{model.get('file')}, SHA-256 {model.get('sha256')}"
    yield "Network", json_text({"name": model["name"], **model.get("options", {})}, indent=None)
    output = record.get("Output", {})
    yield "Result", f"{output.get('file')}, SHA-256 {output.get('sha256')}"
    for name in ("Versions", "Device", "Precision", "Normalisation", "Seconds"):
        value = record.get(name)
        yield name, value if isinstance(value, str) else json_text(value, indent=None)
