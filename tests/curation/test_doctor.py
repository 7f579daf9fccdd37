"""Every defect that is put into a small store is found by its check, and a clean store is called clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from facegraph.curation.doctor.checks import examine
from facegraph.curation.doctor.crop_prints import CropPrints, perceptual_signs, similar_pairs
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import Finding, count_levels
from facegraph.data.entries import FaceEntry, Problem
from facegraph.data.store.layout import INFO_FILE, TABLE_FILE, CropPolicy
from facegraph.data.store.reader import FaceStore
from facegraph.data.store.writer import StoreContent, write_store
from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.errors import DataError
from facegraph.geometry.affine import landmark_box
from facegraph.landmarks import IBUG68, LandmarkScheme

TRAIN, TEST = 24, 8
SIDE = 96


@dataclass(frozen=True)
class DrawnImage:
    """A photograph that is at hand."""

    name: str
    pixels: np.ndarray

    @property
    def path(self) -> Path:
        return Path(self.name)

    def read(self) -> np.ndarray:
        return self.pixels


def entry(name: str, pixels: np.ndarray, landmarks: np.ndarray, split: str) -> FaceEntry:
    box = landmark_box(landmarks)
    return FaceEntry(name, DrawnImage(f"{name}.png", pixels), name, split, landmarks, f"list.txt row {name}", box)


@pytest.fixture(scope="module")
def drawn() -> list[FaceEntry]:
    dataset = SyntheticDataset(IBUG68, train_size=TRAIN, test_size=TEST, image_size=128)
    return [
        entry(f"{split}{i}", source.image(i), source.table.landmarks[i], split)
        for split, source in (("train", dataset.train()), ("test", dataset.test()))
        for i in range(len(source.table))
    ]


def write(
    root: Path,
    faces: Sequence[FaceEntry],
    official: Mapping[str, int] | None = None,
    scheme: LandmarkScheme = IBUG68,
    attributes: tuple[str, ...] = (),
    problems: tuple[Problem, ...] = (),
    scale: float = 2.0,
) -> Path:
    content = StoreContent("drawn", scheme, faces, attributes, "1", problems, official or {}, "here")
    write_store(content, root / "store", CropPolicy(side=SIDE, scale=scale))
    return root / "store"


def found(store: Path, quick: bool = False) -> list[Finding]:
    return examine(Examination(FaceStore(store), quick=quick))


def of_check(findings: Sequence[Finding], check: str, level: str) -> Finding:
    matching = [finding for finding in findings if (finding.check, finding.level) == (check, level)]
    assert len(matching) == 1, [f for f in findings if f.check == check]
    return matching[0]


def alarms(findings: Sequence[Finding]) -> set[tuple[str, str]]:
    return {(finding.check, finding.level) for finding in findings if finding.level != "info"}


def test_a_clean_store_raises_no_alarm(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    findings = found(write(tmp_path, drawn, {"train": TRAIN, "test": TEST}))
    assert alarms(findings) == set()
    assert "hash" in of_check(findings, "store", "info").message
    assert count_levels(findings)["error"] == 0


@pytest.mark.parametrize(
    ("official", "alarm"),
    [
        ({"train": TRAIN + 1, "test": TEST}, "warning"),
        ({"train": TRAIN - 1, "test": TEST}, "error"),
        ({"train": TRAIN, "test": TEST, "extra": 5}, "warning"),
        ({"all": TRAIN + TEST + 1}, "warning"),
    ],
    ids=["fewer", "more", "empty", "sum"],
)
def test_counts_are_held_against_the_official_ones(
    tmp_path: Path, drawn: list[FaceEntry], official: dict[str, int], alarm: str
) -> None:
    assert alarms(found(write(tmp_path, drawn, official))) == {("counts", alarm)}


def test_attributes_are_counted_per_split(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    faces = [replace(face, attributes={"blur": i % 2 == 0}) for i, face in enumerate(drawn)]
    findings = found(write(tmp_path, faces, {"test/blur": 9}, attributes=("blur",)))
    values = {f.values["name"]: (f.values["found"], f.values["official"]) for f in findings if f.check == "attributes"}
    assert values == {"train/blur": (TRAIN // 2, None), "test/blur": (TEST // 2, 9)}
    assert alarms(findings) == set()


def test_a_photograph_on_both_sides_is_an_error(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    faces = [*drawn]
    faces[TRAIN] = replace(faces[TRAIN], photo=faces[3].photo)
    finding = of_check(found(write(tmp_path, faces)), "same photograph", "error")
    assert set(finding.ids) == {"train3", "test0"}


def test_both_columns_that_name_a_photograph_are_examined(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    """A warning by the one does not hide an error by the other; what both say is said once."""
    store = write(tmp_path, drawn)
    frame = pd.read_parquet(store / TABLE_FILE)
    frame.loc[[TRAIN + 1, TRAIN + 2], "photo"] = "of two scored splits"
    frame.loc[TRAIN + 1, "split"] = "val"
    frame.loc[[3, TRAIN], "image"] = "leaked.png"
    frame.to_parquet(store / TABLE_FILE)

    def told() -> dict[str, set[str]]:
        findings = [f for f in found(store, quick=True) if f.check == "same photograph"]
        assert len({f.level for f in findings}) == len(findings)
        return {f.level: set(f.ids) for f in findings}

    expected = {"error": {"train3", "test0"}, "warning": {"test1", "test2"}}
    assert told() == expected
    frame["image"] = frame["image"].where(frame["photo"] != "of two scored splits", "the same")
    frame.loc[[3, TRAIN], "photo"] = "leaked"
    frame.to_parquet(store / TABLE_FILE)
    assert told() == expected


def test_pairs_of_scored_splits_are_no_leak_into_training(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    again = entry("again", drawn[-1].image.read(), drawn[-1].landmarks, "val")
    finding = of_check(found(write(tmp_path, [*drawn, again]), quick=True), "identical crops", "warning")
    assert set(finding.ids) == {"test7", "again"}
    assert "Nothing leaks into training" in finding.message
    assert "Remove" not in finding.message


def test_an_identical_picture_is_an_error_and_a_worked_over_one_a_warning(
    tmp_path: Path, drawn: list[FaceEntry]
) -> None:
    pixels = drawn[5].image.read()
    paler = cv2.GaussianBlur((pixels * 0.7 + 60).astype(np.uint8), (0, 0), 0.8)
    nudged = drawn[6].landmarks + 0.4
    copies = [
        entry("same", drawn[5].image.read(), drawn[5].landmarks, "test"),
        entry("worked", cv2.imdecode(cv2.imencode(".jpg", paler)[1], cv2.IMREAD_COLOR), drawn[5].landmarks, "test"),
        entry("within", (drawn[6].image.read() * 0.9).astype(np.uint8), nudged, "train"),
    ]
    findings = found(write(tmp_path, [*drawn, *copies]))
    assert of_check(findings, "identical crops", "error").ids == ("train5", "same")
    across = of_check(findings, "near-duplicates", "warning")
    assert set(across.ids) == {"train5", "worked"}
    assert min(across.measured) > 0.9
    assert set(of_check(findings, "near-duplicates", "info").ids) >= {"train6", "within"}


def test_pairs_are_those_of_comparing_all_with_all() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (40, 32, 32)).astype(np.uint8)
    faces = base[rng.integers(0, 40, 1500)].astype(float) + rng.normal(
        0, rng.choice([5, 60], (1500, 1, 1)), (1500, 32, 32)
    )
    faces = faces.clip(0, 255).astype(np.uint8)
    signs = np.array([perceptual_signs(face) for face in faces])
    pairs = similar_pairs(CropPrints(np.zeros((1500, 16), np.uint8), signs, faces, {}))
    distance = (signs[:, None] != signs[None]).sum(axis=-1)
    correlation = np.corrcoef(faces.reshape(1500, -1))
    expected = np.argwhere(np.triu((distance <= 12) & (correlation >= 0.9), k=1))
    assert len(expected) > 1000
    assert set(zip(pairs.first, pairs.second, strict=True)) == set(map(tuple, expected))
    assert (pairs.distance == distance[pairs.first, pairs.second]).all()
    assert (np.diff(pairs.correlation) <= 0).all()


def test_landmarks_outside_photograph_box_and_crop_are_counted(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    faces = [*drawn]
    shifted = faces[2].landmarks - [faces[2].landmarks[:, 0].min() + 3, 0]
    faces[2] = replace(faces[2], landmarks=shifted, box=landmark_box(shifted))
    x0, y0, x1, y1 = faces[4].box
    faces[4] = replace(faces[4], box=np.array([x0, y0, x1, y0 + 0.6 * (y1 - y0)]))
    store = write(tmp_path, faces)
    frame = pd.read_parquet(store / TABLE_FILE)
    frame.loc[7, "shift_x"] += SIDE / 2
    frame.to_parquet(store / TABLE_FILE)
    findings = found(store, quick=True)
    photo = of_check(findings, "outside photograph", "warning")
    assert photo.ids == ("train2",)
    assert photo.measured[0] == photo.values["landmarks"] == (shifted < -0.5).any(axis=1).sum()
    assert of_check(findings, "outside box", "warning").ids == ("train4",)
    assert of_check(findings, "outside crop", "error").ids == ("train7",)


def test_a_crop_without_surroundings_holds_its_landmarks(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    """At scale 1 the outermost landmarks lie on the edge of the crop, to the last digit on either side of it."""
    store = write(tmp_path, drawn, scale=1.0)
    assert not [f for f in found(store, quick=True) if f.check == "outside crop"]


def test_small_eye_distances_are_graded(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    faces = [*drawn]
    points = faces[2].landmarks.copy()
    points[45] = points[36] + [3.0, 0]
    faces[2] = replace(faces[2], landmarks=points)
    store = write(tmp_path, faces)
    frame = pd.read_parquet(store / TABLE_FILE)  # prepare itself leaves such faces out
    frame.loc[1, ["x45", "y45"]] = frame.loc[1, ["x36", "y36"]].to_numpy()
    frame.loc[4, "x0"] = np.nan
    frame.to_parquet(store / TABLE_FILE)
    findings = found(store, quick=True)
    assert of_check(findings, "eyes", "error").ids == ("train1",)
    warning = of_check(findings, "eyes", "warning")
    assert (warning.ids, warning.measured) == (("train2",), (3.0,))


def test_landmarks_that_are_no_numbers_are_an_error_of_any_scheme(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    store = write(tmp_path, drawn, scheme=replace(IBUG68, name="no distances", normalisers={}))
    frame = pd.read_parquet(store / TABLE_FILE)
    frame.loc[4, "x0"], frame.loc[6, "y9"] = np.nan, np.inf
    frame.to_parquet(store / TABLE_FILE)
    findings = found(store, quick=True)
    assert of_check(findings, "store", "error").ids == ("train4", "train6")
    assert of_check(findings, "boxes", "info").values.keys() >= {"width_ratio"}  # and no face lacks its official box
    assert not {"train4", "train6"} & set(of_check(findings, "shapes", "info").ids)


def test_a_mirror_list_that_swaps_a_pair_is_an_error(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    flip = list(IBUG68.flip)
    flip[36], flip[45], flip[39], flip[42] = 42, 39, 45, 36
    wrong = replace(IBUG68, name="wrong68", flip=tuple(flip))
    finding = of_check(found(write(tmp_path, drawn, scheme=wrong)), "mirror list", "error")
    assert "36" in finding.message
    deviation = finding.values["deviation"]
    assert set(np.argsort(deviation)[-4:]) == {36, 39, 42, 45}


def test_a_face_numbered_from_the_other_side_is_named(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    faces = [*drawn]
    faces[9] = replace(faces[9], landmarks=faces[9].landmarks[list(IBUG68.flip)])
    findings = found(write(tmp_path, faces))
    assert of_check(findings, "left and right", "warning").ids == ("train9",)
    assert of_check(findings, "shapes", "info").ids[0] == "train9"


def test_exchanged_mouth_corners_are_named(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    faces = [*drawn]
    for i in (9, 20):
        points = faces[i].landmarks.copy()
        points[[48, 54]] = points[[54, 48]]
        faces[i] = replace(faces[i], landmarks=points)
    finding = of_check(found(write(tmp_path, faces), quick=True), "exchanged pairs", "warning")
    assert set(finding.ids) == {"train9", "train20"}
    assert finding.values == {"landmarks": [48, 48], "pairs": {"48 and 54": 2}}


def test_annotations_that_repeat_are_named(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    copied = replace(drawn[1], landmarks=drawn[0].landmarks, box=drawn[0].box)
    listed_twice = replace(drawn[2], id="again")
    findings = found(write(tmp_path, [drawn[0], copied, *drawn[2:], listed_twice]))
    named = [f for f in findings if f.check == "annotated twice"]
    assert [set(f.ids) for f in named] == [{"train0", "train1"}, {"train2", "again"}]


def test_small_and_magnified_faces_are_named(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    small = cv2.resize(drawn[3].image.read(), (32, 32), interpolation=cv2.INTER_AREA)
    faces = [*drawn]
    faces[3] = entry("train3", small, (drawn[3].landmarks + 0.5) / 4 - 0.5, "train")
    findings = found(write(tmp_path, faces))
    assert of_check(findings, "small faces", "warning").ids == ("train3",)
    assert of_check(findings, "upsampled", "info").ids == ("train3",)


def test_the_official_box_is_told_in_terms_of_the_landmark_box(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    def enlarged(face: FaceEntry) -> FaceEntry:
        x0, y0, x1, y1 = landmark_box(face.landmarks)
        w, h = x1 - x0, y1 - y0
        return replace(face, box=np.array([x0 - 0.1 * w, y0 - 0.3 * h, x1 + 0.1 * w, y1]))

    faces = [*map(enlarged, drawn[:-1]), replace(drawn[-1], box=None)]
    findings = found(write(tmp_path, faces))
    told = [f for f in findings if f.check == "boxes"]
    assert told[0].values == {"without": 1}
    expected = {"width_ratio": 1.2, "height_ratio": 1.3, "offset_x": 0.0, "offset_y": -0.15}
    assert {name: told[1].values[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def _flip_a_bit(store: Path) -> None:
    shard = next((store / "images").iterdir())
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(bytes(content))


def _repeat_an_id(store: Path) -> None:
    frame = pd.read_parquet(store / TABLE_FILE)
    frame.loc[3, "id"] = frame.loc[4, "id"]
    frame.to_parquet(store / TABLE_FILE)


def _move_a_landmark(store: Path) -> None:
    frame = pd.read_parquet(store / TABLE_FILE)
    frame.loc[3, "x36"] += 1
    frame.to_parquet(store / TABLE_FILE)


def _drop_a_row(store: Path) -> None:
    pd.read_parquet(store / TABLE_FILE).iloc[1:].to_parquet(store / TABLE_FILE)


def _cut_a_shard(store: Path) -> None:
    shard = sorted((store / "images").iterdir())[-1]
    shard.write_bytes(shard.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "told", "seen_when_quick"),
    [
        (_flip_a_bit, "content hash", False),
        (_repeat_an_id, "more than once", True),
        (_move_a_landmark, "norm distances", True),
        (_drop_a_row, "annotations.parquet has", True),
        (_cut_a_shard, "cannot be read", True),
    ],
)
def test_a_damaged_store_is_an_error(
    tmp_path: Path, drawn: list[FaceEntry], damage: Callable[[Path], Any], told: str, seen_when_quick: bool
) -> None:
    store = write(tmp_path, drawn)
    damage(store)
    for quick in (False, True):
        errors = [f.message for f in found(store, quick) if (f.check, f.level) == ("store", "error")]
        assert any(told in message for message in errors) == (seen_when_quick or not quick)
        assert any("content hash" in message for message in errors) != quick


def test_what_prepare_recorded_is_repeated(tmp_path: Path, drawn: list[FaceEntry]) -> None:
    problems = tuple(Problem("missing image", "test", f"{i}.jpg", "it is not there") for i in range(4))
    told, photographs = [f for f in found(write(tmp_path, drawn, problems=problems)) if f.check == "problems"]
    assert told.values["count"] == 4
    assert "4 x missing image of 'test'" in told.message
    assert "rotation" not in photographs.message  # no photograph had one


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=INFO_FILE):
        FaceStore(tmp_path)
