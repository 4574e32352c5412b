"""What leaves the program steers neither a terminal nor a spreadsheet, and is JSON for every reader."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from fsmnet.evaluation.picture import Shown, picture_of
from fsmnet.files import csv_text, file_name, from_cell, is_utf8, json_text, visible, write_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sub-01, 4x requested", "sub-01, 4x requested"),
        ("Kopf übermäßig 患者 µ ± \t|", "Kopf übermäßig 患者 µ ± \t|"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("case\r\nfsmnet: all is well", r"case\x0d\x0afsmnet: all is well"),
        ("nii.\u202egz\u2066", r"nii.\u202egz\u2066"),
        ("a\u200bb\u2028\x9b1m\x7f", r"a\u200bb\u2028\x9b1m\x7f"),
        ("\udce6\udc82", r"\xe6\x82"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_only_plain_text_is_shown(text, shown):
    assert visible(text) == shown


def test_cells_are_no_formulas_and_come_back():
    texts = [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-x/y.nii",
        "@SUM(A1)",
        "\t=1",
        "'=1",
        "''-a",
        "'quoted'",
        "a=b",
        "-0.5",
        "1e-3",
    ]
    rows = list(csv.reader(io.StringIO(csv_text([texts, [-0.5, None, "x\ny"]]))))
    assert [cell[0] for cell in rows[0][:5]] == ["'"] * 5
    assert rows[0][-2:] == ["-0.5", "1e-3"]  # numbers
    assert [from_cell(cell) for cell in rows[0]] == texts
    assert rows[1] == ["-0.5", "", "x\ny"]


def test_json_knows_no_nan():
    value = {"psnr": float("inf"), "all": [float("nan"), 1.5, (float("-inf"), None)], "n": 3, "s": "NaN"}
    text = json_text(value)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "psnr": None,
        "all": [None, 1.5, [None, None]],
        "n": 3,
        "s": "NaN",
    }
    assert "\n" not in json_text(value, indent=None)


def test_names_that_are_no_text_keep_their_bytes(tmp_path):
    name = b"caf\xe9.nii".decode("utf-8", "surrogateescape")
    write_text(tmp_path / "table.csv", name)
    assert (tmp_path / "table.csv").read_bytes() == b"caf\xe9.nii"
    assert file_name("患者") == "患者"
    assert is_utf8("患者")
    assert not is_utf8(name)


def test_a_picture_of_a_case_with_any_name(tmp_path):
    image = np.eye(16)
    shown = Shown(image, image, {"$x\udce6": image}, {"$x\udce6": "$$"}, "a$b \udce6\x1b $\\frac$ \u60a3")
    picture_of(shown).save(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 0
