"""300-W: 68 points on AFW, HELEN, LFPW, iBUG and the 300 + 300 photographs of the challenge's own test set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress, read_each
from facegraph.data.benchmarks.source_tree import SourceTree
from facegraph.data.entries import DOUBTFUL_IMAGE, MISSING_IMAGE, FaceEntry, FileImage
from facegraph.data.formats.ibug_boxes import read_ibug_boxes
from facegraph.data.formats.pts import read_pts
from facegraph.errors import DataError
from facegraph.landmarks import IBUG68

COMMON, CHALLENGING, INDOOR, OUTDOOR = "common", "challenging", "indoor", "outdoor"
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")
"""The first of them is taken where a photograph is there twice: a .png has no artefacts."""
_MIRROR = "_mirror"
_BOXES_FOLDER = "Bounding Boxes"
_PIECE = re.compile(r"300w\.zip\.\d{3}", re.IGNORECASE)


@dataclass(frozen=True)
class _Part:
    """One folder of 300-W.

    Attributes:
        key: name of it within ids.
        folders: where it may lie.
        split, attribute: of its faces.
        count: as published.
        boxes: its file of detector boxes, "" if there is none.
        numbered: file names end with the number of the face within its photograph (18489332_10).
        optional: 300-W is used without it.
    """

    key: str
    folders: tuple[str, ...]
    split: str
    attribute: str
    count: int
    boxes: str = ""
    numbered: bool = False
    optional: bool = False


_PARTS = (
    _Part("afw", ("afw",), "train", "", 337, "bounding_boxes_afw.mat", numbered=True),
    _Part("helen/trainset", ("helen/trainset",), "train", "", 2000, "bounding_boxes_helen_trainset.mat", numbered=True),
    _Part("lfpw/trainset", ("lfpw/trainset",), "train", "", 811, "bounding_boxes_lfpw_trainset.mat"),
    _Part("helen/testset", ("helen/testset",), "test", COMMON, 330, "bounding_boxes_helen_testset.mat", numbered=True),
    _Part("lfpw/testset", ("lfpw/testset",), "test", COMMON, 224, "bounding_boxes_lfpw_testset.mat"),
    _Part("ibug", ("ibug", "135"), "test", CHALLENGING, 135, "bounding_boxes_ibug.mat"),
    _Part("indoor", ("01_Indoor",), "private", INDOOR, 300, optional=True),
    _Part("outdoor", ("02_Outdoor",), "private", OUTDOOR, 300, optional=True),
)


class Ibug300wBenchmark(Benchmark):
    """300-W (Sagonas et al., ICCV Workshops 2013) in the folders that ibug.doc.ic.ac.uk publishes.

    train: afw, helen/trainset, lfpw/trainset. test ("full"): helen/testset and lfpw/testset (common), ibug
    (challenging). private: 300W/01_Indoor and 02_Outdoor. The published detector boxes are the official boxes where the
    folder "Bounding Boxes" is there; they do not cover the private set. Mirrored copies (*_mirror.*) are left out. Of a
    photograph that is there as .png and as .jpg, the .png is taken.
    """

    name = "300w"
    version = "300-W (2013), 68-point re-annotations"
    scheme = IBUG68
    attributes: tuple[str, ...] = (COMMON, CHALLENGING, INDOOR, OUTDOOR)
    optional_splits: frozenset[str] = frozenset({"private"})
    official_counts: Mapping[str, int] = {
        "train": 3148,
        "test": 689,
        "test/common": 554,
        "test/challenging": 135,
        "private": 600,
        "private/indoor": 300,
        "private/outdoor": 300,
    }
    layout = (
        "  afw/  helen/trainset/  helen/testset/  lfpw/trainset/  lfpw/testset/  ibug/\n"
        "  300W/01_Indoor/  300W/02_Outdoor/          (the private test set, optional)\n"
        "  Bounding Boxes/bounding_boxes_*.mat        (optional)\n"
        "  each with photographs (.jpg or .png) and a .pts of the same name beside each"
    )
    archives: tuple[str, ...] = ("afw", "helen", "lfpw", "ibug", "300w", "bounding_boxes", "Bounding Boxes")

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Ids and images are named part/file, such as helen/testset/2968560214_1.jpg.

        Raises:
            DataError: none of the folders is there, or none of them holds a usable face.
        """
        tree = found.tree
        folders = [tree.search(*part.folders) for part in _PARTS]
        pieces = _pieces(tree)
        if not any(folders):
            if pieces:
                raise DataError(f"{pieces} {tree.root} has no folder of 300-W.")
            raise found.nothing([part.folders[0] for part in _PARTS])
        if pieces and not all(folder for part, folder in zip(_PARTS, folders, strict=True) if part.optional):
            found.missing_part("private", "300w.zip", pieces)
        pairs: list[tuple[_Part, Path, Path]] = []
        mirrored = 0
        for part, folder in zip(_PARTS, folders, strict=True):
            if folder is None:
                message = f"folder {part.folders[0]} is not there ({part.count} faces). Unpack it below {tree.root}."
                found.missing_part(part.split, part.folders[0], message, part.optional)
                continue
            paired, copies = _pair(part, folder, found)
            mirrored += copies
            pairs += [(part, image, points) for image, points in paired]
        if mirrored:
            message = f"{mirrored} mirrored files (*{_MIRROR}.*) are no part of 300-W and left out; training mirrors."
            found.bad_annotation("", f"*{_MIRROR}.*", message, optional=True)
        boxes = _boxes([part for part, folder in zip(_PARTS, folders, strict=True) if folder], tree, found)
        read = partial(read_pts, num_landmarks=self.scheme.num_landmarks)
        points = read_each(read, [path for _, _, path in pairs], workers, progress)
        for (part, image, path), landmarks in zip(pairs, points, strict=True):
            if isinstance(landmarks, DataError):
                found.bad_annotation(part.split, f"{part.key}/{path.name}", landmarks)
            else:
                found.faces.append(self._entry(part, image, path, landmarks, boxes.get((part.key, image.name.lower()))))

    def _entry(
        self, part: _Part, image: Path, points: Path, landmarks: np.ndarray, box: np.ndarray | None
    ) -> FaceEntry:
        name = f"{part.key}/{image.name}"
        photo = image.stem.rsplit("_", 1)[0] if part.numbered and "_" in image.stem else image.stem
        return FaceEntry(
            id=name,
            image=FileImage(image, name, str(points)),
            photo=f"{part.key}/{photo}",
            split=part.split,
            landmarks=landmarks,
            where=str(points),
            box=box,
            attributes={attribute: attribute == part.attribute for attribute in self.attributes},
        )


def _pair(part: _Part, folder: Path, found: Gathering) -> tuple[list[tuple[Path, Path]], int]:
    """(photograph, .pts) of a folder in order of their names, and how many mirrored files were left out."""
    files = found.tree.files(folder)
    kept = {name: path for name, path in files.items() if not path.stem.lower().endswith(_MIRROR)}
    images = _photographs(part, kept.values(), found)
    points = {p.stem: p for p in kept.values() if p.suffix.lower() == ".pts"}
    caseless = {stem.casefold(): stem for stem in images}
    pairs, used = [], set()
    for stem, path in points.items():
        match = stem if stem in images else caseless.get(stem.casefold())
        if match is None:
            message = f"{path} has no photograph {stem}.jpg or .png beside it. Add it, or leave the .pts out."
            found.problem(MISSING_IMAGE, part.split, f"{part.key}/{path.name}", message)
            continue
        used.add(match)
        pairs.append((images[match], path))
    for stem in sorted(images.keys() - used):
        message = f"{images[stem]} has no {stem}.pts beside it. Add it, or leave the photograph out."
        found.bad_annotation(part.split, f"{part.key}/{images[stem].name}", message)
    return sorted(pairs), len(files) - len(kept)


def _photographs(part: _Part, files: Iterable[Path], found: Gathering) -> dict[str, Path]:
    """Name without ending -> photograph; others of that name are told."""
    candidates = [path for path in files if path.suffix.lower() in _IMAGE_ENDINGS]
    images: dict[str, Path] = {}
    for path in sorted(candidates, key=lambda path: _IMAGE_ENDINGS.index(path.suffix.lower())):
        taken = images.setdefault(path.stem, path)
        if taken != path:
            message = f"{path} is left out: {taken.name} beside it is taken for the same photograph."
            found.problem(DOUBTFUL_IMAGE, part.split, f"{part.key}/{path.name}", message, optional=True)
    return images


def _boxes(parts: Sequence[_Part], tree: SourceTree, found: Gathering) -> dict[tuple[str, str], np.ndarray]:
    """Detector boxes by part and file name in lower case; what is not there or damaged becomes problems."""
    boxes: dict[tuple[str, str], np.ndarray] = {}
    files = {part: tree.search(part.boxes) for part in parts if part.boxes}
    if files and not any(files.values()):
        message = f"{_BOXES_FOLDER}/bounding_boxes_*.mat are not there, so faces have no official box. Add the folder."
        found.missing_part("", _BOXES_FOLDER, message, optional=True)
        return boxes
    for part, path in files.items():
        if path is None:
            message = f"{part.boxes} is not there, so the faces of {part.key} have no official box. Add the file."
            found.missing_part(part.split, part.boxes, message, optional=True)
            continue
        try:
            content = read_ibug_boxes(path)
        except DataError as error:
            found.bad_annotation(part.split, path.name, error)
            continue
        found.unusable(part.split, path, content.unusable)
        boxes |= {(part.key, name.lower()): box for name, box in content.boxes.items()}
    return boxes


def _pieces(tree: SourceTree) -> str:
    """What to do with the pieces in which the publisher ships the private set; "" where there are none."""
    for folder in (tree.root, *tree.folders(tree.root).values()):
        names = [name for name in tree.files(folder) if _PIECE.fullmatch(name)]
        if names:
            return (
                f"{', '.join(names)} in {folder} are pieces of one archive. Join them, `cat 300w.zip.0* > 300w.zip` "
                "there, and run the same command again."
            )
    return ""
