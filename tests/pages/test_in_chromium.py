"""Pages opened from disk in Chromium: nothing is complained of or asked for, what is pressed changes what is seen."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from browser import Page
from fsmnet.cli import main
from fsmnet.pages.report import report


@pytest.fixture(scope="module")
def page_of(tmp_path_factory, driver):
    """Function (result, width) -> the page of a result, opened."""
    made = {}

    def make(result, width=1000):
        if result not in made:
            made[result] = report(results=[result], out=tmp_path_factory.mktemp("page") / "report.html")
        page = Page(driver, made[result], width)
        page.path = made[result]
        return page

    return make


def assert_quiet(page):
    assert page.complaints() == []
    assert page.requests() == [page.path.as_uri()]


def fits(page):
    """Whether nothing has to be scrolled sideways, but for tables in a box of their own."""
    return page.js("return document.documentElement.scrollWidth <= window.innerWidth")


def test_the_viewer(page_of, scan):
    page = page_of(scan)
    page.viewer()
    seen = [page.pixels()]

    def changed():
        """Whether what is seen is another picture than before."""
        seen.append(page.pixels())
        return (np.abs(seen[-1] - seen[-2]) > 16).any(-1).mean() > 0.002

    assert seen[0].std() > 10
    page.set("slice", 1)
    assert changed()
    page.keys(".stage", "\ue013")  # arrow up
    assert changed()
    assert page.js("return document.querySelector('[data-is=slice]').value") == "2"
    assert page.find(".where").text.startswith("slice 3, ")  # the first of the volume is empty
    before = page.find(".where").text
    page.wheel(".stage", 120)
    page.wait(f"document.querySelector('.where').textContent !== {before!r}")
    assert changed()
    page.keys(".stage", "\ue012")  # arrow left: the wipe
    assert page.js("return document.querySelector('[data-is=wipe]').value") == "45"
    assert changed()
    page.set("white", 60)
    assert changed()
    page.set("map", "true_error")
    assert changed()
    assert "difference from the fully sampled scan" in page.find(".says").text
    assert re.search(r": FSMNet, 8 features [\d.]+, Zero-filled [\d.]+, True error [\d.]+$", page.find(".where").text)
    page.set("wipe", 100)
    changed()
    page.keys(".stage", "3")  # the third image at the left
    assert page.js("return document.querySelector('[data-is=left]').value") == "reference"
    assert changed()
    assert "mm: T2, fully sampled " in page.find(".where").text
    page.set("planes", "three")
    assert changed()
    assert_quiet(page)


def test_both_images_share_one_crosshair(page_of, scan):
    """A click into the left image moves the slices of the right one."""
    page = page_of(scan)
    page.viewer()
    page.set("planes", "three")
    page.set("wipe", 50)
    before, where = page.pixels(), page.find(".where").text
    page.click(".stage", 0.2, 0.3)
    page.wait(f"document.querySelector('.where').textContent !== {where!r}")
    right = slice(before.shape[1] // 2 + 20, None)
    assert (np.abs(page.pixels() - before)[:, right] > 16).any(-1).mean() > 0.002
    assert_quiet(page)


def test_wipe_shows_one_image_at_each_side(page_of, scan):
    page = page_of(scan)
    page.viewer()
    page.set("left", "auxiliary")
    images = {}
    for wipe in (0, 50, 100):
        page.set("wipe", wipe)
        images[wipe] = page.pixels()
    middle = images[0].shape[1] // 2
    assert np.abs(images[0] - images[100]).max() > 30
    assert np.array_equal(images[50][:, : middle - 20], images[100][:, : middle - 20])
    assert np.array_equal(images[50][:, middle + 20 :], images[0][:, middle + 20 :])


@pytest.mark.parametrize("result", ["scan", "evaluation", "comparison"])
def test_a_phone_can_show_it(page_of, result, request):
    page = page_of(request.getfixturevalue(result), width=360)
    if result == "scan":
        page.viewer()
    assert fits(page)
    assert page.js("return [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert_quiet(page)


def test_twelve_columns_fit_a_small_screen_and_on_a_phone_the_names_stay(page_of, comparison):
    small = page_of(comparison, width=820)
    box = "document.querySelector('.scroll')"
    assert small.js("return document.querySelectorAll('.sortable thead th').length") == 12
    assert small.js(f"return {box}.scrollWidth <= {box}.clientWidth")
    phone = page_of(comparison, width=360)
    assert phone.js(f"{box}.scrollLeft = 150; return {box}.scrollLeft") == 150
    left = "document.querySelector('.sortable tbody th').getBoundingClientRect().left"
    assert phone.js(f"return {left} - {box}.getBoundingClientRect().left") == 0


def test_a_table_sorts_by_its_headings(page_of, comparison):
    page = page_of(comparison)

    def column():
        cells = page.js("return [...document.querySelectorAll('tbody tr')].map((row) => row.cells[2].dataset.value)")
        return [float(cell) for cell in cells]

    heading = "thead th:nth-child(3) button"
    page.keys(heading, "\ue007")  # enter: headings are pressed by keys too
    assert column() == sorted(column())
    assert page.js("return document.querySelector('[aria-sort]').textContent") == "PSNR (dB)"
    page.keys(heading, "\ue007")
    assert column() == sorted(column(), reverse=True)
    assert_quiet(page)


def test_texts_of_files_are_texts(page_of, comparison):
    page = page_of(comparison)
    assert "<script>alert(1)</script>" in page.find("tbody").text
    assert_quiet(page)


def test_without_webgl_pictures_remain(page_of, scan):
    page = page_of(scan)
    blind = {"source": "HTMLCanvasElement.prototype.getContext = () => null"}
    identifier = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", blind)["identifier"]
    try:
        page = page_of(scan)
        page.wait("document.querySelector('.no-viewer').textContent !== ''")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})
    assert page.js("return document.querySelector('.viewer').hidden")
    assert page.js("return document.querySelector('img.dark').naturalWidth") > 300
    assert page.complaints() == []


def test_the_policy_lets_nothing_out(page_of, scan):
    page = page_of(scan)
    page.viewer()
    for request in ("fetch('https://example.org')", "fetch('http://127.0.0.1:9')"):
        assert page.js(f"return {request}.then(() => 'out', () => 'kept')") == "kept"
    assert [url for url in page.requests() if url.startswith("http")] == []
    page.complaints()  # the browser says what was kept


def test_printed_it_shows_pictures_in_place_of_the_viewer(page_of, scan):
    page = page_of(scan)
    page.viewer()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.js("return getComputedStyle(document.querySelector('.viewer')).display") == "none"
        page.js("window.dispatchEvent(new Event('beforeprint'))")
        assert page.js("return [...document.querySelectorAll('details')].every((part) => part.open)")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def opened(driver, path):
    page = Page(driver, path, 1000)
    page.path = path
    page.viewer()
    assert page.pixels().std() > 10
    before = page.pixels()
    page.keys(".stage", "\ue013")
    assert np.abs(page.pixels() - before).max() > 30
    assert_quiet(page)


@pytest.mark.slow
def test_a_patients_scan(driver, tmp_path):
    """OMSL-04, the whole head, three slices of it."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "native" / "OMSL-04-s1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for contrast in ("t1", "t2"):
        image = nib.load(folder / f"OMSL-04-s1_{contrast}.nii.gz")
        nib.save(image.slicer[:, :, 20:23], tmp_path / f"{contrast}.nii.gz")
    scans = [str(tmp_path / f"{contrast}.nii.gz") for contrast in ("t2", "t1")]
    assert main(["reconstruct", *scans, "-o", str(tmp_path / "r.nii.gz"), "--acceleration", "4", "--report"]) == 0
    opened(driver, tmp_path / "r_report.html")


@pytest.mark.slow
def test_the_demonstration(driver, tmp_path, monkeypatch):
    monkeypatch.setattr("fsmnet.cli.demo.SLICES", 3)
    assert main(["demo", "-o", str(tmp_path / "demo"), "--device", "cpu", "--report"]) == 0
    page = tmp_path / "demo" / "report.html"
    opened(driver, page)
    assert "Evaluation, 4x" in page.read_text(encoding="utf-8")
