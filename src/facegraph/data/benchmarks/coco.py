"""Faces in COCO's keypoint json, one file per split, images beside."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from facegraph.data.benchmarks.gathering import Gathering, nothing_found
from facegraph.data.benchmarks.source_tree import SourceTree, relative_name
from facegraph.data.entries import FaceEntry, FaceIndex, FileImage
from facegraph.data.formats.coco import CocoFace, read_coco
from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme

_SPLITS = {
    "train": re.compile(r"(?<![a-z])train(?:ing|set)?\d*(?![a-z])"),
    "val": re.compile(r"(?<![a-z])val(?:id|idation|set)?\d*(?![a-z])"),
    "test": re.compile(r"(?<![a-z])test(?:ing|set)?\d*(?![a-z])"),
}
"""Split -> the word that names it within a file's name: train2017, but neither trainval nor latest."""


class CocoBenchmark:
    """A data set of your own in COCO's format.

    A json file belongs to the split whose word is in its name (train, val or test, train2017, validation; not trainval
    or latest); of several, those with "keypoint" in the name are meant. A val file is the split "test" where there is
    no test file, since validation is cut from train. Boxes are those of the file; a point with v = 1 is hidden; faces
    with a point that is not labelled are left out.

    Args:
        scheme: numbering of the landmarks. name: as results print it.
    """

    version = "COCO keypoints"
    attributes: tuple[str, ...] = ()
    official_counts: Mapping[str, int] = {}
    optional_splits: frozenset[str] = frozenset()
    layout = (
        "  annotations/<anything>train<anything>.json, the same with val and test (one of these two is enough)\n"
        "  images/..., or train2017/ and val2017/"
    )
    archives: tuple[str, ...] = ("annotations*", "images*", "train*", "val*", "test*")

    def __init__(self, scheme: LandmarkScheme, name: str = "coco") -> None:
        self.scheme = scheme
        self.name = name

    def index(self, source: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None) -> FaceIndex:
        """See entries.Benchmark; ids are split/id of the annotation.

        Raises:
            DataError: no such json file, several for one split, or no usable face.
        """
        tree = SourceTree(source)
        files = _files(tree)
        if not files:
            raise nothing_found(tree, ("faces_train.json", "faces_val.json", "faces_test.json"), self.layout)
        found = Gathering(tree, self.layout)
        if "train" not in files:
            message = (
                f"there is no json file with the word 'train' in its name beside {next(iter(files.values()))}. Add it."
            )
            found.missing_part("train", "train json", message)
        if not files.keys() & {"val", "test"}:
            message = (
                f"there is no json file with the word 'val' or 'test' in its name beside {files['train']}. Add one."
            )
            found.missing_part("test", "val or test json", message)
        for done, (role, path) in enumerate(files.items(), start=1):
            split = "test" if role == "val" and "test" not in files else role
            try:
                content = read_coco(path, self.scheme.num_landmarks)
            except DataError as error:
                found.bad_annotation(split, path.name, error)
                continue
            found.unusable(split, path, content.unusable)
            folders = _image_folders(tree, path, role)
            for face in content.faces:
                _add(face, split, folders, found)
            if progress is not None:
                progress(done, len(files))
        return found.index()


def _files(tree: SourceTree) -> dict[str, Path]:
    """Split by name -> json file, from the shallowest folder that has one.

    Raises:
        DataError: several files for one split, or one file for several splits.
    """
    for folder in tree.by_depth():
        candidates = [path for name, path in tree.files(folder).items() if name.lower().endswith(".json")]
        found: dict[str, Path] = {}
        for split in _SPLITS:
            named = [path for path in candidates if _word(split, path)]
            named = [path for path in named if "keypoint" in path.stem.lower()] or named
            if len(named) > 1:
                raise DataError(
                    f"{folder} has several files for '{split}': {', '.join(path.name for path in named)}. "
                    "Move all but one of them away."
                )
            if named and named[0] in found.values():
                other = next(name for name, path in found.items() if path == named[0])
                raise DataError(
                    f"{named[0]} has both '{other}' and '{split}' in its name, so its faces belong to no one split. "
                    "Name it after one of them; validation can be cut from train."
                )
            if named:
                found[split] = named[0]
        if found:
            return found
    return {}


def _word(split: str, path: Path) -> str:
    """The word of a file's name that names a split, in lower case; "" if none does."""
    parted = re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", path.stem).lower()
    match = _SPLITS[split].search(parted)
    return match[0] if match else ""


def _image_folders(tree: SourceTree, path: Path, split: str) -> list[Path]:
    """Where the images of a json file may lie, the most likely first."""
    base = path.parent if path.parent == tree.root else path.parent.parent
    names = dict.fromkeys((_word(split, path), split))
    relatives = [*(f"images/{name}" for name in names), *names, "images"]
    return [*(folder for name in relatives if (folder := tree.inside(base, name)) is not None), base]


def _add(face: CocoFace, split: str, folders: list[Path], found: Gathering) -> None:
    name = relative_name(face.image)
    if name is None:
        message = f"{face.where}: image '{face.image}' leads out of the folder. Correct its file_name."
        found.bad_annotation(split, face.image, message)
        return
    path = next((p for folder in folders if (p := found.tree.inside(folder, name)) is not None), None)
    if path is None:
        found.missing_image(split, name, face.where)
        return
    photo = path.relative_to(folders[-1]).as_posix()
    entry = FaceEntry(
        id=f"{split}/{face.id}",
        image=FileImage(path, photo, face.where),
        photo=photo,
        split=split,
        landmarks=face.landmarks,
        where=face.where,
        box=face.box,
        hidden=face.hidden,
        marked_size=face.image_size,
    )
    found.faces.append(entry)
