"""The pair table: it goes out, is edited by hand, survives a move, and comes back."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fsmnet.data.pairing.names import Pair
from fsmnet.data.pairing.propose import propose_pairs
from fsmnet.data.pairing.tables import Row, read_table, write_table
from fsmnet.errors import UserError

SHAPE = (6, 7, 4)


@pytest.fixture
def make(tmp_path, write_nifti):
    """Function (names) -> root; small volumes on one grid."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names, 1):
            write_nifti(tmp_path / name, np.full(SHAPE, number, np.int16))
        return tmp_path

    return write


def test_a_table_goes_out_and_comes_back(make, tmp_path):
    root = make("A/A_t1.nii.gz", "A/A_t2.nii.gz", "B/B_t2.nii.gz", "C,1/C,1_t1.nii.gz", "C,1/C,1_t2.nii.gz")
    table = root / "pairs.csv"
    write_table(propose_pairs(root, "t2", "t1"), table)
    assert table.read_text().splitlines() == [
        "case,target,auxiliary,status,reason",
        "A,A/A_t2.nii.gz,A/A_t1.nii.gz,accepted,",
        "B,B/B_t2.nii.gz,,rejected,no t1 of this case",
        '"C,1","C,1/C,1_t2.nii.gz","C,1/C,1_t1.nii.gz",accepted,',
    ]
    assert read_table(table) == [
        Pair(case, root / case / f"{case}_t2.nii.gz", root / case / f"{case}_t1.nii.gz") for case in ("A", "C,1")
    ]


def test_the_folder_can_be_moved(make, tmp_path):
    root = make("data/A/A_t1.nii.gz", "data/A/A_t2.nii.gz")
    write_table(propose_pairs(root / "data", "t2", "t1"), root / "data" / "pairs.csv")
    (root / "data").rename(root / "elsewhere")
    [pair] = read_table(root / "elsewhere" / "pairs.csv")
    assert pair.target == root / "elsewhere" / "A" / "A_t2.nii.gz"
    assert pair.target.is_file()
    assert pair.auxiliary.is_file()


def test_files_elsewhere_are_absolute(make, tmp_path, monkeypatch):
    root = make("data/A/A_t1.nii.gz", "data/A/A_t2.nii.gz")
    monkeypatch.chdir(root)
    for data, table in ((Path("data"), Path("tables/pairs.csv")), (root / "data", root / "tables" / "pairs.csv")):
        write_table(propose_pairs(data, "t2", "t1"), table)
        assert read_table(root / "tables" / "pairs.csv") == [
            Pair("A", root / "data" / "A" / "A_t2.nii.gz", root / "data" / "A" / "A_t1.nii.gz")
        ]
    write_table(propose_pairs(Path("tables/../data"), "t2", "t1"), Path("pairs.csv"))
    assert ",data/A/A_t1.nii.gz," in Path("pairs.csv").read_text()


def test_a_table_edited_by_hand(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_bytes(b"\xef\xbb\xbfcase,target,auxiliary,note\r\nA,a.nii, b.nii ,mine\r\n")
    assert read_table(table) == [Pair("A", tmp_path / "a.nii", tmp_path / "b.nii")]
    table.write_text("case,target,auxiliary,status,reason\nA,a.nii,b.nii,Accepted,\nB,,,rejected,no t2\n")
    assert [pair.case for pair in read_table(table)] == ["A"]
    table.write_bytes(b"case, target, auxiliary , status\r\n\r\nA, a.nii, b.nii, \r\n  \r\n,,,\r\n, ,,,,\r\n")
    assert read_table(table) == [Pair("A", tmp_path / "a.nii", tmp_path / "b.nii")]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_as_a_spreadsheet_saves_it_where_the_comma_is_decimal(tmp_path, delimiter):
    table = tmp_path / "pairs.csv"
    rows = ["", "case target auxiliary status reason", "A 1,5mm.nii b.nii  ", "    ", "B   rejected none"]
    table.write_bytes("\r\n".join(rows).replace(" ", delimiter).encode())
    assert read_table(table) == [Pair("A", tmp_path / "1,5mm.nii", tmp_path / "b.nii")]
    table.write_bytes(f"sep={delimiter}\r\n".encode() + table.read_bytes())
    assert read_table(table) == [Pair("A", tmp_path / "1,5mm.nii", tmp_path / "b.nii")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "pairs.csv: has no column case, target, auxiliary; its first line must name case,target,auxiliary,status"),
        ("case,target\nA,a\n", "pairs.csv: has no column auxiliary"),
        ("case,target,auxiliary,status\nA,a,b,maybe\n", "line 2: status is 'maybe'; write accepted or rejected"),
        ("case,target,auxiliary\nA,a,b\nB,a\n", "line 3: accepted, but its auxiliary is empty; fill it in"),
        ("case,target,auxiliary\nA,a,b\nA,c,d\n", "case A is accepted twice; give every pair a name of its own"),
        (
            "case,target,auxiliary,status\nA,a,b,rejected\n",
            "none of its 1 rows is accepted; its column reason says why",
        ),
        ("case,target,auxiliary\nA,a,1,b\n", "line 2: has more values than there are columns; put a path with a comma"),
        ('case,target,auxiliary\nA,"a"x,b\n', "not a CSV file in UTF-8"),
        (b"case,target,auxiliary\n\xff,a,b\n", "not a CSV file in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_words(tmp_path, content, words):
    table = tmp_path / "pairs.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words) as error:
        read_table(table)
    assert "\n" not in str(error.value)


def test_a_missing_table_and_a_folder_that_cannot_be_written_to(tmp_path, caplog):
    with pytest.raises(UserError, match=r"pairs\.csv: no such pair table; make one with 'fsmnet pair'"):
        read_table(tmp_path / "pairs.csv")
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="cannot make this output folder"):
        write_table([], tmp_path / "file" / "pairs.csv")


def test_series_go_out_and_come_back(tmp_path):
    study = tmp_path / "study"
    rows = [
        Row("A", study, study, True, "", None, None, "3", "1.2.840.7"),
        Row("B", tmp_path / "b.nii", tmp_path / "c.nii", True),
        Row("C", study, None, False, "no t1", None, None, "3", None),
    ]
    write_table(rows, tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text().splitlines() == [
        "case,target,auxiliary,target_series,auxiliary_series,status,reason",
        "A,study,study,3,1.2.840.7,accepted,",
        "B,b.nii,c.nii,,,accepted,",
        "C,study,,3,,rejected,no t1",
    ]
    assert read_table(tmp_path / "pairs.csv") == [
        Pair("A", study, study, "3", "1.2.840.7"),
        Pair("B", tmp_path / "b.nii", tmp_path / "c.nii"),
    ]
