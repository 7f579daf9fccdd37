"""box=of_the_run_moved: the crop of a run, around a box that is moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from facegraph.data.boxes import BoxPolicy, DetectorJitteredBox
from facegraph.errors import DataError
from facegraph.runs.compose import compose, make
from facegraph.runs.configuration import moved_box, offer_data_of_named_run, offer_data_of_run

IDS = tuple(f"face_{i}" for i in range(20))
BOXES = "facegraph.data.boxes."
SAVED = {
    "landmarks": {"_target_": f"{BOXES}LandmarkBox", "margin": 1.6, "side": "each"},
    "official": {"_target_": f"{BOXES}OfficialBox", "margin": 2.0, "side": "mean", "fallback": True},
    "jittered": {
        "_target_": f"{BOXES}DetectorJitteredBox", "margin": 1.5, "side": "longer", "fallback": True, "shift": 0.2,
        "width": [0.5, 2.0], "height": [0.5, 2.0], "probability": 0.5, "seed": 3, "around": "landmarks",
        "scored_too": False,
    },
    "of an earlier version": {"_target_": f"{BOXES}LandmarkBox", "margin": 1.3},
}  # fmt: skip


def faces() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(20, 200, (len(IDS), 68, 2))
    official = np.concatenate([rng.uniform(0, 30, (len(IDS), 2)), rng.uniform(150, 260, (len(IDS), 2))], axis=1)
    return landmarks, official


def squares(policy: BoxPolicy) -> np.ndarray:
    landmarks, official = faces()
    boxes = policy.scored(policy.boxes(landmarks, official, IDS), IDS)
    return np.stack([policy.square(box, 128) for box in boxes])


@pytest.mark.parametrize("saved", SAVED.values(), ids=SAVED)
def test_unmoved_it_cuts_as_the_run_does(saved: dict[str, Any]) -> None:
    moved = make(moved_box(saved))
    assert isinstance(moved, DetectorJitteredBox)
    np.testing.assert_allclose(squares(moved), squares(make(saved)), atol=1e-9)


@pytest.mark.parametrize("saved", SAVED.values(), ids=SAVED)
def test_moved_it_keeps_margin_and_draws(saved: dict[str, Any]) -> None:
    """Faces are moved by the same share whatever the run's own crop is."""
    landmarks, official = faces()
    moved = make({**moved_box(saved), "shift": 0.3})
    boxes = moved.boxes(landmarks, official, IDS)
    centres, still = ((b[:, :2] + b[:, 2:]) / 2 for b in (moved.scored(boxes, IDS), boxes))
    shares = (centres - still) / (boxes[:, 2:] - boxes[:, :2])
    plain = make({**moved_box({}), "shift": 0.3})
    tight = plain.boxes(landmarks, official, IDS)
    expected = (plain.scored(tight, IDS)[:, :2] - tight[:, :2]) / (tight[:, 2:] - tight[:, :2])
    np.testing.assert_allclose(shares, expected, atol=1e-9)
    assert 0.2 < np.abs(shares).max() <= 0.3
    assert (moved.margin, moved.side) == (saved["margin"], saved.get("side", "longer"))


def test_a_run_that_insists_on_official_boxes_still_does() -> None:
    moved = make(moved_box({"_target_": f"{BOXES}OfficialBox", "margin": 1.25, "side": "longer", "fallback": False}))
    landmarks, official = faces()
    with pytest.raises(DataError):
        moved.boxes(landmarks, np.full_like(official, np.nan), IDS)


@pytest.mark.parametrize("name", ["a,b", "a b", "a=b", "plain"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quoted_folder_is_found(name: str, quote: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.yaml").write_text("box: {_target_: facegraph.data.boxes.LandmarkBox, margin: 1.7}\n")
    offer_data_of_named_run([f"run={quote}{tmp_path / name}{quote}"])
    assert compose(["box=of_the_run"], "eval").box.margin == 1.7
    offer_data_of_run(None)


def test_its_settings_are_changed_one_by_one() -> None:
    offer_data_of_run(None)
    cfg = compose(["box=of_the_run_moved", "box.shift=0.2", "box.width=[0.8,1.2]"], "eval")
    assert OmegaConf.to_container(cfg.box) == {**moved_box({}), "shift": 0.2, "width": [0.8, 1.2]}
