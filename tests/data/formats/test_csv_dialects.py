"""A csv of any program gives the same faces, and lines are told by their number in the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facegraph.data.annotations import read_annotations
from facegraph.data.formats.files import Unusable
from facegraph.errors import DataError
from tests.helpers.faces import QUAD, annotation_frame

ROWS = [text.split(",") for text in annotation_frame(4, tests=1).to_csv(index=False).splitlines()]


def text(separator: str = ",", decimal: str = ".", end: str = "\n", quote: str = "") -> str:
    cells = [[quote + (c if i < 2 else c.replace(".", decimal)) + quote for i, c in enumerate(row)] for row in ROWS]
    return end.join(map(separator.join, cells)) + end


def below(first: str) -> str:
    return first + "\n" + text()


def with_umlaut(encoding: str) -> bytes:
    return text(";", ",").replace("face_001", "gesicht_ä").encode(encoding)


DIALECTS: dict[str, tuple[str | bytes, int]] = {
    "plain": (text(), 2),
    "semicolons": (text(";"), 2),
    "semicolons and decimal commas": (text(";", ","), 2),
    "quoted, semicolons and decimal commas": (text(";", ",", quote='"'), 2),
    "tabs and decimal commas": (text("\t", ","), 2),
    "carriage returns": (text(end="\r"), 2),
    "Excel states the separator": ("sep=;\r\n" + text(";", ",", "\r\n"), 3),
    "Excel states a comma": (below("sep=,"), 3),
    "Excel states a tab": ("sep=\t\r\n" + text("\t", ",", "\r\n"), 3),
    "comments above and between": ("# marked by hand\n\n" + text().replace("\n", "\n# checked, twice\n", 2), 5),
    "numpy's header": ("# " + text(), 2),
    "trailing commas": (text(end=",,\n"), 2),
    "trailing semicolons in the header alone": (text(";").replace("\n", ";;\n", 1), 2),
    "pandas' index": ("".join(f"{i if i else ''},{line}\n" for i, line in enumerate(text().splitlines())), 2),
    "a note with line breaks": (
        "".join(line + (',"one\ntwo"\n' if i else ",note\n") for i, line in enumerate(text().splitlines())),
        2,
    ),
    "UTF-8 with a mark": (text(";").encode("utf-8-sig"), 2),
    "Unicode text of Excel": (text("\t", ",", "\r\n").encode("utf-16"), 2),
    "UTF-16, big end first": (b"\xfe\xff" + text("\t", ",").encode("utf-16-be"), 2),
}


@pytest.mark.parametrize(("content", "line"), DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_gives_the_same_faces(tmp_path: Path, content: str | bytes, line: int) -> None:
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text(text())
    other.write_bytes(content.encode() if isinstance(content, str) else content)
    expected, found = read_annotations(plain, QUAD), read_annotations(other, QUAD)
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.splits.tolist() == expected.splits.tolist()
    assert found.lines[0] == line
    left_out: list[Unusable] = []
    usable = read_annotations(other, QUAD, report=left_out)
    np.testing.assert_array_equal(usable.landmarks, expected.landmarks)
    assert not left_out


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_names_beyond_ascii(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "annotations.csv"
    path.write_bytes(with_umlaut(encoding))
    assert read_annotations(path, QUAD).images[1] == "gesicht_ä.png"


def test_one_row_of_another_encoding_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    lines = text().replace("face_001", "ä").replace("face_002", "ü").splitlines()
    path.write_bytes("\n".join(lines[:3]).encode() + b"\n" + "\n".join(lines[3:]).encode("cp1252"))
    assert read_annotations(path, QUAD).images.tolist()[1:3] == ["ä.png", "ü.png"]


def test_an_image_may_begin_with_the_mark_of_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    path.write_text(text().replace("face_001", "#1"))
    assert read_annotations(path, QUAD).images[1] == "#1.png"


def cell(row: int, column: int, value: str, separator: str = ";", decimal: str = ",") -> Callable[[], str]:
    def change() -> str:
        rows = [line.split(separator) for line in text(separator, decimal).splitlines()]
        rows[row][column] = value
        return "\n".join(map(separator.join, rows))

    return change


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "commas beside points": (cell(3, 4, "17.25"), r"line 2, column x0: .* decimal comma, but '17\.25' in line 4"),
    "thousands": (cell(2, 4, "1.017,25"), r"line 3, column x1: '1\.017,25' is no finite number"),
    "decimal commas between commas": (lambda: text(",", ","), r"line 2: 18 cells, .*Decimal commas need ; or a tab"),
    "two columns of a name": (lambda: text().replace("x1", "x0", 1), r"line 1: two columns are called 'x0'"),
    "no header": (lambda: text().split("\n", 1)[1], r"has no column image, split"),
    "a comment alone": (lambda: "# nothing\n", r"has no header"),
    "a stated separator alone": (lambda: "sep=;\n", r"has no header"),
    "a header alone": (lambda: "sep=;\n" + text(";").split("\n", 1)[0], r"no rows below its header, line 2"),
    "other separator than stated": (lambda: below("sep=;"), r"has no column image"),
    "a commented header": (lambda: text().replace("x1,", "x,", 1), r"has no column x1"),
    "quotes that do not close": (lambda: '"' + text(), r"line 1: a header with quotes that do not close"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said(tmp_path: Path, content: Callable[[], str], message: str) -> None:
    path = tmp_path / "annotations.csv"
    path.write_text(content())
    with pytest.raises(DataError, match=f"annotations.csv.*{message}") as caught:
        read_annotations(path, QUAD)
    assert len(re.findall(re.escape(str(path)), str(caught.value))) == 1


def test_utf16_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    path.write_bytes(text().encode("utf-16")[:-1])
    with pytest.raises(DataError, match="begins as UTF-16, but is none"):
        read_annotations(path, QUAD)
