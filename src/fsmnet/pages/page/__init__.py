"""The page's parts, a template, a style sheet and two scripts, and what puts them together."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fsmnet import __version__
from fsmnet.errors import NOT_CLINICAL
from fsmnet.pages.niivue import LICENCE, NAME, niivue

FOLDER = Path(__file__).parent


def render(sections: Sequence[Mapping[str, Any]], title: str) -> str:
    """The page of some sections; every text in them is escaped.

    Nothing may be loaded, sent or framed: the policy forbids all but the scripts and the style that stand in the page,
    told by their hashes, and pictures and volumes inside it.
    """
    viewer = niivue() if any(section["kind"] == "reconstruction" for section in sections) else None
    scripts = [] if viewer is None else [_inline(viewer), _part("viewer.js")]
    scripts.append(_part("table.js"))
    style = _part("style.css")
    template = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return template.get_template("page.html.jinja").render(
        sections=sections,
        title=title,
        version=__version__,
        not_clinical=NOT_CLINICAL,
        style=style,
        scripts=scripts,
        policy=_policy(scripts, style),
        viewer="" if viewer is None else f"{NAME}, {LICENCE}",
    )


def _part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _inline(script: str) -> str:
    """A script that can stand in a page: nothing in it ends it."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(scripts: Sequence[str], style: str) -> str:
    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    sources = {
        "default-src": "'none'",
        "script-src": " ".join(map(hashed, scripts)),
        "style-src": hashed(style),
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in sources.items())
