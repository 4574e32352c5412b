"""The page's text, without a browser: sections, escapes, policy, size; and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil

import pytest

from fsmnet.cli import main
from fsmnet.errors import UserError
from fsmnet.files import json_text
from fsmnet.pages import niivue
from fsmnet.pages.charts import FEW, curves, scatter
from fsmnet.pages.niivue import niivue as script
from fsmnet.pages.reconstruction import _mask
from fsmnet.pages.report import report
from fsmnet.reconstruction.inputs import MAPS


@pytest.fixture
def page_of(tmp_path):
    """Function (results, **options) -> the text of their page."""

    def make(*results, **options):
        out = tmp_path / "page.html"
        report(results=list(results), out=out, overwrite=True, **options)
        return out.read_text(encoding="utf-8")

    return make


def test_the_installed_package_brings_the_viewer():
    assert script() is not None
    assert "Niivue" in script()


def test_nothing_is_loaded_from_elsewhere(page_of, scan, comparison):
    text = page_of(scan, comparison)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    hashes = set(re.findall(r"'sha256-([^']+)'", policy))
    code = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    code += re.findall(r"<style>(.*?)</style>", text.partition("<body>")[0], re.DOTALL)
    assert {base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in code} == hashes
    plain = re.sub(r"<script.*?</script>|<style>.*?</style>", "", text, flags=re.DOTALL)
    sources = re.findall(r'(?:src|href)="([^"]{5})', plain)
    assert set(sources) == {"data:"}


def test_the_record_is_on_the_page(page_of, scan):
    text = page_of(scan)
    record = json.loads(scan.with_name("result.json").read_text())
    for value in (record["Sources"][0]["sha256"], record["Model"]["sha256"], "hold-out check", "T1, by its name"):
        assert value in text
    assert str(scan.parent) not in text


def test_verdict_and_curve_stand_first_then_all_layers_and_how_it_was_made(page_of, scan):
    text = page_of(scan)
    parts = ('class="verdict', "Hold-out check: what is said", 'class="viewer"', "<h3>Mask</h3>", "How it was made")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    layers = {"reconstruction", "zero_filled", "reference", "true_error", "auxiliary", *MAPS}
    assert {*re.findall(r'data-volume="(\w+)"', text)} == layers
    assert "letters at the edges" in text
    assert "of 5 mm that only the target shows would keep" in text
    assert re.search(r"<th scope=\"row\">Voxel</th><td>1 x .* mm", text)


@pytest.mark.parametrize(("points", "marked"), [(1, True), (FEW, True), (FEW + 1, False)])
def test_few_points_of_a_curve_are_marked(points, marked):
    """A training of two steps logs one row, which without a mark would be an empty picture."""
    chart = curves({"U-Net": [(0.1 * n, 1.0 + n % 2) for n in range(points)]}, "minutes", "loss", "the loss")
    drawing = base64.b64decode(chart["source"].partition("base64,")[2]).decode()
    assert ("#1f77b4; stroke: #1f77b4" in drawing) is marked


def test_a_method_looks_alike_in_all_pictures():
    points, order = {"FSMNet": (2.0, 30.0), "U-Net": (1.0, 29.0)}, ["POCS", "U-Net", "FSMNet"]
    lines = {name: [point, (9.0, 9.0)] for name, point in points.items()}
    for chart in (scatter(points, "s", "dB", "time", order), curves(lines, "s", "dB", "time", order)):
        drawing = base64.b64decode(chart["source"].partition("base64,")[2]).decode()
        assert {colour for colour in ("#1f77b4", "#ff7f0e", "#2ca02c") if colour in drawing} == {"#ff7f0e", "#2ca02c"}


def test_texts_from_files_are_escaped(page_of, scan, tmp_path):
    for file in scan.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    record = json.loads(scan.with_name("result.json").read_text())
    nasty = "</script><img src=x onerror=alert(1)>"
    record["Sources"][0]["doubts"] = [nasty]
    record["Suitability"]["Doubts"] = [nasty]
    record["Simulation"] = nasty
    (tmp_path / "result.json").write_text(json_text(record))
    text = page_of(tmp_path / "result.nii.gz")
    assert "<img src=x" not in text
    assert text.count("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;") >= 3


def test_a_page_has_a_bounded_size(page_of, scan):
    assert len(page_of(scan, megabytes=4)) < 6 << 20


def test_without_the_viewer_there_are_pictures(page_of, scan, monkeypatch):
    monkeypatch.setattr(niivue, "find_spec", lambda name: None)
    text = page_of(scan)
    assert "pip install &#39;fsmnet[report]&#39;" in text
    assert "image/jpeg;base64," in text
    assert len(text) < 2 << 20


def test_sections_of_an_evaluation(page_of, evaluation, tmp_path):
    folder = tmp_path / "scores"
    shutil.copytree(evaluation, folder)
    summary = json.loads((folder / "summary.json").read_text())
    for number, row in enumerate(summary):
        row["seconds"] = 1.0 + number
    (folder / "summary.json").write_text(json_text(summary))
    text = page_of(folder)
    for words in ("Evaluation, 4x", "Zero-filled", "POCS", "a dot for each patient", "The worst slice."):
        assert words in text
    assert "Quality against time: seconds per slice." in text
    assert f'<td class="number" data-value="{1 / 20}">0.050</td>' in text  # of 4 cases of 5 slices
    assert "phantom-000" not in re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)


def test_sections_of_a_comparison(page_of, comparison):
    text = page_of(comparison)
    for words in ("p (Holm)", "Training: the loss", "U-Net", "The slice of the figure for print"):
        assert words in text
    assert (comparison / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_folder_with_results_of_both_kinds(page_of, evaluation, scan, tmp_path):
    """As ``fsmnet demo`` leaves one."""
    folder = tmp_path / "demo"
    shutil.copytree(evaluation, folder)
    for file in scan.parent.iterdir():
        shutil.copy(file, folder / file.name)
    text = page_of(folder)
    assert re.findall(r"<section aria-label=\"([^\"]+)\"", text) == ["T2 by FSMNet, 8 features", "Evaluation, 4x"]


def test_the_command(scan, evaluation, tmp_path, capsys):
    out, figure = tmp_path / "p.html", tmp_path / "figure.svg"
    words = ["report", str(scan), str(evaluation), "-o", str(out), "--figure", str(figure)]
    assert main(words) == 0
    assert out.stat().st_size > 1 << 20
    assert figure.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert f"written to {out} and {figure}" in capsys.readouterr().out
    assert main(words) == 2
    assert "exists already; pass --overwrite to replace it" in capsys.readouterr().err


def test_a_page_is_html_and_is_not_left_without_its_figure(scan, tmp_path, capsys):
    assert main(["report", str(scan), "-o", str(tmp_path / "p.txt")]) == 2
    assert "p.txt: a page is HTML; end the name in .html" in capsys.readouterr().err
    assert main(["report", str(scan), "-o", str(tmp_path / "p.html"), "--figure", str(tmp_path / "f.pdf")]) == 2
    assert "a figure is made of a comparison" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_of_a_mask_that_nobody_asked_for_no_request_is_told():
    mask = {"kind": "random", "columns": [3, 4, 5, 9], "of": 12, "achieved_acceleration": 3.0}
    assert _mask(mask | {"requested_acceleration": 4.0})["line"].endswith(
        "4 of 12 lines measured, 3.00x (4x requested)"
    )
    assert _mask(mask | {"requested_acceleration": None})["line"].endswith("4 of 12 lines measured, 3.00x")


def test_what_is_no_result_is_refused(tmp_path, scan, page_of):
    with pytest.raises(UserError, match="there is no such result"):
        page_of(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is no result of fsmnet; give an image from 'fsmnet reconstruct'"):
        page_of(tmp_path / "folder")
    with pytest.raises(UserError, match="a figure is made of a comparison or an evaluation"):
        page_of(scan, figure=tmp_path / "f.pdf")
    with pytest.raises(UserError, match="megabytes must be at least 4, not 1"):
        page_of(scan, megabytes=1)
    (tmp_path / "folder" / "summary.json").write_text("{}")
    (tmp_path / "folder" / "metrics.csv").write_text("")
    with pytest.raises(UserError, match=r"summary\.json: is no summary of 'fsmnet evaluate'; run it again"):
        page_of(tmp_path / "folder")


def test_a_list_leaves_a_page_beside_each_result(scan, tmp_path, caplog):
    pairs = tmp_path / "pairs.csv"
    target, auxiliary = (scan.with_name(name) for name in ("t2.nii.gz", "t1.nii.gz"))
    rows = f"a,{target},{auxiliary},accepted,", f"b,{target.with_name('nothing.nii.gz')},{auxiliary},accepted,"
    pairs.write_text("\n".join(["case,target,auxiliary,status,reason", *rows]))
    words = ["reconstruct", "--pairs", str(pairs), "-o", str(tmp_path / "out"), "--checkpoint"]
    words += [str(scan.with_name("best.safetensors")), "--acceleration", "3", "--check", "off", "--report"]
    assert main(words) == 3
    page = tmp_path / "out" / "a_report.html"
    assert 'data-volume="reference"' in page.read_text(encoding="utf-8")
    assert sorted(path.name for path in page.parent.glob("*.html")) == ["a_report.html"]
    page.write_text("kept, since its exam is skipped")
    assert main(words) == 3
    assert page.read_text().startswith("kept")
    page.unlink()
    assert main(words) == 3
    assert page.exists()


def test_pages_of_the_other_commands(scan, heads, tmp_path, capsys, caplog):
    out = tmp_path / "again.nii.gz"
    scans = [str(scan.with_name(name)) for name in ("t2.nii.gz", "t1.nii.gz")]
    words = ["reconstruct", *scans, "-o", str(out), "--checkpoint", str(scan.with_name("best.safetensors"))]
    words += ["--acceleration", "3", "--check", "off", "--report"]
    assert main(words) == 0
    text = (tmp_path / "again_report.html").read_text(encoding="utf-8")
    assert 'data-volume="reference"' in text
    out.unlink()
    assert main(words) == 2
    scores = tmp_path / "scores"
    words = ["evaluate", str(heads), "--models", "zero_filling", "--protocol", "float", "-o", str(scores), "--report"]
    assert main(words) == 0
    assert "Evaluation, 4x" in (scores / "report.html").read_text(encoding="utf-8")
