"""What a stranger wrote is shown by terminal, spreadsheet, LaTeX and Markdown, and obeyed by none."""

from __future__ import annotations

import csv
import io
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.table import Table as RichTable
from rich.text import Text

from facegraph.errors import DataError, RunError
from facegraph.files.plain_csv import to_csv
from facegraph.files.plain_text import as_cell, one_line, printable
from facegraph.machine.screen import Screen
from facegraph.reports.table.reading import sweep_reports
from facegraph.reports.table.text import latex, to_latex, to_markdown, to_rich
from facegraph.reports.table.writing import CSV, write_indices, write_report
from tests.helpers.sweeps import topk_table, write_sweep

ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b2J\r\x08\u202etxt.exe"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_text_without_commands_is_as_it_was() -> None:
    text = "Gesicht ä 顔 🙂\n\tzweite Zeile, 5 % _x_"
    assert printable(text) == text
    assert one_line("a\nb") == "a\\nb"


@pytest.mark.parametrize("kind", [DataError, RunError])
def test_a_message_commands_no_terminal(kind: type[Exception]) -> None:
    error = kind(f"image {ESCAPES} \udcff is missing")
    assert not OBEYED.search(str(error))
    str(error).encode()  # a byte of a name that is no UTF-8
    assert "\\x1b[31mred" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_screen_shows_commands_and_keeps_its_own_colours() -> None:
    stream = io.StringIO()
    screen = Screen(file=stream, force_terminal=True, width=200, color_system="standard")
    table = RichTable(title=ESCAPES)
    table.add_column(ESCAPES)
    table.add_row(Text(ESCAPES, style="bold"))
    screen.print(table)
    screen.print(ESCAPES, markup=False)
    screen.print(Text("told", style="red"))
    shown = stream.getvalue()
    assert "\\x1b]0;owned" in shown
    assert not OBEYED.search(re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\n", ""))
    assert "\x1b[31mtold" in shown
    assert "\x1b[31mred" not in shown


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "\t=1", "\r=1", "\uff1d1+1", "a;=1+1", "a\n=1+1", "-x", "  =1"],
)
def test_no_cell_is_a_formula(text: str) -> None:
    shown = as_cell(text)
    parts = re.split(r"[;\t\r\n]", shown)
    assert not any(re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20].", part) for part in parts)
    assert shown.replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    "text", ["-1.5", "+3", "-1,5", "-.5", "+1e-3", "-5 %", "-", "", "a-b", "a = b", "1=1", "5 ± 1"]
)
def test_numbers_and_plain_texts_stay(text: str) -> None:
    assert as_cell(text) == text


def test_a_csv_keeps_its_numbers() -> None:
    frame = pd.DataFrame({"=name": ["=1+1", "face", None], "x": [-1.5, float("nan"), 2.0], "n": [-1, 0, 1]})
    rows = list(csv.reader(io.StringIO(to_csv(frame))))
    assert rows == [["'=name", "x", "n"], ["'=1+1", "-1.5", "-1"], ["face", "", "0"], ["", "2.0", "1"]]
    plain = frame.rename(columns={"=name": "name"}).assign(name=["a", "b, c", 'd"'])
    assert to_csv(plain) == plain.to_csv(index=False, lineterminator="\n")
    assert frame["=name"][0] == "=1+1"


HOSTILE = f"=1+1 \\input{{x}} 5 % _a_ [l](javascript:1) | `b` {ESCAPES}\n\n## end"


def test_a_report_of_a_hostile_table(tmp_path: Path) -> None:
    table = topk_table()
    rows = tuple(replace(row, label=f"{HOSTILE} {row.name}") for row in table.rows)
    columns = tuple(replace(column, label=f"{HOSTILE} {column.name}") for column in table.columns)
    table = replace(table, name="drawn/a_b%c}{\\x", title=HOSTILE, source=HOSTILE, rows=rows, columns=columns)
    write_sweep(tmp_path / "sweep", table, seeds=(0,))
    report = sweep_reports(tmp_path / "sweep")[0]
    text = to_latex(report)
    assert re.findall(r"\\label\{(.*)\}$", text, re.MULTILINE) == ["tab:drawn:a-b-c-x"] * text.count(r"\label")
    assert r"\label" in text
    body = re.sub(r"\\(?:[%_{}&#$]|textbackslash\{\})", "", text.split("\n", 1)[1])
    assert "%" not in body
    assert r"\input" not in body
    assert "_" not in body
    assert not OBEYED.search(text)
    assert "\n\n##" not in text
    marked = to_markdown(report)
    assert not OBEYED.search(marked)
    assert not re.search(r"^## end", marked, re.MULTILINE)
    assert "[l](" not in marked
    stream = io.StringIO()
    Screen(file=stream, width=500).print(to_rich(report, 500))
    assert not OBEYED.search(stream.getvalue())
    write_report(report, tmp_path / "report", page=False)
    cells = [cell for row in csv.reader(io.StringIO((tmp_path / "report" / CSV).read_text())) for cell in row]
    assert any(cell.startswith("'=1+1") for cell in cells)
    assert not any(cell.startswith("=") for cell in cells)
    index = write_indices([report], tmp_path / "index", page=False)[0].read_text()
    assert "[l](" not in index
    assert not OBEYED.search(index)


def test_latex_escapes_all_of_its_own() -> None:
    assert latex("a_b % & # $ { } ~ ^ \\ \x1b[1m") == (
        r"a\_b \% \& \# \$ \{ \} \textasciitilde{} \textasciicircum{} \textbackslash{} \textbackslash{}x1b[1m"
    )
