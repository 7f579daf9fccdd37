"""Faces in COCO's keypoint json, one file per split, images beside."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress
from facegraph.data.benchmarks.source_tree import SourceTree, leads_out, name_below, relative_name
from facegraph.data.entries import NOTE, OTHER_CATEGORY, FaceEntry, FaceIndex, FileImage
from facegraph.data.formats.coco import CocoFace, CocoFile, read_coco
from facegraph.data.formats.files import shown
from facegraph.data.splits import HeldOut, check_no_test, finish_own
from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme

_SPLITS = {
    "train": re.compile(r"(?<![a-z])train(?:ing|set)?\d*(?![a-z])"),
    "val": re.compile(r"(?<![a-z])val(?:id|idation|set)?\d*(?![a-z])"),
    "test": re.compile(r"(?<![a-z])test(?:ing|set)?\d*(?![a-z])"),
}
"""Split -> the word that names it within a file's name: train2017, but neither trainval nor latest."""


class CocoBenchmark(Benchmark):
    """A data set of your own in COCO's format.

    A json file belongs to the split whose word is in its name (train, val or test, train2017, validation; not trainval
    or latest); of several, those with "keypoint" in the name are meant. A val file is the split "test" where there is
    no test file and none is held out. Boxes are those of the file; a point with v = 1 is hidden; faces with a point
    that is not labelled are left out, and so are annotations of other categories. The points of all files are in the
    order of the first file, train before val before test, by their names where the files give names.

    Args:
        scheme: numbering of the landmarks.
        name: as results print it.
        category: name of the category of the faces; None for the only one that has as many points as the scheme.
        held_out: test set to cut from the train file, or from the only file, which then need not name a split; None for
            files of their own.
    """

    layout = (
        "  annotations/<anything>train<anything>.json, the same with val and test (one of these two is enough)\n"
        "  images/..., or train2017/ and val2017/\n"
        "  or one json, such as CVAT's annotations/person_keypoints_default.json, and --test-fraction 0.1"
    )
    archives: tuple[str, ...] = ("annotations*", "images*", "train*", "val*", "test*")

    def __init__(
        self,
        scheme: LandmarkScheme,
        name: str = "coco",
        category: str | None = None,
        held_out: HeldOut | None = None,
    ) -> None:
        self.scheme = scheme
        self.name = name
        self.category = category
        self.held_out = held_out
        options = ["COCO keypoints", *([f"category {category}"] if category is not None else [])]
        self.version = ", ".join([*options, *([held_out.description] if held_out is not None else [])])

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Ids are split/id of the annotation.

        Raises:
            DataError: no such json file, several for one split, one that cannot be read, categories or keypoints that
                do not fit each other, or no usable face.
            ConfigError: a test set is to be held out, but there is one.
        """
        tree = found.tree
        files = _files(tree)
        if self.held_out is None:
            _check_splits(files, found)
        else:
            files = files or _only_file(found)
            check_no_test(list(files), str(next(iter(files.values())).parent))
        contents: dict[str, CocoFile] = {}
        for done, (role, path) in enumerate(files.items(), start=1):
            contents[role] = read_coco(path, self.scheme.num_landmarks, self.category)
            if progress is not None:
                progress(done, len(files))
        contents = _by_name(files, contents, found)
        for role, content in contents.items():
            path, split = files[role], role
            if role == "val" and "test" not in files and self.held_out is None:
                split = "test"
                told = (
                    f"{path}: there is no test json beside it, so that its faces are scored and none are validated on."
                )
                found.problem(NOTE, split, f"{path.name} is the split test", told, optional=True)
            found.unusable(split, path, content.unusable)
            for name, count in content.others.items():
                told = (
                    f"{path}: {count} annotation(s) of category '{name}' are left out; faces are '{content.category}'."
                )
                found.problem(OTHER_CATEGORY, split, f"{count} x {name}", told, optional=True)
            folders = _image_folders(tree, path, role)
            for face in content.faces:
                _add(face, split, path, folders, found)

    def index(self, source: Path, workers: int = 1, progress: Progress | None = None) -> FaceIndex:
        """See Benchmark; a test set is held out."""
        index = finish_own(super().index(source, workers, progress), self.held_out)
        return index if self.held_out is None else replace(index, faces=tuple(map(_named_anew, index.faces)))


def _named_anew(face: FaceEntry) -> FaceEntry:
    """A face whose id begins with its split, after a test set was held out."""
    return replace(face, id=f"{face.split}/{face.id.partition('/')[2]}")


def _check_splits(files: Mapping[str, Path], found: Gathering) -> None:
    """Note what is missing.

    Raises:
        DataError: there is no json file of a split at all.
    """
    tree = found.tree
    cut = "or cut a test set by photograph: --test-fraction 0.1 --seed 0"
    if not files:
        others = [path.relative_to(tree.root).as_posix() for path in _unnamed_files(tree)]
        if others:
            raise DataError(
                f"{tree.root} has {', '.join(others[:5])}, but no json file with the word train, val or test in its "
                f"name. Name the files after their splits, {cut}"
            )
        raise found.nothing(("faces_train.json", "faces_val.json", "faces_test.json"))
    if "train" not in files:
        first = next(iter(files.values()))
        told = f"there is no json file with the word 'train' in its name beside {first}. Add it."
        found.missing_part("train", "train json", told)
    if not files.keys() & {"val", "test"}:
        told = (
            f"there is no json file with the word 'val' or 'test' in its name beside {files['train']}. Add one, {cut}"
        )
        found.missing_part("test", "val or test json", told)


def _by_name(files: Mapping[str, Path], contents: Mapping[str, CocoFile], found: Gathering) -> dict[str, CocoFile]:
    """All files with their points in the order of the first one.

    Raises:
        DataError: other categories, or other names of points, than in the first file.
    """
    (role, first), *others = contents.items()
    name = files[role].name
    ordered = {role: first}
    for other, content in others:
        path = files[other]
        if content.category != first.category:
            raise DataError(
                f"{path}: faces are category '{content.category}', but '{first.category}' in {name}. Name one for all: "
                "--category <name>, or give the category one name."
            )
        if content.points != first.points:
            mine, theirs = set(content.points or ()), set(first.points or ())
            if mine != theirs:
                raise DataError(
                    f"{path}: its keypoints do not have the names of {name}: {_some(mine - theirs)} here alone, "
                    f"{_some(theirs - mine)} there alone, so that points cannot be matched. Give both the same names."
                )
            assert first.points is not None
            content = content.in_order(first.points)
            told = f"{path}: keypoints are listed in another order than in {name}; they were put in that order by name."
            found.problem(NOTE, other, f"{path.name} reordered by keypoint names", told, optional=True)
        ordered[other] = content
    if first.points is None and others:
        told = "no json file names its keypoints: point 1 of one file is taken for point 1 of the others."
        found.problem(NOTE, "", "keypoints matched by position", told, optional=True)
    return ordered


def _some(names: set[str]) -> str:
    listed = ", ".join(shown(name) for name in sorted(names)[:5])
    return (listed + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "none"


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


def _unnamed_files(tree: SourceTree) -> list[Path]:
    """Json files of the shallowest folder that has some; of several, those with "keypoint" in the name."""
    for folder in tree.by_depth():
        found = [path for name, path in tree.files(folder).items() if name.lower().endswith(".json")]
        if found:
            return [path for path in found if "keypoint" in path.stem.lower()] or found
    return []


def _only_file(gathering: Gathering) -> dict[str, Path]:
    """The only json file, as the one to train on.

    Raises:
        DataError: there is none, or more than one.
    """
    found = _unnamed_files(gathering.tree)
    if not found:
        raise gathering.nothing(("json file",))
    if len(found) > 1:
        raise DataError(
            f"{found[0].parent} has several json files: {', '.join(path.name for path in found[:5])}. Move all but one "
            "of them away, or name them after their splits: train, val, test."
        )
    return {"train": found[0]}


def _word(split: str, path: Path) -> str:
    """The word of a file's name that names a split, in lower case; "" if none does."""
    parted = re.sub(r"(?<=[a-z\d])(?=[A-Z])", "_", path.stem).lower()
    match = _SPLITS[split].search(parted)
    return match[0] if match else ""


def _base(tree: SourceTree, path: Path) -> Path:
    """The folder from which the names of a json file's images are told: that of its folder."""
    return path.parent if path.parent == tree.root else path.parent.parent


def _image_folders(tree: SourceTree, path: Path, split: str) -> list[Path]:
    """Where the images of a json file may lie, the most likely first."""
    base = _base(tree, path)
    above = [folder for folder in base.parents if folder.is_relative_to(tree.root)]
    names = dict.fromkeys(filter(None, (_word(split, path), split, path.stem.rpartition("_")[2])))
    relatives = [*(f"images/{name}" for name in names), *names, "images"]
    below = (tree.inside(folder, name) for folder in (base, *above) for name in relatives)
    return [*(folder for folder in below if folder is not None), base, *above, path.parent]


def _add(face: CocoFace, split: str, json: Path, folders: list[Path], found: Gathering) -> None:
    tree = found.tree
    written = name_below(face.image, tree.root, json.parent)
    name = relative_name(written)
    if name is None:
        message = f"{face.where}: {leads_out(face.image, tree.root, json.parent)}. Correct its file_name."
        found.bad_annotation(split, face.image, message)
        return
    places = folders if written == face.image else [tree.root]
    path = next((p for folder in places if (p := tree.inside(folder, name)) is not None), None)
    if path is None:
        found.missing_image(split, name, face.where)
        return
    photo = os.path.relpath(path, _base(tree, json)).replace(os.sep, "/")
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
