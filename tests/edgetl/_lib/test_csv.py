"""CSV for spreadsheets: no cell is a formula, numbers stay numbers, and reading restores what was written."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from edgetl._lib.csv import read_table, table_text, write_table

FORMULAS = ['=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]
NAMES = [*FORMULAS, "'=1", "''=1", "'quoted'", "'", "plain", "-5", "+3.5", "a=b", "", "-", "- x", "=", "Käfer", "\n=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    (_, (cell, number)) = csv.reader(io.StringIO(table_text(["label", "drop"], [[text, -0.5]]), newline=""))
    assert cell == "'" + text
    assert number == "-0.5"


def test_numbers_and_other_text_stay() -> None:
    rows = list(csv.reader(io.StringIO(table_text(["a"], [[-3], ["-3.5"], ["+1e-3"], ["a-b"], ["'quoted'"], [""]]))))
    assert [row[0] if row else "" for row in rows[1:]] == ["-3", "-3.5", "+1e-3", "a-b", "'quoted'", ""]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [[name, str(number)] for number, name in enumerate(NAMES)]
    write_table(tmp_path / "table.csv", ["path", "n"], rows)
    read = read_table(tmp_path / "table.csv", ["path", "n"], what="a table", hint="")
    assert [row for _, row in read] == rows


def test_tables_for_other_programs_are_verbatim() -> None:
    assert table_text(["file", "label"], [["0.jpg", "=positive"]], verbatim=True) == "file,label\n0.jpg,=positive\n"
