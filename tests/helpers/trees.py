"""Fake trees of benchmarks in the formats of their publishers: annotations, folders, archives, drawn faces.

Each writer returns a Tree with the truth. Small by default; counts as published give full-size trees in seconds to a
minute, because faces repeat before new backgrounds (argument distinct). kinds maps the number of a photograph to the
way it is saved (trees_pictures.SAVERS): {3: "truncated", 5: "png16", 7: "missing"}.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import IBUG68, WFLW98, LandmarkScheme
from tests.helpers.trees_mat import PARTS_300WLP, write_300wlp, write_cofw, write_cofw68, write_ibug_boxes
from tests.helpers.trees_pictures import Photo, Tree, TreeFace, extension, photos, save_photo

__all__ = [
    "PARTS_300W", "PARTS_300WLP", "Tree", "TreeFace", "write_300w", "write_300wlp", "write_coco", "write_cofw",
    "write_cofw68", "write_pts", "write_wflw",
]  # fmt: skip

WFLW_FLAGS = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
WFLW_FLAG_COUNTS = (326, 314, 698, 206, 736, 773)
WFLW_TEST = 2500
PARTS_300W = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
    "300W/01_Indoor": 300,
    "300W/02_Outdoor": 300,
}
"""Photographs of each part of 300-W as published."""


# ------------------------------------------------------------------------------------------------------------- WFLW


def write_wflw(
    root: Path,
    train: int = 12,
    test: int = 8,
    *,
    faces_per_photo: int = 2,
    archives: bool = False,
    full_lists: bool = True,
    subset_lists: bool = True,
    images: bool = True,
    kinds: Mapping[int, str] | None = None,
    crlf: bool = False,
    spaces: bool = True,
    mixed_case: bool = False,
    side: int = 48,
    distinct: int = 100,
) -> Tree:
    """WFLW_images/ and WFLW_annotations/, or the two .tar.gz of them if archives.

    The first face of each split lies partly left of its photograph (negative coordinates). The flags of 2,500 test
    faces have the published counts, fewer faces have a share of them. spaces: every fourth file name holds a space.
    kinds counts the photographs, those of train first. Without images the .jpg files are empty and all photographs have
    the same faces, which is quick.
    """
    tree, written = Tree(root), 0
    end = "\r\n" if crlf else "\n"
    for split, count in (("train", train), ("test", test)):
        if not count:
            continue
        number = -(-count // faces_per_photo)
        made = photos(WFLW98, split, number if images else 1, faces=faces_per_photo, side=side, distinct=distinct)
        made = [_cut_left(made[0]), *(made[1:] if images else made * (number - 1))]
        faces_of = {id(photo): list(photo.landmarks) for photo in made}
        rows: list[tuple[str, np.ndarray]] = []
        for i, photo in enumerate(made):
            kind = (kinds or {}).get(written, "jpeg") if images else "empty"
            written += 1
            gap = " " if spaces and i % 4 == 3 else "_"
            name = f"{i % 5}--Event/{i % 5}_Event{gap}{split}_{i}{extension(kind, i, mixed_case)}"
            save_photo(root / "WFLW_images" / name, photo.pixels, kind)
            rows += [(name, points) for points in faces_of[id(photo)]]
        rows = rows[:count]
        flags = _wflw_flags(count)
        tree.faces.extend(_wflw_faces(split, rows, flags))
        _write_wflw_lists(root / "WFLW_annotations", split, rows, flags, end, full_lists, subset_lists)
    if archives:
        _pack(root, ("WFLW_images", "WFLW_annotations"))
    return tree


def _cut_left(photo: Photo) -> Photo:
    """The photograph without its left part, so that the first face lies 3 to 4 px outside."""
    cut = int(photo.landmarks[0, :, 0].min()) + 4
    return Photo(np.ascontiguousarray(photo.pixels[:, cut:]), photo.landmarks - np.array([cut, 0.0]))


def _write_wflw_lists(
    folder: Path,
    split: str,
    rows: list[tuple[str, np.ndarray]],
    flags: np.ndarray,
    end: str,
    full_lists: bool,
    subset_lists: bool,
) -> None:
    # photographs that share their faces share the arrays, whose text is written once
    texts = {id(points): " ".join(f"{value:.6f}" for value in points.ravel().tolist()) for _, points in rows}
    if full_lists:
        lines = [
            " ".join([texts[id(points)], *_box_and_flags(points, on), name])
            for (name, points), on in zip(rows, flags, strict=True)
        ]
        _write_lines(folder / "list_98pt_rect_attr_train_test" / f"list_98pt_rect_attr_{split}.txt", lines, end)
    if subset_lists and split == "test":
        for k, subset in enumerate(("largepose", *WFLW_FLAGS[1:])):
            lines = [f"{texts[id(points)]} {name}" for (name, points), on in zip(rows, flags, strict=True) if on[k]]
            _write_lines(folder / "list_98pt_test" / f"list_98pt_test_{subset}.txt", lines, end)


def _box_and_flags(points: np.ndarray, flags: np.ndarray) -> list[str]:
    return [str(int(value)) for value in (*np.rint(landmark_box(points)), *flags)]


def _wflw_faces(split: str, rows: list[tuple[str, np.ndarray]], flags: np.ndarray) -> list[TreeFace]:
    return [
        TreeFace(image, split, points.round(6), tuple(n for n, on in zip(WFLW_FLAGS, row, strict=True) if on))
        for (image, points), row in zip(rows, flags, strict=True)
    ]


def _wflw_flags(count: int) -> np.ndarray:
    """(count, 6) bool, each flag on the published share of the faces, at least one face."""
    rng = np.random.default_rng(count)
    flags = np.zeros((count, len(WFLW_FLAGS)), dtype=bool)
    for k, published in enumerate(WFLW_FLAG_COUNTS):
        share = max(1, round(published * count / WFLW_TEST))
        flags[rng.permutation(count)[:share], k] = True
    return flags


def _write_lines(path: Path, lines: list[str], end: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def _pack(root: Path, folders: Sequence[str]) -> None:
    for folder in folders:
        if (root / folder).is_dir():
            with tarfile.open(root / f"{folder}.tar.gz", "w:gz", compresslevel=1) as archive:
                archive.add(root / folder, folder)
            shutil.rmtree(root / folder)


# ------------------------------------------------------------------------------------------------------------ 300-W


def write_300w(
    root: Path,
    counts: Mapping[str, int] | None = None,
    *,
    boxes: bool = False,
    headerless: bool = True,
    crlf: bool = False,
    mixed_case: bool = False,
    mirrored: bool = False,
    kinds: Mapping[int, str] | None = None,
    side: int = 64,
    distinct: int = 60,
) -> Tree:
    """Folders with a .pts beside each photograph. counts: photographs per part (PARTS_300W as published); by default 2.

    headerless: every third .pts has bare rows. mixed_case: some extensions in capitals (.JPG, .PTS). mirrored: a
    *_mirror.jpg with its .pts beside the first photograph of each part. boxes: "Bounding Boxes/*.mat" of some parts.
    kinds counts the photographs over all parts.
    """
    tree, number = Tree(root), 0
    for seed, (part, count) in enumerate((dict.fromkeys(PARTS_300W, 2) if counts is None else counts).items()):
        split = _split_300w(part)
        folder, detected = root / part, {}
        made = photos(IBUG68, "train" if split == "train" else "test", count, side=side, distinct=distinct, seed=seed)
        for i, photo in enumerate(made):
            kind = (kinds or {}).get(number, "png" if part.startswith(("lfpw", "300W")) else "jpeg")
            name = _name_300w(part, i)
            image = folder / (name + extension(kind, i, mixed_case))
            save_photo(image, photo.pixels, kind)
            points = photo.landmarks[0].round(3)
            ending = ".PTS" if mixed_case and i % 3 == 1 else ".pts"
            write_pts(folder / (name + ending), points, header=not (headerless and i % 3 == 1), crlf=crlf)
            if mirrored and i == 0:
                save_photo(folder / f"{name}_mirror.jpg", photo.pixels[:, ::-1].copy())
                write_pts(folder / f"{name}_mirror.pts", points)
            tree.faces.append(TreeFace(image.relative_to(root).as_posix(), split, points, _flags_300w(part)))
            detected[image.name] = landmark_box(points) + np.array([-2, -3, 4, 5])
            number += 1
        if boxes and not part.startswith("300W") and count:
            stem = "bounding_boxes_" + part.replace("/", "_")
            write_ibug_boxes(root / "Bounding Boxes" / f"{stem}.mat", detected)
    return tree


def _split_300w(part: str) -> str:
    if part.startswith("300W"):
        return "private"
    return "test" if part == "ibug" or part.endswith("testset") else "train"


def _flags_300w(part: str) -> tuple[str, ...]:
    names = {"ibug": "challenging", "300W/01_Indoor": "indoor", "300W/02_Outdoor": "outdoor"}
    return (names[part],) if part in names else ("common",) if part.endswith("testset") else ()


def _name_300w(part: str, number: int) -> str:
    """As the publisher's: a photograph and the face in it, or a running number."""
    if part.startswith("300W"):
        return f"{part[3:].split('_')[1].lower()}_{number + 1:03d}"
    if part in ("afw", "helen/trainset", "helen/testset"):
        first = {"afw": 18489332, "helen/trainset": 100032540, "helen/testset": 2968149}[part]
        return f"{first + number // 2}_{number % 2 + 1}"
    return f"image_{number + 1:04d}"


def write_pts(path: Path, points: np.ndarray, *, header: bool = True, crlf: bool = False) -> None:
    """A .pts file, 1-based, of points (N, 2) that are 0-based."""
    rows = [f"{x:.6f} {y:.6f}" for x, y in points + 1]
    lines = ["version: 1", f"n_points:  {len(points)}", "{", *rows, "}"] if header else rows
    _write_lines(path, lines, "\r\n" if crlf else "\n")


# ------------------------------------------------------------------------------------------------------------- COCO


def write_coco(
    root: Path,
    train: int = 6,
    val: int = 4,
    test: int = 0,
    *,
    scheme: LandmarkScheme = IBUG68,
    unlabelled: Sequence[int] = (),
    kinds: Mapping[int, str] | None = None,
    side: int = 64,
) -> Tree:
    """annotations/person_keypoints_{train,val,test}.json and images/, two faces per photograph.

    unlabelled: faces of the training file, by number, one of whose points is not labelled (v = 0). Every third face has
    a hidden point (v = 1).
    """
    tree = Tree(root)
    for seed, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
        if not count:
            continue
        stream = "train" if split == "train" else "test"
        made = photos(scheme, stream, -(-count // 2), faces=2, side=side, seed=seed)
        document: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": []}
        names = [f"point_{i}" for i in range(scheme.num_landmarks)]
        document["categories"].append({"id": 1, "name": "face", "keypoints": names, "skeleton": []})
        for i, photo in enumerate(made):
            name = f"{split}_{i:06d}.jpg"
            save_photo(root / "images" / name, photo.pixels, (kinds or {}).get(i, "jpeg"))
            height, width = photo.pixels.shape[:2]
            document["images"].append({"id": i, "file_name": name, "width": width, "height": height})
            for points in photo.landmarks[: count - 2 * i]:
                number = len(document["annotations"])
                broken = split == "train" and number in unlabelled
                document["annotations"].append(_coco_face(number, i, points.round(3), broken))
                tree.faces.append(TreeFace(name, split, points.round(3)))
        path = root / "annotations" / f"person_keypoints_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8")
    return tree


def _coco_face(number: int, image: int, points: np.ndarray, broken: bool) -> dict[str, object]:
    seen = np.full(len(points), 2)
    if number % 3 == 2:
        seen[0] = 1
    if broken:
        seen[1] = 0
    x0, y0, x1, y1 = landmark_box(points)
    return {
        "id": number + 1,
        "image_id": image,
        "category_id": 1,
        "keypoints": [float(v) for v in np.column_stack([points, seen]).ravel()],
        "num_keypoints": int((seen > 0).sum()),
        "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
        "area": float((x1 - x0) * (y1 - y0)),
        "iscrowd": 0,
    }
