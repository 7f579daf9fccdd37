"""Text files of strangers: no line costs more than its length, and a file that can be seen to be cut off is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facegraph.data.annotations import read_annotations
from facegraph.data.formats import csv_table
from facegraph.data.formats.csv_table import MAX_COLUMNS, read_table
from facegraph.data.formats.files import LINE_LENGTH, NUMBER, is_cut
from facegraph.data.formats.pts import read_pts
from facegraph.data.formats.wflw import read_wflw_list
from facegraph.data.scheme_file import load_scheme
from facegraph.errors import ConfigError, DataError, FacegraphError
from facegraph.landmarks import MAX_LANDMARKS
from tests.helpers.faces import QUAD, annotation_frame

LONG = LINE_LENGTH - 10


@pytest.mark.parametrize("text", ["1" * LONG + "x", "1" * LONG + ".", "." + "1" * LONG + "e", "1." + "0" * LONG + "+"])
def test_a_number_is_told_in_one_pass(text: str) -> None:
    """A quadratic pattern needs a minute for each of these, which the time limit of tests does not allow ten times."""
    for _ in range(10):
        assert bool(NUMBER.fullmatch(text)) == text.endswith("1.")


LINES: dict[str, tuple[Callable[[Path], object], str]] = {
    "digits of a point": (read_pts, "1" * LONG + " x"),
    "a header without its colon": (read_pts, "a" + " " * LONG + "b"),
    "digits of a list": (read_wflw_list, "1" * LONG + "x a.jpg"),
    "a stated separator": (read_table, "sep= " + " " * LONG + "x"),
    "a quote that stays open": (read_table, "a,b\n" + "\n".join(['"' + "x" * 2000] * 400)),
}


@pytest.mark.parametrize(("read", "line"), LINES.values(), ids=LINES)
def test_a_long_line_is_read_in_one_pass(tmp_path: Path, read: Callable[[Path], object], line: str) -> None:
    """See above."""
    path = tmp_path / "file"
    path.write_text(line + "\n")
    for _ in range(3):
        with pytest.raises(DataError) as caught:
            read(path)
    assert len(str(caught.value)) < 1000


def test_a_line_that_is_too_long_says_the_limit(tmp_path: Path) -> None:
    for read in (read_pts, read_wflw_list, read_table):
        path = tmp_path / "file"
        path.write_text("x" * (LINE_LENGTH + 1))
        with pytest.raises(DataError, match=str(LINE_LENGTH)):
            read(path)


def test_a_header_of_too_many_columns_says_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(",".join(f"c{i}" for i in range(MAX_COLUMNS + 1)) + "\n1\n")
    with pytest.raises(DataError, match=rf"{MAX_COLUMNS + 1} columns; at most {MAX_COLUMNS}"):
        read_table(path)


def test_rows_that_lack_cells_are_not_filled_in_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MAX_LACKING", 1000)
    path = tmp_path / "faces.csv"
    path.write_text(",".join(f"c{i}" for i in range(100)) + "\n" + "1\n" * 11)
    with pytest.raises(DataError, match="at most 1000"):
        read_table(path)
    path.write_text(",".join(f"c{i}" for i in range(100)) + "\n" + "1\n" * 10)
    assert read_table(path).frame.shape == (10, 100)


def points_text(decimals: int) -> str:
    points = np.random.default_rng(0).uniform(10, 90, (68, 2))
    return "\n".join(f"{x:.{decimals}f} {y:.{decimals}f}" for x, y in points)


@pytest.mark.parametrize("lost", range(1, 4))
def test_points_cut_off_within_their_last_number_are_refused(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "face.pts"
    path.write_text(points_text(3))
    assert read_pts(path, 68).shape == (68, 2)  # some programs write no last line end
    path.write_text(points_text(3)[:-lost])
    with pytest.raises(DataError, match=r"line 68: the file ends within the number"):
        read_pts(path, 68)


def test_a_cut_that_cannot_be_seen_is_none() -> None:
    assert not is_cut("12", ["123"] * 200)  # whole numbers
    assert not is_cut("12.5", ["123.25", "1.5"] * 200)  # as many decimals as each needs
    assert not is_cut("12.", ["1.", "2.5"])
    assert is_cut("12.", ["1.25", "2.5"])
    assert is_cut("12.5", ["1.25"] * 200)


def test_a_csv_cut_off_within_its_last_row_is_refused(tmp_path: Path) -> None:
    """At each byte of it but where a line end or the last number's digits alone are missing."""
    path = tmp_path / "annotations.csv"
    whole = annotation_frame(4, tests=1).to_csv(index=False).rstrip("\n")
    last = whole.rpartition("\n")[2]
    for kept in range(1, last.rindex(",")):
        path.write_text(whole[: len(whole) - len(last) + kept])
        with pytest.raises(DataError, match=r"line \d"):
            read_annotations(path, QUAD)
    path.write_text(whole)
    assert len(read_annotations(path, QUAD).ids) == 4


def test_a_csv_cut_off_within_its_last_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    rows = "\n".join(f"{i}.png,{i}.250" for i in range(1, 120))
    path.write_text(f"image,x0\n{rows}")
    assert len(read_table(path).frame) == 119
    path.write_text(f"image,x0\n{rows[:-1]}")
    assert re.search(r"line 120.*cut off", str(read_table(path).unusable[0]))


SCHEME = "name: own\nnum_landmarks: {count}\nmirror_pairs: []\nnormalisers: {{eyes: {groups}}}\n"


@pytest.mark.parametrize("count", [1_000_000_000, MAX_LANDMARKS + 1, 0, -5])
def test_a_scheme_of_absurdly_many_landmarks_says_the_limit(tmp_path: Path, count: int) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SCHEME.format(count=count, groups="[[0], [1]]"))
    with pytest.raises(ConfigError, match=rf"{count}; 1 to {MAX_LANDMARKS}"):
        load_scheme(str(path))


@pytest.mark.parametrize(
    "groups", ["[[], [1]]", "[[1], []]", "[[], []]", "[[1], [1]]", "[[0, 1], [1, 0]]", "[[0], [-1]]"]
)
def test_a_normaliser_that_measures_nothing_is_refused(tmp_path: Path, groups: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SCHEME.format(count=4, groups=groups))
    with pytest.raises(ConfigError, match="normaliser 'eyes'"):
        load_scheme(str(path))


@pytest.mark.parametrize("value", ["[" + "0, " * 5000 + "0]", "'" + "x" * 50_000 + "'"])
def test_a_message_does_not_repeat_a_whole_file(tmp_path: Path, value: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(SCHEME.format(count=4, groups=value))
    with pytest.raises(FacegraphError) as caught:
        load_scheme(str(path))
    assert len(str(caught.value)) < 1000
