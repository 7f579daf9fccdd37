"""COFW: 29 points with occlusion flags, 1,345 train and 507 test faces, photographs inside the .mat files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from facegraph.data.benchmarks.gathering import Benchmark, Gathering, Progress
from facegraph.data.entries import FaceEntry
from facegraph.data.formats.cofw import CofwAnnotations, CofwImage, read_cofw
from facegraph.errors import DataError
from facegraph.landmarks import COFW29

TRAIN_FILE, TEST_FILE = "COFW_train_color.mat", "COFW_test_color.mat"
OCCLUDED_SHARE = "occluded_share"


class CofwBenchmark(Benchmark):
    """COFW in colour (Burgos-Artizzu et al., ICCV 2013). Boxes are the publisher's.

    No subsets: papers report all 507 test faces. values: occluded_share, share of a face's landmarks marked as hidden.
    """

    name = "cofw"
    version = "COFW colour (2013)"
    scheme = COFW29
    official_counts: Mapping[str, int] = {"train": 1345, "test": 507}
    layout = f"  {TRAIN_FILE}\n  {TEST_FILE}\n  or COFW_color.zip as downloaded"
    archives: tuple[str, ...] = ("COFW*",)

    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Ids are split/number, counted from 1 as in MATLAB.

        Raises:
            DataError: neither file is there, or no usable face.
        """
        tree = found.tree
        files = {"train": tree.search(TRAIN_FILE), "test": tree.search(TEST_FILE)}
        if not any(files.values()):
            raise found.nothing((TRAIN_FILE, TEST_FILE))
        for done, (split, path) in enumerate(files.items(), start=1):
            if path is None:
                name = TRAIN_FILE if split == "train" else TEST_FILE
                message = f"{name} is not there ({self.official_counts[split]} faces). Unpack it below {tree.root}."
                found.missing_part(split, name, message)
                continue
            try:
                annotations = read_cofw(path)
                found.faces.extend(_entries(path, annotations, split))
            except DataError as error:
                found.bad_annotation(split, path.name, error)
            else:
                found.unusable(split, path, annotations.unusable.values())
            if progress is not None:
                progress(done, len(files))


def _entries(path: Path, annotations: CofwAnnotations, split: str) -> list[FaceEntry]:
    if annotations.split != split:
        raise DataError(
            f"{path} holds the {annotations.split} faces of COFW, not those of {split}. Unpack the archive again, or "
            "give the files their published names."
        )
    entries = []
    for i, (landmarks, hidden) in enumerate(zip(annotations.landmarks, annotations.hidden, strict=True)):
        if i in annotations.unusable:
            continue
        name = f"{split}/{i + 1:04d}"
        entries.append(
            FaceEntry(
                id=name,
                image=CofwImage(path, split, i, name),
                photo=name,
                split=split,
                landmarks=landmarks,
                where=f"{path}, face {i + 1}",
                box=annotations.boxes[i],
                values={OCCLUDED_SHARE: float(hidden.mean())},
                hidden=hidden,
            )
        )
    return entries
