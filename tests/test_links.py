"""Every link, file and test that a text names leads somewhere; of addresses elsewhere only the form is seen."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    path
    for pattern in ("*.md", "*.cff", "docs/*.md", "docs/*.rst", "docs/gallery/*", "**/README.md", "benchmarks/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if not {".venv", "_build", "auto_gallery", ".git", "node_modules"} & {*path.relative_to(ROOT).parts}
]
TEXTS = [*dict.fromkeys(path for path in TEXTS if path.is_file())]
GENERATED = "auto_gallery/"  # from docs/gallery, when the documentation is built
LINK = re.compile(r"\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)")
ADDRESS = re.compile(r"https?://[^\s`<>\"'\])}]*")
NAMED = re.compile(
    r"`((?:benchmarks|docs|examples|src|tests)/[\w./-]+\.(?:py|md|json|ya?ml|sh|png|csv|def|toml))((?:::\w+)*)`"
)


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(path: Path) -> set[str]:
    """As GitHub and MyST name headings."""
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *#*$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def fault(page: Path, link: str) -> str:
    """What is wrong with a link of a page; empty if it leads somewhere."""
    if ADDRESS.match(link):
        return fault_of_address(link)
    place, _, anchor = link.partition("#")
    if place.startswith(GENERATED):
        name = place.removeprefix(GENERATED)
        there = name == "index" or (ROOT / "docs" / "gallery" / f"{name}.py").is_file()
        return "" if there else "no page of the gallery"
    target = (page.parent / place).resolve() if place else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return "nothing there"
    return "" if not anchor or anchor in anchors(target) else "no such heading"


def fault_of_address(address: str) -> str:
    """Of its form alone."""
    parts = urlsplit(address)
    whole = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.hostname or "")
    return "" if whole and parts.scheme == "https" and not re.search(r"[<>{}\\^|]", address) else "no address"


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    prose = without_code(text) if page.suffix == ".md" else text
    links = LINK.findall(prose) if page.suffix == ".md" else []
    addresses = [address.rstrip(".,;:") for address in ADDRESS.findall(prose)]
    found = {link: words for link in (*links, *addresses) if (words := fault(page, link))}
    assert not found


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_tests_that_are_named_are_there(page):
    missing = []
    for place, names in NAMED.findall(page.read_text(encoding="utf-8")):
        path = ROOT / place
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        known = all(re.search(rf"\b(def|class) {name}\b", text) for name in names.split("::") if name)
        if not path.is_file() or not known:
            missing.append(place + names)
    assert missing == []


def test_a_link_that_leads_nowhere_is_found():
    page = ROOT / "docs" / "data.md"
    assert fault(page, "nothing.md") == "nothing there"
    assert fault(page, "../../outside.md") == "nothing there"
    assert fault(page, "models.md#no-such") == "no such heading"
    assert fault(page, "auto_gallery/plot_99_none") == "no page of the gallery"
    assert fault(page, "https://exa mple") == fault(page, "http://example.org") == "no address"
    assert fault(page, "https://example.org/a#b") == fault(page, "#whose-scan-is-it") == ""


def test_addresses_of_the_package_have_the_form_of_one():
    """What goes into the package's metadata; nothing is asked for over the network here."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [one for one in ADDRESS.findall(text) if fault_of_address(one)] == []
