"""Text formats: known files give known numbers, and each mistake is named with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facegraph.data.annotations import read_annotations
from facegraph.data.formats.files import Unusable
from facegraph.data.formats.pts import read_pts
from facegraph.data.formats.wflw import FLAGS, read_wflw_list
from facegraph.errors import DataError
from facegraph.landmarks import IBUG68, INTER_OCULAR
from tests.data.formats.samples import points, pts, wflw_line
from tests.helpers.faces import QUAD, annotation_frame

DATA = Path(__file__).parents[4] / "shared" / "data"
MINI_300W, MINI_WFLW = DATA / "300w_mini", DATA / "wflw_mini"
THREE = np.array([[0.0, 0.0], [9.5, 19.25], [-3.0, 4.0]])
"""What the sample texts below say, 0-based."""


def written(folder: Path, content: bytes | str, name: str = "file.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


SPELLINGS = {
    "official": "version: 1\nn_points:  3\n{\n1 1\n10.5 20.25\n-2 5\n}\n",
    "bare": "1 1\n10.5 20.25\n-2 5\n",
    "bare without a last newline": "1 1\n10.5 20.25\n-2 5",
    "windows": "version: 1\r\nn_points: 3\r\n{\r\n1 1\r\n10.5 20.25\r\n-2 5\r\n}\r\n",
    "old mac": "version: 1\rn_points: 3\r{\r1 1\r10.5 20.25\r-2 5\r}\r",
    "byte order mark": "\ufeffversion: 1\nn_points: 3\n{\n1 1\n10.5 20.25\n-2 5\n}\n",
    "header in another order": "# by hand\nN_POINTS:3\n\nversion: 1\n\n{\n1 1\n\n10.5 20.25\n// chin\n-2 5\n}\n\n",
    "braces beside points": "n_points: 3\n{ 1 1\n10.5\t20.25\n  -2   5 }",
    "exponents": "1e0 1.\n+1.05E1 2025e-2\n-2.0 .5e1\n",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_pts_is_read_in_every_spelling(tmp_path: Path, text: str) -> None:
    np.testing.assert_array_equal(read_pts(written(tmp_path, text), 3), THREE)


BAD_PTS = {
    "empty": ("", r"line 1: .*empty"),
    "blank": ("\n \n", r"no points"),
    "only a header": ("version: 1\nn_points: 3\n{\n}\n", r"line 4: 0 points end here, n_points says 3"),
    "too few": ("n_points: 3\n{\n1 1\n2 2\n}\n", r"line 5: 2 points end here, n_points says 3"),
    "cut short": ("n_points: 3\n{\n1 1\n2 2\n", r"line 4: the file ends before the brace of line 2"),
    "one number": ("1 1\n2\n3 3\n", r"line 2: '2' is no point"),
    "three numbers": ("1 1\n2 2 2\n", r"line 2"),
    "nan": ("1 1\nnan 2\n", r"line 2"),
    "infinite": ("1 1\n2 2\n1e999 3\n", r"line 3: point 1, number 1 .*inf"),
    "huge": ("1 1\n2 2\n3 1000003\n", r"line 3: .*within 1e\+06 px"),
    "underscore": ("1_0 1\n", r"line 1"),
    "many declared": ("n_points: 99999999999999999999\n{\n1 1\n}\n", r"line 1: n_points is '9+'"),
    "negative count": ("n_points: -3\n{\n1 1\n}\n", r"line 1: n_points is '-3'"),
    "two counts": ("n_points: 1\nn_points: 1\n{\n1 1\n}\n", r"line 2: a second n_points"),
    "two faces": ("n_points: 1\n{\n1 1\n}\nn_points: 1\n{\n2 2\n}\n", r"line 5: 'n_points: 1' follows"),
    "words": ("1 1\nchin here\n", r"line 2: 'chin here' is no point"),
    "not utf-8": (b"1 1\n2 2\n\xff 3\n", r"line 3: byte 0xff is no UTF-8"),
    "long line": ("1 1\n" + "1 " * 40_000, r"line 2: 80000 characters"),
    "large": ("1 1\n" * 300_000, r"1200000 bytes"),
}


@pytest.mark.parametrize(("content", "message"), BAD_PTS.values(), ids=BAD_PTS)
def test_mistakes_in_pts_are_named(tmp_path: Path, content: bytes | str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_pts(written(tmp_path, content, "face 1.pts"))
    assert "face 1.pts" in str(caught.value)


def test_pts_with_another_count_than_the_scheme_has(tmp_path: Path) -> None:
    path = written(tmp_path, pts(THREE, header=False))
    with pytest.raises(DataError, match=r"line 3: 3 points end here, 68 are needed"):
        read_pts(path, 68)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.pts"):
        with pytest.raises(DataError, match="does not exist or is no file"):
            read_pts(path)


@pytest.mark.skipif(not MINI_300W.is_dir(), reason=f"no real 300-W examples at {MINI_300W.name}")
def test_real_pts_of_both_kinds_are_faces() -> None:
    """Headerless files are 1-based copies of the same annotations: eyes lie as far apart, against the face, in both."""
    widths: dict[bool, list[float]] = {True: [], False: []}
    for path in sorted(MINI_300W.rglob("*.pts")):
        face = read_pts(path, 68)
        jaw = np.linalg.norm(face[0] - face[16])
        widths[b"version" in path.read_bytes()].append(float(IBUG68.distance(INTER_OCULAR, face) / jaw))
        assert face[36, 0] < face[45, 0], path  # the eye left in the picture comes first
        assert face[8, 1] > face[27, 1], path  # the chin is below the bridge of the nose
    assert min(map(len, widths.values())) >= 10
    assert sum(map(len, widths.values())) == 50
    means = {kind: np.mean(found) for kind, found in widths.items()}
    assert 0.5 < means[True] < 0.9
    assert abs(means[True] - means[False]) < 0.06


LAYOUTS = {(True, True): 207, (False, True): 203, (True, False): 201, (False, False): 197}


@pytest.mark.parametrize(("box", "flags"), LAYOUTS)
@pytest.mark.parametrize(
    "image",
    [
        "12--Group/12_Group_1.jpg",
        "dir with spaces/a b  c.jpg",
        "2024.jpg",
        "7 people/12 of 13.JPG",
        "1 2 3.jpg",
        "顔/ü.png",
    ],
)
def test_wflw_line_in_every_layout(tmp_path: Path, box: bool, flags: bool, image: str) -> None:
    line = wflw_line(image, seed=3, box=box, flags=flags)
    if " " not in image:
        assert len(line.split()) == LAYOUTS[box, flags]
    (row,) = read_wflw_list(written(tmp_path, f"\n{line}\r\n")).rows
    assert (row.line, row.image) == (2, image)
    np.testing.assert_allclose(row.landmarks, points(98, seed=3), atol=1e-6)
    assert (row.landmarks < 0).any()
    assert (None if row.box is None else row.box.tolist()) == ([20, 30, 120, 140] if box else None)
    named = None if row.flags is None else {n for n, on in zip(FLAGS, row.flags, strict=True) if on}
    assert named == ({"pose", "blur"} if flags else None)


def test_faces_of_one_photograph_keep_their_lines(tmp_path: Path) -> None:
    text = "\n".join([wflw_line("a.jpg", 0), "", wflw_line("b.jpg", 1), wflw_line("a.jpg", 2)])
    rows = read_wflw_list(written(tmp_path, text)).rows
    assert [(row.line, row.image) for row in rows] == [(1, "a.jpg"), (3, "b.jpg"), (4, "a.jpg")]


def changed(column: int, *tokens: str, box: bool = True, flags: bool = True) -> str:
    """A second line with one token exchanged for others; column from 0."""
    line = wflw_line("a.jpg", box=box, flags=flags).split(" ")
    return "\n".join([wflw_line("a.jpg"), " ".join([*line[:column], *tokens, *line[column + 1 :]])])


BAD_WFLW = {
    "coordinate missing": (changed(5), r"line 2: 205 numbers before the path .*196, 200, 202, 206"),
    "coordinate too many": (changed(5, "1.5", "2.5"), r"line 2: 207 numbers"),
    "plain, coordinate missing": (changed(5, box=False, flags=False), r"line 2: 195 numbers"),
    "plain, coordinate too many": (changed(5, "1.5", "2.5", box=False, flags=False), r"line 2: 197 numbers"),
    "flags, coordinate missing": (changed(5, box=False), r"line 2: 201 numbers"),
    "flags, coordinate too many": (changed(5, "1.5", "2.5", box=False), r"line 2: 203 numbers"),
    "nan": (changed(5, "nan"), r"line 2: 5 numbers"),
    "infinite": (changed(5, "1e999"), r"line 2: point 3, number 2 .*inf"),
    "huge": (changed(6, "-1e7"), r"line 2: point 4, number 1"),
    "flag of 2": (changed(201, "2"), r"line 2: the flags .*\[1.0, 2.0, 0.0"),
    "no path": (changed(206), r"line 2: '' after 206 numbers is no path"),
    "control character": (changed(206, "a\x00b.jpg"), r"line 2: 'a\\x00b.jpg' after"),
    "not utf-8": (changed(206, "\udcff.jpg"), r"line 2: byte 0xff is no UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), BAD_WFLW.values(), ids=BAD_WFLW)
def test_a_damaged_line_of_a_wflw_list_costs_that_line(tmp_path: Path, text: str, message: str) -> None:
    content = (text + "\n" + wflw_line("c.jpg", seed=2)).encode(errors="surrogateescape")
    found = read_wflw_list(written(tmp_path, content, "list_98pt.txt"))
    assert [(row.line, row.image) for row in found.rows] == [(1, "a.jpg"), (3, "c.jpg")]
    ((where, reason),) = found.unusable
    assert re.search(f"list_98pt.txt, {message}", f"{where}: {reason}")


def test_a_box_without_width_is_handed_on(tmp_path: Path) -> None:
    found = read_wflw_list(written(tmp_path, changed(198, "20")))
    assert found.rows[1].box.tolist() == [20, 30, 20, 140]
    assert found.unusable == ()


NO_WFLW = {
    "empty": ("", r"line 1"),
    "blank": ("\n\n", r"line 1: the list has no faces"),
    "words": ("hello\n\nworld", r"line 1: 0 numbers .*2 like this, no usable one"),
}


@pytest.mark.parametrize(("text", "message"), NO_WFLW.values(), ids=NO_WFLW)
def test_a_list_without_a_usable_line_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"list_98pt.txt.*{message}"):
        read_wflw_list(written(tmp_path, text, "list_98pt.txt"))


@pytest.mark.skipif(not MINI_WFLW.is_dir(), reason=f"no real WFLW lists at {MINI_WFLW.name}")
def test_real_wflw_lists() -> None:
    lists = {path.stem: read_wflw_list(path).rows for path in MINI_WFLW.rglob("*.txt")}
    counts = {name.removeprefix("list_98pt_"): len(rows) for name, rows in lists.items()}
    assert counts == {
        "rect_attr_with_images206": 206, "attr_union1966": 1966, "test_largepose": 326, "test_expression": 314,
        "test_illumination": 698, "test_makeup": 206, "test_occlusion": 736, "test_blur": 773,
    }  # fmt: skip
    boxed = lists["list_98pt_rect_attr_with_images206"]
    assert len({row.image for row in boxed}) == 175
    for row in boxed:
        assert row.box is not None
        assert (row.landmarks.min(axis=0) >= row.box[:2] - 1.5).all()
        assert (row.landmarks.max(axis=0) <= row.box[2:] + 1.5).all()
        assert (MINI_WFLW / "WFLW_images" / row.image).is_file()
    for name, flag in zip(("largepose", *FLAGS[1:]), FLAGS, strict=True):
        union = [row for row in lists["list_98pt_attr_union1966"] if row.flags is not None]
        assert len(union) == 1966
        assert sum(row.flags[FLAGS.index(flag)] for row in union) == counts[f"test_{name}"]


@pytest.mark.parametrize(
    ("line", "cell", "value", "message"),
    [
        (0, 4, f"x{'9' * 5000}", r"annotations\.csv has no column x1"),
        (0, 4, "x\u0661", r"annotations\.csv has no column x1"),
        (1, 2, "2e6", r"annotations\.csv, line 2, column x0: '2e6' is no finite number within 1e\+06"),
    ],
    ids=["number of 5000 digits", "digit of another script", "far away"],
)
def test_annotations_csv_beyond_reason(tmp_path: Path, line: int, cell: int, value: str, message: str) -> None:
    rows = [text.split(",") for text in annotation_frame(2).to_csv(index=False).splitlines()]
    rows[line][cell] = value
    with pytest.raises(DataError, match=message):
        read_annotations(written(tmp_path, "\n".join(map(",".join, rows)), "annotations.csv"), QUAD)


DAMAGED_ROWS: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "nan": (lambda cells: [*cells[:2], "nan", *cells[3:]], r"line 3, column x0: 'nan' is no finite number"),
    "a cell too many": (lambda cells: [*cells, "9"], r"line 3: 11 cells, the header has 10"),
    "a cell missing": (lambda cells: cells[:-1], r"line 3, column y3: '' is no finite number"),
    "an open quote": (lambda cells: [f'"{cells[0]}', *cells[1:]], r"line 3: unexpected end of data"),
    "no encoding": (lambda cells: [*cells[:-1], "\udc81"], r"line 3: byte 0x81 is neither UTF-8 nor Windows-1252"),
    "flat": (lambda cells: [*cells[:2], *["1"] * 8], r"line 3: the landmarks span 0 x 0 px; width and height must be"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGED_ROWS.values(), ids=DAMAGED_ROWS)
def test_a_damaged_row_of_a_csv_costs_that_row(
    tmp_path: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    rows = [text.split(",") for text in annotation_frame(4).assign(image="a.png").to_csv(index=False).splitlines()]
    expected = read_annotations(written(tmp_path, "\n".join(map(",".join, rows)), "annotations.csv"), QUAD)
    rows[2] = change(rows[2])
    content = "\n".join(map(",".join, rows)).encode(errors="surrogateescape")
    path = written(tmp_path, content, "annotations.csv")
    unusable: list[Unusable] = []
    found = read_annotations(path, QUAD, report=unusable)
    assert found.lines.tolist() == [2, 4, 5]
    np.testing.assert_array_equal(found.landmarks, expected.landmarks[[0, 2, 3]])
    ((where, reason),) = unusable
    assert re.search(f"annotations.csv, {message}", f"{where}: {reason}")
    with pytest.raises(DataError, match=r"line 3"):
        read_annotations(path, QUAD)


def test_rows_of_one_image_and_boxes_that_are_none(tmp_path: Path) -> None:
    frame = annotation_frame(4).assign(
        image=["a", "a", "a", "b"], box_x0=1, box_y0=2, box_x1=[40, 1, "x", 40], box_y1=9
    )
    frame.loc[0, "x0"] = np.inf
    unusable: list[Unusable] = []
    path = written(tmp_path, frame.to_csv(index=False), "annotations.csv")
    found = read_annotations(path, QUAD, report=unusable)
    assert [where.rpartition("annotations.csv, ")[2] for where, _ in unusable] == ["line 2, column x0"]
    assert found.ids.tolist() == ["a#2", "a#3", "b"]
    np.testing.assert_array_equal(found.boxes, [[1, 2, 1, 9], [1, 2, np.nan, 9], [1, 2, 40, 9]])
    everything = written(tmp_path, frame.head(1).to_csv(index=False), "annotations.csv")
    with pytest.raises(DataError, match=r"annotations\.csv, line 2, column x0: 'inf' is no finite number"):
        read_annotations(everything, QUAD, report=[])
