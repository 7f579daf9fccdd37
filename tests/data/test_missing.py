"""Faces that lack landmarks: refused, left out and named, or masked, from a csv as from a store."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from facegraph.curation.doctor.checks import examine
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.prepare.build import prepare
from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.boxes import LandmarkBox
from facegraph.data.crops import CropsDataset
from facegraph.data.faults import LEAVE_OUT, MASK
from facegraph.data.pipeline import FacePipeline
from facegraph.data.prepared import PreparedDataset
from facegraph.data.source import FaceTable, fingerprint
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.reader import FaceStore
from facegraph.errors import ConfigError, DataError
from facegraph.structures import FaceSample
from tests.helpers.faces import QUAD, annotation_frame, write_faces

MARKS = {"zero": (0, 0), "minus one": (-1, -1), "empty": ("", ""), "nan": ("nan", "NA")}


@pytest.fixture
def frame() -> pd.DataFrame:
    return annotation_frame(6, tests=2).astype(object)


def written(root: Path, frame: pd.DataFrame) -> Path:
    """The folder with image and row of the frame as they are."""
    write_faces(root, frame.assign(**annotation_frame(6, tests=2).drop(columns=["image", "split"])))
    frame.to_csv(root / "annotations.csv", index=False)
    return root


def store(root: Path, missing: str) -> FaceStore:
    prepare(FolderBenchmark(QUAD), root, root.parent / f"store_{missing}", CropPolicy(side=64), missing=missing)
    return FaceStore(root.parent / f"store_{missing}")


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_a_csv_with_marks(tmp_path: Path, frame: pd.DataFrame, mark: tuple[object, object]) -> None:
    frame.loc[2, ["x3", "y3"]] = mark
    root = written(tmp_path / "faces", frame)
    with pytest.raises(DataError, match=r"line 4: 1 of 4 landmarks are marked as missing \(3\) \(1 of 6 rows.*=mask"):
        CropsDataset(root, QUAD).train()
    with pytest.warns(UserWarning, match="these faces are left out"):
        assert len(CropsDataset(root, QUAD, missing=LEAVE_OUT).train().table) == 3
    table = CropsDataset(root, QUAD, missing=MASK).train().table
    assert np.isnan(table.landmarks).nonzero()[0].tolist() == [2, 2]
    assert np.isnan(table.landmarks[2, 3]).all()


def test_a_store_names_what_it_leaves_out_or_keeps_it(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[2, ["x3", "y3"]] = 0, 0
    root = written(tmp_path / "faces", frame)
    strict = store(root, LEAVE_OUT)
    assert len(strict) == 5
    assert [(p["kind"], p["name"]) for p in strict.info.problems] == [("missing landmarks", "face_002.png")]
    assert "--missing mask" in strict.info.problems[0]["message"]
    masked = store(root, MASK)
    assert masked.info.missing == MASK
    assert np.isnan(masked.landmarks[2]).all(axis=-1).tolist() == [False, False, False, True]
    table = PreparedDataset(masked.path, normalisers=["inter_ocular", "box"]).train().table
    assert np.isnan(table.landmarks[2, 3]).all()
    found = [f for f in examine(Examination(masked)) if f.check == "missing landmarks"]
    assert [(f.level, f.ids, f.measured) for f in found] == [("info", ("face_002.png",), (1.0,))]
    assert not [f for f in examine(Examination(masked)) if f.level == "error"]


def test_doctor_finds_marks_that_a_store_took_for_px(tmp_path: Path, frame: pd.DataFrame) -> None:
    made = store(written(tmp_path / "faces", frame), LEAVE_OUT)
    table = pd.read_parquet(made.path / "annotations.parquet")
    table.loc[1, ["x2", "y2"]] = -1.0
    table.to_parquet(made.path / "annotations.parquet", index=False)
    findings = examine(Examination(FaceStore(made.path), quick=True))
    (found,) = [f for f in findings if f.check == "missing landmarks"]
    assert (found.level, found.ids) == ("error", ("face_001.png",))


def test_a_face_without_its_normaliser_is_left_out_unless_another_is_chosen(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    frame.loc[1, ["x0", "y0"]] = -1, -1
    root = written(tmp_path / "faces", frame)
    with pytest.warns(UserWarning, match=r"1 of 4 faces .*inter_ocular, box.* first 'face_001.png'; they are left out"):
        assert len(CropsDataset(root, QUAD, missing=MASK).train().table) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(CropsDataset(root, QUAD, missing=MASK, normalisers=["box"]).train().table) == 4
    with pytest.warns(UserWarning, match="they are left out"):
        assert len(PreparedDataset(store(root, MASK).path).train().table) == 3
    frame[["x0", "y0"]] = -1
    with pytest.raises(DataError, match=r"4 of 4 faces .*; none is left\. dataset.normalisers=\[box\]"):
        CropsDataset(written(tmp_path / "none", frame), QUAD, missing=MASK).train()


def test_half_a_mark_and_a_face_without_points_are_refused(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.loc[2, "x3"] = ""
    with pytest.raises(DataError, match="line 4, column x3: '' is no finite number"):
        CropsDataset(written(tmp_path / "half", frame), QUAD, missing=MASK).train()
    frame.loc[2, [c for c in frame if c[0] in "xy"]] = 0
    with pytest.raises(DataError, match="line 4: it has 0 of 4 landmarks; two at least make a face"):
        CropsDataset(written(tmp_path / "none", frame), QUAD, missing=MASK).train()
    with pytest.raises(ConfigError, match=r"dataset\.missing is 'ignore'; refuse, leave_out or mask"):
        CropsDataset(tmp_path, QUAD, missing="ignore")


@pytest.mark.parametrize("flipped", [0.0, 1.0])
def test_labels_follow_the_mirror(flipped: float) -> None:
    """In the mirror image the right eye, landmark 1, is landmark 0."""
    augmentation = Augmentation(GeometricAugmentation(flip_probability=flipped))
    pipeline = FacePipeline(QUAD, 64, LandmarkBox(), augmentation)
    points = np.array([[20.0, 24.0], [40.0, 24.0], [26.0, 41.0], [38.0, 41.0]])
    sample = FaceSample(
        np.zeros((64, 64, 3), np.uint8), points, np.array([20.0, 24.0, 40.0, 41.0]), np.zeros(0, bool), "a",
        labelled=np.array([True, False, True, True]),
    )  # fmt: skip
    item = pipeline.item(sample, 0, np.ones(1), np.random.default_rng(0))
    assert item.labelled.tolist() == ([False, True, True, True] if flipped else [True, False, True, True])
    assert torch.isfinite(item.landmarks).all()


def test_fingerprints_tell_missing_landmarks_apart() -> None:
    points = np.arange(16, dtype=np.float64).reshape(2, 4, 2)
    partial = points.copy()
    partial[0, 1] = np.nan
    tables = [FaceTable(("a", "b"), ("a", "b"), p, np.zeros((2, 4)), np.zeros((2, 0), bool)) for p in (points, partial)]
    assert fingerprint(tables[0]) != fingerprint(tables[1]) == fingerprint(tables[1])
