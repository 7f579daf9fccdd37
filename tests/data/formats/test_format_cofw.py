"""COFW in MATLAB 7.3: axes, offsets, colour and grey, and handles that survive processes and new files."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from facegraph.data.formats.cofw import CofwImage, read_cofw
from facegraph.errors import DataError
from tests.data.formats import samples
from tests.data.formats.samples import NUM_COFW


def written(folder: Path, content: bytes, name: str = "COFW.mat") -> Path:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("suffix", "split"), [("Tr", "train"), ("T", "test")])
@pytest.mark.parametrize("packed", [True, False])
def test_annotations(tmp_path: Path, suffix: str, split: str, packed: bool) -> None:
    found = read_cofw(written(tmp_path, samples.cofw(suffix, packed)))
    assert found.split == split
    np.testing.assert_allclose(found.landmarks, samples.cofw_landmarks())
    np.testing.assert_array_equal(found.hidden, np.eye(NUM_COFW, 29, dtype=bool))
    np.testing.assert_array_equal(found.boxes, [[10 + i, 20, 40 + i, 60] for i in range(NUM_COFW)])


def test_pictures_are_as_matlab_shows_them(tmp_path: Path) -> None:
    path = written(tmp_path, samples.cofw())
    for index, picture in enumerate(samples.cofw_pictures()):
        image = pickle.loads(pickle.dumps(CofwImage(path, "train", index, f"{index}"))).read()
        expected = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        np.testing.assert_array_equal(image, expected)


def _mean(image: CofwImage) -> float:
    return float(image.read().mean())


def test_a_handle_does_not_pass_a_fork(tmp_path: Path) -> None:
    image = CofwImage(written(tmp_path, samples.cofw()), "train", 0, "0")
    here = _mean(image)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_mean, [image] * 6) == [here] * 6
    assert _mean(image) == here


def test_a_new_file_is_read_anew(tmp_path: Path) -> None:
    path = written(tmp_path, samples.cofw())
    image = CofwImage(path, "train", 0, "0")
    before = image.read()
    path.write_bytes(samples.cofw(packed=False))  # in place, the same inode; the same pictures elsewhere in the file
    np.testing.assert_array_equal(image.read(), before)
    path.unlink()
    with pytest.raises(DataError, match=r"COFW\.mat cannot be opened"):
        image.read()


def test_the_source_is_not_changed(tmp_path: Path) -> None:
    path = written(tmp_path, samples.cofw())
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    read_cofw(path)
    CofwImage(path, "train", 1, "1").read()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def _phis(row: int, column: int, value: float) -> np.ndarray:
    phis = np.zeros((NUM_COFW, 87))
    phis[row, column] = value
    return phis


BAD = {
    "text": (b"hello", "no readable HDF5 file of 5 bytes"),
    "cut short": (samples.cofw()[:3000], "no readable HDF5 file"),
    "nothing but nan": (
        samples.cofw(phis=np.full((NUM_COFW, 87), np.nan)),
        "phisTr, face 1: number 1 is nan.*2 like this",
    ),
    "columns": (samples.cofw(phis=np.zeros((NUM_COFW, 86))), r"variable phisTr: shape \(86, 2\); \(87, faces\)"),
    "faces": (samples.cofw(phis=np.zeros((5, 87))), "5 faces, 2 boxes, 2 images"),
    "complex": (samples.cofw(phis=np.zeros((NUM_COFW, 87), dtype=complex)), "variable phisTr: type complex128"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_mistakes_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_cofw(written(tmp_path, content))
    assert "COFW.mat" in str(caught.value)


@pytest.mark.parametrize(
    ("face", "column", "value", "reason"),
    [
        (1, 5, np.nan, "number 6 is nan"),
        (0, 30, -1e9, "number 31 is -1e"),
        (1, 60, 0.5, "landmark 3 has occlusion flag 0.5"),
    ],
)
def test_a_damaged_face_leaves_the_others(tmp_path: Path, face: int, column: int, value: float, reason: str) -> None:
    found = read_cofw(written(tmp_path, samples.cofw(phis=_phis(face, column, value))))
    assert list(found.unusable) == [face]
    assert found.unusable[face].where.endswith(f"COFW.mat, variable phisTr, face {face + 1}")
    assert reason in found.unusable[face].reason
    assert len(found.landmarks) == NUM_COFW


def test_boxes_are_handed_on_as_written(tmp_path: Path) -> None:
    found = read_cofw(written(tmp_path, samples.cofw(bboxes=np.array([[1, 1, 0, 5], [1, np.nan, -5, np.inf]]))))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 0, 5], [0, np.nan, -5, np.nan]])
    assert not found.unusable


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.ones(3)
    with pytest.raises(DataError, match=r"other\.h5 has the variables \['data'\]; one of phisTr"):
        read_cofw(tmp_path / "other.h5")


def test_absurd_and_outside_data_are_refused_before_reading(tmp_path: Path) -> None:
    """A dataset may declare terabytes, or lie in another file of the computer; neither is touched."""
    content = samples.cofw(packed=False)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(8 * 87 * NUM_COFW))
    for case in ("large", "external", "link"):
        path = written(tmp_path, content, f"{case}.mat")
        with h5py.File(path, "r+") as file:
            if case != "link":
                del file["phisTr"]
            if case == "large":
                file.create_dataset("phisTr", (87, 10**10), dtype="f8", chunks=(87, 100))
            elif case == "external":
                file.create_dataset("phisTr", (87, NUM_COFW), dtype="f8", external=str(secret))
            else:
                file.move("phisTr", "moved")
                file["phisTr"] = h5py.ExternalLink(str(tmp_path / "external.mat"), "phisTr")
        with pytest.raises(DataError, match=f"{case}.mat.*phisTr"):
            read_cofw(path)


def test_pictures_that_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, samples.cofw(packed=False))
    with h5py.File(path, "r+") as file:
        held = file.create_dataset("floats", data=np.zeros((3, 4, 4)))
        file["IsTr"][0, 0] = held.ref
        held = file.create_dataset("channels", data=np.zeros((2, 4, 4), dtype=np.uint8))
        file["IsTr"][0, 1] = held.ref
    with pytest.raises(DataError, match=r"variable IsTr, image 1: type float64"):
        CofwImage(path, "train", 0, "0").read()
    with pytest.raises(DataError, match=r"variable IsTr, image 2: type uint8, shape \(4, 4, 2\)"):
        CofwImage(path, "train", 1, "1").read()
    with pytest.raises(DataError, match="image 8: the file has 2 images"):
        CofwImage(path, "train", 7, "7").read()
    with pytest.raises(DataError, match="split 'val' is unknown"):
        CofwImage(path, "val", 0, "0").read()
