"""Any bytes at all: each reader gives samples of the right shape with finite points, and names what it left out; or it
raises a DataError naming the file.

200 cases for each reader, 2,000 in the slow suite: random bytes, whole files cut short, with bytes flipped or replaced,
with words that look like numbers and are none, arrays of wrong shapes and with NaN, infinite and huge values.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facegraph.data.annotations import read_annotations
from facegraph.data.formats.coco import read_coco
from facegraph.data.formats.cofw import CofwImage, read_cofw, read_cofw68_boxes, read_cofw68_points
from facegraph.data.formats.files import Unusable
from facegraph.data.formats.ibug_boxes import read_ibug_boxes
from facegraph.data.formats.lp300w import read_300wlp, read_300wlp_points
from facegraph.data.formats.pts import read_pts
from facegraph.data.formats.wflw import read_wflw_list
from facegraph.errors import DataError
from tests.data.formats import samples
from tests.helpers.faces import QUAD, annotation_frame

pytestmark = pytest.mark.fuzz
CASES = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
HOSTILE = (
    "nan", "-inf", "1e999", "-1e999", "9" * 400, "1_0", "0x10", "١٢", "", "\0", "{", "}", ",", '"', "\r\n", "\n\n",
    "\ufeff", "\u2028", "-1000002", "ümläut 顔.jpg", "n_points: 999999999999", "n_points: -1", "# x", "12", "0.5",
)  # fmt: skip
NUMBERS = st.one_of(
    st.floats(-300, 300), st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e7, 0.0, 1.0]), st.floats(width=32)
)


def damaged(*whole: bytes) -> st.SearchStrategy[bytes]:
    """Whole files with up to six pieces replaced, inserted or removed, perhaps cut short; and random bytes."""
    edits = st.lists(st.tuples(st.floats(0, 1), st.sampled_from((0, 0, 0, 1, 4)), st.binary(max_size=4)), max_size=6)
    cut = st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1))
    chosen = st.integers(0, len(whole) - 1).map(lambda i: whole[i])  # sampled_from would print all of them
    return st.one_of(
        st.builds(_edited, chosen, edits, cut), st.builds(_edited, chosen, edits, cut), st.binary(max_size=300)
    )


def _edited(content: bytes, edits: list[tuple[float, int, bytes]], cut: float) -> bytes:
    for place, grown, piece in edits:
        start = int(place * len(content))
        # As long as what it replaces, so that a binary file keeps its structure; else longer or shorter by `grown`.
        content = content[:start] + piece + content[start + max(0, len(piece) - grown) :]
    return content[: int(cut * len(content))]


def damaged_text(*whole: bytes) -> st.SearchStrategy[bytes]:
    """damaged(), and words exchanged for ones that a parser may stumble over, with any ends of lines."""
    words = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(HOSTILE)), max_size=3)
    return st.one_of(damaged(*whole), st.builds(_reworded, st.sampled_from(whole), words, st.booleans()))


def _reworded(content: bytes, words: list[tuple[float, str]], windows: bool) -> bytes:
    pieces = re.split(r"(\s+|,)", content.decode())
    for place, word in words:
        pieces[int(place * (len(pieces) - 1))] = word
    text = "".join(pieces)
    return (text.replace("\n", "\r\n") if windows else text).encode()


def arrays(*shapes: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    """Float arrays of one of the shapes, ordinary but for a few numbers."""
    return st.builds(_array, st.sampled_from(shapes), st.lists(st.tuples(st.integers(0, 10_000), NUMBERS), max_size=3))


def _array(shape: tuple[int, ...], odd: list[tuple[int, float]]) -> np.ndarray:
    values = np.linspace(1, 200, int(np.prod(shape)))
    for place, number in odd:
        if values.size:
            values[place % values.size] = number
    return values.reshape(shape)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where the system has such a place: 20,000 files are written."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() and os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def attempt(path: Path, read: Callable[[], Any], line: bool = False) -> Any:
    """What the reader gave, or None where it raised a DataError that says what it should."""
    try:
        return read()
    except DataError as error:
        message = str(error)
    assert path.name in message
    assert not line or re.search(r"line \d+\b", message), message
    assert len(message) < 1000
    return None


def outcome(path: Path, content: bytes, read: Callable[[Path], Any], line: bool = False) -> Any:
    path.unlink(missing_ok=True)  # HDF5 takes a file that is written over in place for the one it had open
    path.write_bytes(content)
    return attempt(path, lambda: read(path), line)


def check_points(points: np.ndarray, *shape: int, some_missing: bool = False) -> None:
    assert points.shape == shape
    assert points.dtype == np.float64
    there = ~np.isnan(points).all(axis=-1)
    assert some_missing or there.all()
    assert (np.abs(points[there]) <= 1e6 + 1).all()


def check_box(box: np.ndarray) -> None:
    """Boxes are handed on as written, to be judged later."""
    assert box.shape == (4,)
    assert box.dtype == np.float64


def check_unusable(path: Path, unusable: Iterable[Unusable], place: str) -> None:
    """Each is told once, by file and place."""
    told = [f"{where}: {reason}" for where, reason in unusable]
    assert len({where for where, _ in unusable}) == len(told)
    for message in told:
        assert re.search(rf"{re.escape(path.name)}, .*{place} \d+", message), message
        assert message.count(str(path)) == 1
        assert len(message) < 1000


PTS = samples.points(5)


@CASES
@given(damaged_text(samples.pts(PTS), samples.pts(PTS, header=False)))
def test_pts(folder: Path, content: bytes) -> None:
    points = outcome(folder / "face ü.pts", content, read_pts, line=True)
    if points is not None:
        check_points(points, len(points), 2)
        counted = outcome(folder / "face ü.pts", content, lambda path: read_pts(path, 5), line=True)
        assert (counted is not None) == (len(points) == 5)


LINES = "\n".join([samples.wflw_line("0--A/1_A_1.jpg"), samples.wflw_line("12 people/ü 2.jpg", seed=1)]).encode()
PLAIN = samples.wflw_line("0--A/1_A_1.jpg", box=False, flags=False).encode()


@CASES
@given(damaged_text(LINES, PLAIN))
def test_wflw(folder: Path, content: bytes) -> None:
    path = folder / "list.txt"
    found = outcome(path, content, read_wflw_list, line=True)
    if found is None:
        return
    assert found.rows
    check_unusable(path, found.unusable, "line")
    for row in found.rows:
        check_points(row.landmarks, 98, 2)
        assert row.image
        assert row.box is None or check_box(row.box) is None
        assert row.flags is None or (row.flags.shape == (6,) and row.flags.dtype == bool)


LP = st.one_of(
    damaged(samples.lp_face(), samples.lp_face(compress=False)),
    damaged(samples.lp_face(), samples.lp_face(compress=False)),
    st.builds(
        lambda points, pose: samples.mat(pt2d=points, Pose_Para=pose),
        arrays((2, 68), (68, 2), (3, 68), (0, 0)),
        arrays((1, 7), (1, 7), (3,), (1, 2)).map(lambda pose: pose / 100),
    ),
)


@CASES
@given(LP)
def test_300wlp(folder: Path, content: bytes) -> None:
    face = outcome(folder / "face.mat", content, read_300wlp)
    if face is not None:
        check_points(face.landmarks, 68, 2)
        assert np.abs([face.pitch, face.yaw, face.roll]).max() <= 360


@CASES
@given(damaged(samples.lp_points(), samples.lp_points(compress=False)))
def test_300wlp_points(folder: Path, content: bytes) -> None:
    points = outcome(folder / "face_pts.mat", content, read_300wlp_points)
    if points is not None:
        check_points(points, 68, 2)


OCC = st.one_of(
    damaged(samples.cofw68_points(), samples.cofw68_points(compress=False)),
    st.builds(
        lambda points, flags: samples.mat(Points=points, Occ=flags),
        arrays((68, 2), (68, 2), (2, 68), (67, 2)),
        st.sampled_from([np.zeros((68, 1)), np.ones((1, 68), dtype=bool), np.zeros(67), np.full((68, 1), 2), "text"]),
    ),
)


@CASES
@given(OCC)
def test_cofw68_points(folder: Path, content: bytes) -> None:
    found = outcome(folder / "7_points.mat", content, read_cofw68_points)
    if found is not None:
        check_points(found[0], 68, 2)
        assert found[1].shape == (68,)
        assert found[1].dtype == bool


@CASES
@given(
    damaged(samples.cofw68_boxes(), samples.cofw68_boxes(compress=False))
    | arrays((3, 4)).map(lambda boxes: samples.mat(bboxes=boxes))
)
def test_cofw68_boxes(folder: Path, content: bytes) -> None:
    boxes = outcome(folder / "bboxes.mat", content, read_cofw68_boxes)
    for box in () if boxes is None else boxes:
        check_box(box)


@CASES
@given(damaged(samples.ibug_boxes(), samples.ibug_boxes(compress=False)))
def test_ibug_boxes(folder: Path, content: bytes) -> None:
    path = folder / "bounding_boxes.mat"
    found = outcome(path, content, read_ibug_boxes)
    if found is None:
        return
    check_unusable(path, found.unusable, "entry")
    for name, box in found.boxes.items():
        assert name
        check_box(box)


COFW = st.one_of(
    *[damaged(samples.cofw(), samples.cofw("T", packed=False))] * 7,
    st.builds(lambda phis: samples.cofw(phis=phis), arrays((2, 87), (2, 86), (1, 87))),
)


@CASES
@given(COFW)
def test_cofw(folder: Path, content: bytes) -> None:
    path = folder / "COFW.mat"
    found = outcome(path, content, read_cofw)
    if found is None:
        return
    count = len(found.landmarks)
    check_unusable(path, found.unusable.values(), "face")
    usable = [i for i in range(count) if i not in found.unusable]
    assert usable
    check_points(found.landmarks[usable], len(usable), 29, 2)
    assert found.hidden.shape == (count, 29)
    for index, box in enumerate(found.boxes):
        check_box(box)
        image = attempt(path, CofwImage(path, found.split, index, f"{index}").read)
        if image is not None:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.text(max_size=5), NUMBERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "keypoints", "x"]), inner),
    max_leaves=4,
)


def _exchanged(places: list[tuple[list[int], object]]) -> bytes:
    """The sample with values anywhere in it exchanged for others."""
    whole = samples.coco()
    for steps, value in places:
        holder: object = whole
        for step in steps:
            if not isinstance(holder, dict | list) or not holder:
                break
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            key = keys[step % len(keys)]
            if step == steps[-1] or not isinstance(holder[key], dict | list):
                holder[key] = value
                break
            holder = holder[key]
    return json.dumps(whole).encode()


EXCHANGED = st.builds(
    _exchanged, st.lists(st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=4), JSON), max_size=3)
)


@CASES
@given(damaged_text(samples.coco_bytes()) | EXCHANGED)
def test_coco(folder: Path, content: bytes) -> None:
    path = folder / "faces.json"
    found = outcome(path, content, read_coco)
    if found is None:
        return
    counts = {len(face.landmarks) for face in found.faces}
    assert len(counts) <= 1
    for face in found.faces:
        check_points(face.landmarks, len(face.landmarks), 2, some_missing=True)
        assert face.box is None or check_box(face.box) is None
        assert path.name in face.where
    check_unusable(path, found.unusable, "(annotation|entry)")


CSV = annotation_frame(3).to_csv(index=False).encode()
WITH_BOXES = (
    annotation_frame(3).assign(box_x0=1, box_y0=2, box_x1=40, box_y1=50, dark=[0, 1, 0]).to_csv(index=False).encode()
)


@CASES
@given(damaged_text(CSV, WITH_BOXES))
def test_annotations_csv(folder: Path, content: bytes) -> None:
    path = folder / "annotations.csv"
    unusable: list[Unusable] = []
    found = outcome(path, content, lambda path: read_annotations(path, QUAD, report=unusable))
    if found is None:
        return
    count = len(found.lines)
    check_unusable(path, unusable, "line")
    check_points(found.landmarks, count, 4, 2, some_missing=True)
    assert not (np.ptp(found.landmarks, axis=1) <= 0).any()
    assert found.boxes.shape == (count, 4)
    assert len(set(found.ids)) == count == len(found.splits) == len(found.photos) > 0
    strict = None if unusable else attempt(path, lambda: read_annotations(path, QUAD))  # it stops at the first of them
    if strict is not None:
        assert not (np.abs(strict.boxes) > 1e6).any()
        for name in ("landmarks", "boxes", "lines", "ids"):
            np.testing.assert_array_equal(getattr(found, name), getattr(strict, name))
