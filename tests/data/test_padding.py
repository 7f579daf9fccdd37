"""Crops that leave what their pictures show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facegraph.curation.prepare.build import prepare
from facegraph.data.augment import Augmentation
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.boxes import EACH, BoxPolicy, DetectorJitteredBox, LandmarkBox
from facegraph.data.crops import CropsDataset
from facegraph.data.datamodule import FaceDataModule, check_room, padding_shares
from facegraph.data.normalise import PerImage
from facegraph.data.prepared import PreparedDataset
from facegraph.data.source import LandmarkDataset
from facegraph.data.store.layout import CropPolicy
from facegraph.errors import ConfigError
from tests.helpers.faces import QUAD, annotation_frame, write_faces

BOX = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 20.0]])


def test_shares_by_hand() -> None:
    """Sides of 20 and 40 px around the middles (5, 5) and (5, 10)."""
    seen = np.array([[-5.0, -5.0, 15.0, 15.0], [-5.0, -10.0, 15.0, 30.0]])
    np.testing.assert_allclose(padding_shares(LandmarkBox(margin=2), BOX, seen), [0, 0.5], atol=1e-12)
    np.testing.assert_allclose(padding_shares(LandmarkBox(margin=2, side=EACH), BOX, seen), [0, 0], atol=1e-12)
    np.testing.assert_allclose(padding_shares(LandmarkBox(margin=2), BOX, seen + 100), [1, 1], atol=1e-12)


def test_one_face_at_a_border_is_no_reason_to_refuse() -> None:
    boxes = np.repeat(BOX[:1], 5, axis=0)
    seen = np.repeat([[-5.0, -5.0, 15.0, 15.0]], 5, axis=0)
    seen[0] = [0, 0, 15, 15]
    check_room(LandmarkBox(margin=2), boxes, seen, "q", lambda factor: "")
    with pytest.raises(ConfigError, match=r"box\.margin=3 .* 'q' .* 56% .* Set box\.margin=2 or less, or 1\.5\."):
        check_room(LandmarkBox(margin=3), boxes, seen, "q", lambda factor: f", or {factor:g}")


def module(dataset: LandmarkDataset, box: BoxPolicy) -> FaceDataModule:
    return FaceDataModule(dataset, Augmentation(), PerImage(), 32, box, 2, 2, 0, 0.0, 0)


def test_a_margin_beyond_the_store_is_refused_and_the_scale_named(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", annotation_frame(6, tests=2))
    prepare(FolderBenchmark(QUAD), tmp_path / "faces", tmp_path / "store", CropPolicy(side=64, scale=2.0))
    dataset = PreparedDataset(tmp_path / "store")
    for stage in ("fit", "test"):
        with pytest.raises(ConfigError, match=r"margin=2 or less, or prepare the set again with --scale 3\."):
            module(dataset, LandmarkBox(margin=3)).setup(stage)
    fitting = module(dataset, LandmarkBox(margin=2))
    fitting.setup("test")
    assert fitting.test_padding == pytest.approx(0, abs=1e-6)


def test_boxes_that_are_moved_for_scoring_are_not_refused_but_counted(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", annotation_frame(6, tests=2))
    prepare(FolderBenchmark(QUAD), tmp_path / "faces", tmp_path / "store", CropPolicy(side=64, scale=1.3))
    moved = module(PreparedDataset(tmp_path / "store"), DetectorJitteredBox(shift=0.4))
    moved.setup("test")
    assert 0.02 < moved.test_padding < 0.5


def test_a_folder_of_tight_crops_is_one_too(tmp_path: Path) -> None:
    frame = annotation_frame(6, tests=2)
    write_faces(tmp_path, frame)
    with pytest.raises(ConfigError, match=r"box\.margin=6 cuts more than the pictures of 'crops' show.*or less\.$"):
        module(CropsDataset(tmp_path, QUAD), LandmarkBox(margin=6)).setup("fit")
