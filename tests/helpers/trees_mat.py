"""Fake trees of the benchmarks that come as MATLAB files: 300W-LP (v5), COFW (7.3, which is HDF5), COFW-68."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import COFW29, IBUG68
from tests.helpers.trees_pictures import Photo, Tree, TreeFace, photos, save_photo

PARTS_300WLP = {"AFW": 5207, "HELEN": 37676, "IBUG": 1786, "LFPW": 16556}
"""Faces of each folder of 300W-LP as published, without the mirrored *_Flip folders."""
POSES_300WLP = ((-3.0, 12.0, 1.0), (2.0, -41.0, -4.0), (5.0, 76.0, 2.0), (0.0, -25.0, 8.0), (-8.0, 55.0, 0.0))
"""Pitch, yaw and roll in degrees of the synthetic poses of a photograph, in turn."""
_MATLAB_FIRST = 1.0  # MATLAB counts pixels from 1


def write_ibug_boxes(path: Path, boxes: Mapping[str, np.ndarray]) -> None:
    """A bounding_boxes_<set>.mat: a cell of structs imgName, bb_detector, bb_ground_truth, 1-based x0 y0 x1 y1."""
    cells = np.empty((1, len(boxes)), dtype=object)
    for i, (name, box) in enumerate(boxes.items()):
        corners = np.asarray(box, dtype=np.float64)[None] + _MATLAB_FIRST
        cells[0, i] = {"imgName": name, "bb_detector": corners, "bb_ground_truth": corners + np.array([[2, 3, -4, -5]])}
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"bounding_boxes": cells})


# ---------------------------------------------------------------------------------------------------------- 300W-LP


def write_300wlp(
    root: Path,
    counts: Mapping[str, int] | None = None,
    *,
    poses: int = 3,
    flips: bool = False,
    points_files: bool = True,
    images: bool = True,
    kinds: Mapping[int, str] | None = None,
    side: int = 48,
    distinct: int = 40,
) -> Tree:
    """AFW HELEN IBUG LFPW with .jpg + .mat, landmarks/<SET>/<name>_pts.mat; *_Flip as well if flips.

    counts: faces per folder (PARTS_300WLP as published), by default 6; each photograph has up to `poses` of them with
    the angles of POSES_300WLP. Half the LFPW and Helen photographs are test ones. Without images the .jpg files are
    empty, which is quick at full size. The truth has the points of pts_2d; pt2d lies 0.25 px right of them, pts_3d 0.5.
    """
    tree = Tree(root)
    for seed, (part, count) in enumerate((dict.fromkeys(PARTS_300WLP, 6) if counts is None else counts).items()):
        made = (
            photos(IBUG68, "train", count, side=side, distinct=distinct, seed=seed)
            if images
            else _one_photo(count, side)
        )
        names = _names_300wlp(part, count, poses)
        for i, (photo, name) in enumerate(zip(made, names, strict=True)):
            kind = (kinds or {}).get(i, "jpeg") if images else "empty"
            points = photo.landmarks[0].round(3)
            pose = POSES_300WLP[i % poses % len(POSES_300WLP)]
            _write_300wlp_face(root, part, name, photo.pixels, kind, points, pose, points_files)
            tree.faces.append(TreeFace(f"{part}/{name}.jpg", _split_300wlp(name), points))
            if flips:
                width = photo.pixels.shape[1]
                mirrored = points[list(IBUG68.flip)] * [-1, 1] + [width - 1, 0]
                turned = (pose[0], -pose[1], -pose[2])
                pixels = photo.pixels[:, ::-1].copy()
                _write_300wlp_face(root, f"{part}_Flip", name, pixels, kind, mirrored, turned, points_files)
    return tree


def _one_photo(count: int, side: int) -> list[Photo]:
    return photos(IBUG68, "train", 1, side=side) * count


def _names_300wlp(part: str, count: int, poses: int) -> list[str]:
    """Names as published: photograph, number of the face where photographs have several, number of the pose."""
    names = []
    for i in range(count):
        photo, pose = divmod(i, poses)
        half = "test" if photo % 2 else "train"
        stem = {
            "AFW": f"AFW_{134212 + photo}_1",
            "HELEN": f"HELEN_{2970000000 + photo}_1" if photo % 2 else f"HELEN_{100032540 + photo}_1",
            "IBUG": f"IBUG_image_{photo + 1:03d}_1",
            "LFPW": f"LFPW_image_{half}_{photo + 1:04d}",
        }[part]
        names.append(f"{stem}_{pose}")
    return names


def _split_300wlp(name: str) -> str:
    return "test" if name.startswith(("IBUG_", "LFPW_image_test_", "HELEN_297")) else "train"


def _write_300wlp_face(
    root: Path,
    part: str,
    name: str,
    pixels: np.ndarray,
    kind: str,
    points: np.ndarray,
    pose: tuple[float, float, float],
    points_files: bool,
) -> None:
    save_photo(root / part / f"{name}.jpg", pixels, kind)
    stored = points + _MATLAB_FIRST
    x0, y0, x1, y1 = landmark_box(stored)
    pitch, yaw, roll = np.radians(pose)
    values = {
        "pt2d": (stored + np.array([0.25, 0.0])).T,
        "Pose_Para": np.array([[pitch, yaw, roll, 100.0, 80.0, 0.0, 0.001]]),
        "roi": np.array([[x0 - 4, y0 - 4, x1 + 4, y1 + 4]]),
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
    }
    scipy.io.savemat(root / part / f"{name}.mat", values)
    if points_files:
        path = root / "landmarks" / part / f"{name}_pts.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, {"pts_2d": stored, "pts_3d": stored + np.array([0.5, 0.0])})


# ------------------------------------------------------------------------------------------------------------- COFW


def write_cofw(
    root: Path, train: int = 6, test: int = 4, *, grey_every: int = 3, side: int = 48, distinct: int = 100
) -> Tree:
    """COFW_train_color.mat and COFW_test_color.mat, MATLAB 7.3: HDF5 behind a block of 512 bytes, arrays transposed.

    Every grey_every-th picture has one channel. In face i, landmarks 0 .. i mod 5 - 1 are marked as occluded.
    """
    tree = Tree(root)
    root.mkdir(parents=True, exist_ok=True)
    for split, count, ending in (("train", train, "Tr"), ("test", test, "T")):
        if not count:
            continue
        made = photos(COFW29, split, count, side=side, distinct=distinct)
        points = np.stack([photo.landmarks[0] for photo in made])
        hidden = np.arange(29)[None] < (np.arange(count) % 5)[:, None]
        path = root / f"COFW_{split}_color.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            _write_cell(file, f"Is{ending}", [_cofw_pixels(p.pixels, i, grey_every) for i, p in enumerate(made)])
            stored = points + _MATLAB_FIRST
            phis = np.concatenate([stored[..., 0], stored[..., 1], hidden], axis=1)
            _write_matrix(file, f"phis{ending}", phis)
            _write_matrix(file, f"bboxes{ending}", _rectangles(points))
        _stamp_matlab(path)
        for i in range(count):
            tree.faces.append(TreeFace(f"{path.name}/{i}", split, points[i]))
    return tree


def _cofw_pixels(pixels: np.ndarray, number: int, grey_every: int) -> np.ndarray:
    """As MATLAB lays it out: (3, W, H), or (W, H) for a grey picture."""
    if number % grey_every == grey_every - 1:
        return np.ascontiguousarray(pixels.mean(axis=2).astype(np.uint8).T)
    return np.ascontiguousarray(pixels.transpose(2, 1, 0))


def _rectangles(points: np.ndarray) -> np.ndarray:
    """(n, 4) x y w h, 1-based, 3 px around the landmarks (n, N, 2)."""
    boxes = landmark_box(points)
    return np.concatenate([boxes[:, :2] - 3 + _MATLAB_FIRST, boxes[:, 2:] - boxes[:, :2] + 6], axis=1)


def _write_cell(file: h5py.File, name: str, arrays: Sequence[np.ndarray]) -> None:
    references = file.create_dataset(name, (1, len(arrays)), dtype=h5py.ref_dtype)
    references.attrs["MATLAB_class"] = np.bytes_("cell")
    held = file.require_group("#refs#")
    for i, array in enumerate(arrays):
        item = held.create_dataset(f"{name}_{i}", data=array)
        item.attrs["MATLAB_class"] = np.bytes_("uint8")
        references[0, i] = item.ref


def _write_matrix(file: h5py.File, name: str, matrix: np.ndarray) -> None:
    item = file.create_dataset(name, data=np.ascontiguousarray(matrix.T.astype(np.float64)))
    item.attrs["MATLAB_class"] = np.bytes_("double")


def _stamp_matlab(path: Path) -> None:
    """The text, version and byte order with which MATLAB begins a 7.3 file."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 00:00:00 2013 HDF5 schema 1.00 ."
    with path.open("r+b") as stream:
        stream.write(text.ljust(116) + bytes(8) + b"\x00\x02" + b"IM")


# ---------------------------------------------------------------------------------------------------------- COFW-68


def write_cofw68(root: Path, test: int = 4, *, side: int = 48, distinct: int = 100) -> Tree:
    """COFW_test_color.mat, COFW68_Data/test_annotations/<n>_points.mat from 1 on, COFW68_Data/cofw68_test_bboxes.mat.

    Pictures and both kinds of points are of the same drawn faces. In face i, landmarks 0 .. i mod 5 - 1 are occluded.
    """
    write_cofw(root, train=0, test=test, side=side, distinct=distinct)
    made = photos(IBUG68, "test", test, side=side, distinct=distinct)
    folder = root / "COFW68_Data" / "test_annotations"
    folder.mkdir(parents=True)
    tree = Tree(root)
    for i, photo in enumerate(made):
        points = photo.landmarks[0]
        occluded = (np.arange(68) < i % 5).astype(np.uint8)[:, None]
        scipy.io.savemat(folder / f"{i + 1}_points.mat", {"Points": points + _MATLAB_FIRST, "Occ": occluded})
        tree.faces.append(TreeFace(f"COFW_test_color.mat/{i}", "test", points))
    boxes = _rectangles(np.stack([photo.landmarks[0] for photo in made]))
    scipy.io.savemat(root / "COFW68_Data" / "cofw68_test_bboxes.mat", {"bboxes": boxes})
    return tree
