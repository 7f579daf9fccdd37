"""MATLAB files of version 5: our reader agrees with scipy on whole files, and damage is an error with their name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from facegraph.data.formats.cofw import read_cofw68_boxes, read_cofw68_points
from facegraph.data.formats.ibug_boxes import read_ibug_boxes
from facegraph.data.formats.lp300w import read_300wlp, read_300wlp_points
from facegraph.data.formats.matlab import MAX_BYTES, read_variables
from facegraph.errors import DataError
from tests.data.formats import samples
from tests.data.formats.samples import mat, points


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file.mat"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    "array",
    [
        *[np.arange(-3, 3).reshape(2, 3).astype(kind) for kind in ("i1", "i2", "i4", "i8", "f4", "f8")],
        *[np.arange(24).reshape(2, 3, 4).astype(kind) for kind in ("u1", "u2", "u4", "u8")],
        np.array([[True, False, True]]), np.zeros((0, 0)), np.array([[1.5]]), np.array([[np.nan, np.inf]]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)  # fmt: skip
def test_arrays_as_scipy_reads_them(tmp_path: Path, array: np.ndarray, compress: bool) -> None:
    content = mat(compress, other=np.ones(3), value=array)
    found = read_variables(written(tmp_path, content), ("value", "absent"))
    assert list(found) == ["value"]
    np.testing.assert_array_equal(found["value"], scipy.io.loadmat(io.BytesIO(content))["value"])


def test_texts_cells_and_structs(tmp_path: Path) -> None:
    cells = np.empty((2, 2), dtype=object)
    cells[:] = [["a", "späť 顔"], [{"x": 1.0, "name": "n"}, np.array([[1, 2]])]]
    found = read_variables(written(tmp_path, mat(True, cells=cells, z=1 + 2j)), ("cells", "z"))
    assert found["z"] is None  # complex: not a number of ours
    first, below, second, last = found["cells"]  # by columns
    assert (first, second) == ("a", "späť 顔")
    assert below == [{"x": np.array([[1.0]]), "name": "n"}]
    np.testing.assert_array_equal(last, [[1, 2]])


def test_the_other_byte_order(tmp_path: Path) -> None:
    """Files of MATLAB on a big-endian machine: every tag and number the other way round, a small part among them."""

    def part(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    small_name = struct.pack(">HH", 2, 1) + b"ab\0\0"
    body = part(6, struct.pack(">II", 6, 0)) + part(5, struct.pack(">ii", 1, 3)) + small_name
    content = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + part(14, body + part(3, struct.pack(">hhh", 1, -2, 300)))
    np.testing.assert_array_equal(read_variables(written(tmp_path, content), ("ab",))["ab"], [[1, -2, 300]])
    np.testing.assert_array_equal(scipy.io.loadmat(io.BytesIO(content))["ab"], [[1, -2, 300]])


HEADER = mat()[:128]


def _bomb() -> bytes:
    packed = zlib.compress(bytes(2 * MAX_BYTES), 9)
    return HEADER + struct.pack("<II", 15, len(packed)) + packed


def _patched(at: int, value: int) -> bytes:
    """A plain file with one 4-byte number exchanged; the variable begins at 128, its shape at 160, its data at 184."""
    content = bytearray(mat(False, value=np.ones((2, 2))))
    struct.pack_into("<I", content, at, value)
    return bytes(content)


DAMAGED = {
    "empty": (b"", "empty"),
    "text": (b"hello" * 100, "no MATLAB file of version 5"),
    "header cut": (HEADER[:100], "no MATLAB file of version 5"),
    "version 7.3": (samples.cofw(), "version code 2.*HDF5"),
    "cut short": (mat(value=np.random.default_rng(0).normal(size=(9, 9)))[:-30], "a part of"),
    "unpacks to too much": (_bomb(), "unpacks to more than"),
    "size of 4 GB": (_patched(132, 2**32 - 8), "a part of 4294967288 bytes"),
    "negative shape": (_patched(160, 2**32 - 1), r"a shape of \(-1, 2\)"),
    "shape of 2 billion": (_patched(160, 2**31 - 1), r"an array of shape \(2147483647, 2\) in 32 bytes"),
    "type of the data": (_patched(184, 99), "data of types"),
    "twice": (mat(value=np.ones(2)) + mat(value=np.ones(2))[128:], "variable value twice"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_variables(written(tmp_path, content), ("value",))
    assert "file.mat" in str(caught.value)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    value: object = 1.0
    for _ in range(12):
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = value
        value = cell
    with pytest.raises(DataError, match="more than 8 levels deep"):
        read_variables(written(tmp_path, mat(value=value)), ("value",))


def test_a_flipped_bit_in_a_compressed_part_is_noticed(tmp_path: Path) -> None:
    """zlib's checksum stands for the whole variable: no bit of it can change a landmark in silence."""
    content = samples.lp_points()
    for place in range(200, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 4
        with pytest.raises(DataError):
            read_300wlp_points(written(tmp_path, bytes(damaged)))


@pytest.mark.parametrize("compress", [True, False])
def test_300wlp(tmp_path: Path, compress: bool) -> None:
    face = read_300wlp(written(tmp_path, samples.lp_face(compress)))
    np.testing.assert_allclose(face.landmarks, points(68))
    assert (face.pitch, face.yaw, face.roll) == pytest.approx((10, -45, 5), abs=1e-5)
    path = written(tmp_path, samples.lp_points(compress))
    np.testing.assert_allclose(read_300wlp_points(path), points(68))
    np.testing.assert_allclose(read_300wlp_points(path, "pts_3d"), points(68, seed=1))


def test_300wlp_takes_points_lying_and_standing(tmp_path: Path) -> None:
    pose = np.zeros((1, 7))
    for stored in (points(68) + 1, (points(68) + 1).T):
        face = read_300wlp(written(tmp_path, mat(pt2d=stored, Pose_Para=pose)))
        np.testing.assert_allclose(face.landmarks, points(68))


SQUARE = np.ones((68, 2))
BAD_LP = {
    "no points": ({"Pose_Para": np.zeros(7)}, "no variable pt2d"),
    "no pose": ({"pt2d": SQUARE}, "no variable Pose_Para"),
    "67 points": ({"pt2d": SQUARE[1:], "Pose_Para": np.zeros(7)}, r"variable pt2d: shape \(67, 2\)"),
    "nan": ({"pt2d": SQUARE * np.nan, "Pose_Para": np.zeros(7)}, "variable pt2d: point 1"),
    "huge": ({"pt2d": SQUARE * 2e6, "Pose_Para": np.zeros(7)}, "variable pt2d: point 1"),
    "text": ({"pt2d": "here", "Pose_Para": np.zeros(7)}, "variable pt2d is no array of real numbers but str"),
    "two angles": ({"pt2d": SQUARE, "Pose_Para": np.zeros(2)}, "Pose_Para: 2 numbers"),
    "angle of nan": ({"pt2d": SQUARE, "Pose_Para": np.full(7, np.nan)}, "Pose_Para: pitch, yaw and roll"),
    "angle in degrees": ({"pt2d": SQUARE, "Pose_Para": np.full(7, 45.0)}, "2578.31 degrees"),
}


@pytest.mark.parametrize(("variables", "message"), BAD_LP.values(), ids=BAD_LP)
def test_mistakes_in_300wlp_are_named(tmp_path: Path, variables: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_300wlp(written(tmp_path, mat(**variables)))
    assert "file.mat" in str(caught.value)


def test_cofw68(tmp_path: Path) -> None:
    landmarks, hidden = read_cofw68_points(written(tmp_path, samples.cofw68_points()))
    np.testing.assert_allclose(landmarks, points(68))
    assert hidden.tolist() == [True] * 4 + [False] * 64
    boxes = read_cofw68_boxes(written(tmp_path, samples.cofw68_boxes()))
    np.testing.assert_array_equal(boxes, [[10, 20, 40, 60], [0, 0, 5, 6]])


@pytest.mark.parametrize(
    ("occ", "message"), [(np.full(68, 2), "values .2.0."), (np.zeros(67), r"\(1, 67\)")], ids=["values", "count"]
)
def test_flags_of_cofw68_are_checked(tmp_path: Path, occ: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=f"variable Occ: .*{message}"):
        read_cofw68_points(written(tmp_path, mat(Points=SQUARE, Occ=occ)))


def test_boxes_of_cofw68_are_handed_on_as_written(tmp_path: Path) -> None:
    boxes = read_cofw68_boxes(written(tmp_path, mat(bboxes=np.array([[1, 1, 4, 4], [1, 1, 0, 4], [np.nan, 1, 2, 3]]))))
    np.testing.assert_array_equal(boxes, [[0, 0, 4, 4], [0, 0, 0, 4], [np.nan, 0, np.nan, 3]])


@pytest.mark.parametrize("compress", [True, False])
def test_ibug_boxes(tmp_path: Path, compress: bool) -> None:
    boxes = read_ibug_boxes(written(tmp_path, samples.ibug_boxes(compress))).boxes
    assert {name: box.tolist() for name, box in boxes.items()} == {
        "image_0001.png": [10, 20, 110, 120],
        "image_092 _01.jpg": [11, 20, 110, 120],
    }


def test_mistakes_in_ibug_boxes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no variable bounding_boxes"):
        read_ibug_boxes(written(tmp_path, mat(boxes=np.ones(4))))
    found = read_ibug_boxes(written(tmp_path, samples.ibug_boxes(names=("a.jpg", "a.jpg"))))
    assert found.boxes["a.jpg"].tolist() == [10, 20, 110, 120]
    ((where, reason),) = found.unusable
    assert where.endswith("entry 2")
    assert "a second, different box" in reason


def test_entries_of_ibug_boxes_are_judged_one_by_one(tmp_path: Path) -> None:
    entries = [
        {"imgName": "a.jpg", "bb_detector": np.array([[5.0, 5.0, 5.0, 9.0]])},
        {"imgName": "b.jpg", "bb_detector": np.ones(3)},
        {"imgName": "c.jpg", "bb_detector": "here"},
        {"imgName": "d.jpg", "bb_detector": np.array([[1.0, np.nan, 5.0, 9.0]])},
    ]
    cells = np.empty((1, 4), dtype=object)
    cells[0] = entries
    found = read_ibug_boxes(written(tmp_path, mat(bounding_boxes=cells)))
    assert list(found.boxes) == ["a.jpg", "d.jpg"]
    np.testing.assert_array_equal(found.boxes["a.jpg"], [4, 4, 4, 8])
    assert [where.rpartition(", ")[2] for where, _ in found.unusable] == ["entry 2", "entry 3"]
    assert found.unusable[1].reason.startswith("bb_detector is no array of real numbers but str")

    path = written(tmp_path, mat(bounding_boxes=cells[:, 1:3]))
    with pytest.raises(DataError, match=r"entry 1: bb_detector has shape .*2 like this"):
        read_ibug_boxes(path)
