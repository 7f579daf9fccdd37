"""Pose-based balancing on shapes whose pose is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegraph.data.balancing import LargePoseBalancing, PoseBalancing, ReleasedPoseBalancing
from facegraph.data.source import FaceTable
from facegraph.errors import ConfigError, DataError


def turned_faces(yaw: np.ndarray, seed: int = 0, move: bool = True) -> np.ndarray:
    """(M, 12, 2) projections of one solid face turned by yaw (M,) radians, moved and scaled at random."""
    rng = np.random.default_rng(0)
    solid = np.column_stack([rng.uniform(-1, 1, 12), rng.uniform(-1, 1, 12), rng.uniform(-0.6, 0.6, 12)])
    x = np.cos(yaw)[:, None] * solid[:, 0] + np.sin(yaw)[:, None] * solid[:, 2]
    shapes = np.stack([x, np.broadcast_to(solid[:, 1], x.shape)], axis=-1)
    if not move:
        return shapes
    rng = np.random.default_rng(seed)
    return shapes * rng.uniform(50, 200, (len(yaw), 1, 1)) + rng.uniform(0, 500, (len(yaw), 1, 2))


def test_the_score_orders_faces_by_yaw() -> None:
    yaw = np.linspace(-0.7, 0.7, 41)
    scores = PoseBalancing().scores(turned_faces(yaw))
    assert abs(np.corrcoef(scores, yaw)[0, 1]) > 0.99
    rank = np.argsort(scores)
    assert rank.tolist() in (list(range(41)), list(range(40, -1, -1)))


def test_repeats_by_hand() -> None:
    """Scores 0, 0.5 and 1 in three bins with 8, 3 and 1 faces: round(8/8), round(8/3), 8/1."""

    class Given(PoseBalancing):
        def scores(self, landmarks: np.ndarray) -> np.ndarray:
            return landmarks[:, 0, 0]

    scores = np.repeat([0.0, 0.5, 1.0], [8, 3, 1])
    landmarks = np.zeros((12, 1, 2))
    landmarks[:, 0, 0] = scores
    repeats = Given(bins=3, max_repeat=20).repeats(landmarks)
    assert repeats.tolist() == [1] * 8 + [3] * 3 + [8]
    assert Given(bins=3, max_repeat=5).repeats(landmarks)[-1] == 5
    # nine bins leave six empty, and the repeats of the others are the same
    assert Given(bins=9, max_repeat=20).repeats(landmarks).tolist() == repeats.tolist()


def test_repeated_poses_are_about_even() -> None:
    yaw = np.clip(np.random.default_rng(0).normal(0, 0.25, 3000), -0.8, 0.8)
    shapes = turned_faces(yaw)
    balancing = PoseBalancing(bins=9, max_repeat=1000)
    before = np.histogram(balancing.scores(shapes), bins=9)[0]
    after = np.histogram(balancing.scores(shapes), bins=9, weights=balancing.repeats(shapes))[0]
    assert before.max() / before.min() > 8
    assert after.max() / after.min() < 1.6


def test_left_and_right_are_told_apart_unless_as_released() -> None:
    """Far more right than left profiles: the signed score repeats the left ones more."""
    yaw = np.concatenate([np.full(300, 0.6), np.full(10, -0.6), np.linspace(-0.1, 0.1, 300)])
    yaw = yaw + np.random.default_rng(0).normal(0, 0.01, len(yaw))
    signed = PoseBalancing(max_repeat=100).repeats(turned_faces(yaw))
    assert signed[300:310].min() > 10 * signed[:300].max()
    centred = np.concatenate([np.full(20, 0.6), np.full(20, -0.6), np.linspace(-0.1, 0.1, 300)])
    folded = ReleasedPoseBalancing(bins=3).repeats(turned_faces(centred, move=False))
    assert abs(folded[:20].mean() - folded[20:40].mean()) < 0.2 * folded[:40].mean()
    assert folded[:40].min() > folded[40:].max()


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 60), seed=st.integers(0, 1000), bins=st.integers(1, 12), cap=st.integers(1, 8))
def test_repeats_are_whole_positive_and_capped(count: int, seed: int, bins: int, cap: int) -> None:
    shapes = np.random.default_rng(seed).normal(size=(count, 5, 2)) * 30
    for balancing in (PoseBalancing(bins, cap), ReleasedPoseBalancing(bins, cap)):
        repeats = balancing.repeats(shapes)
        assert repeats.shape == (count,)
        assert repeats.dtype == np.int64
        assert repeats.min() == 1
        assert repeats.max() <= cap


def test_equal_faces_are_drawn_once() -> None:
    assert PoseBalancing().repeats(np.tile(turned_faces(np.zeros(1)), (7, 1, 1))).tolist() == [1] * 7


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="bins=0, max_repeat=10"):
        PoseBalancing(bins=0)


def table(*ids: str) -> FaceTable:
    m = len(ids)
    shapes = turned_faces(np.linspace(-0.7, 0.7, m))
    return FaceTable(ids, ids, shapes, np.zeros((m, 4)), np.zeros((m, 0), dtype=bool))


def test_a_table_is_drawn_from_by_its_poses() -> None:
    faces = table(*(str(i) for i in range(20)))
    balancing = PoseBalancing(bins=3)
    assert balancing.draws(faces).tolist() == balancing.repeats(faces.landmarks).tolist()


def test_large_poses_of_300w_lp_are_drawn_less() -> None:
    """ceil(5 * 0.8^k): 5, 4, 3.2, 2.56, 2.05, 1.64, 1.31, 1.05, 0.84, ..."""
    draws = LargePoseBalancing().draws(table(*(f"HELEN/HELEN_1629243_1_{k}.jpg" for k in range(18))))
    assert draws.tolist() == [5, 4, 4, 3, 3, 2, 2, 2] + [1] * 10
    assert draws.dtype == np.int64
    mixed = table("LFPW/LFPW_image_train_0001_0.jpg", "IBUG/IBUG_image_092 _01_13.jpg", "AFW_Flip/AFW_134212_1_1.jpg")
    assert LargePoseBalancing(most=7).draws(mixed).tolist() == [7, 1, 6]
    assert LargePoseBalancing(decay=1).draws(mixed).tolist() == [5, 5, 5]
    assert LargePoseBalancing(decay=0.01).draws(mixed).tolist() == [5, 1, 1]  # never none


def test_large_pose_balancing_is_for_300w_lp() -> None:
    others = {
        "own": "own/a.png",
        "300-W": "helen/trainset/2960256451_1.jpg",
        "300-W's afw": "afw/134212_1.jpg",
        "300-W's ibug": "ibug/image_003_1.jpg",
        "WFLW": "23--Shoppers/23_Shoppers_Shoppers_23_268.jpg",
        "a photograph": "LFPW/LFPW_image_train_0871.jpg",
    }
    for name in others.values():
        with pytest.raises(DataError, match=rf"'{name}' is not numbered .*dataset=300wlp"):
            LargePoseBalancing().draws(table("HELEN/HELEN_1629243_1_12.jpg", name))
    for wrong in ({"most": 0}, {"decay": 0.0}, {"decay": 1.5}):
        with pytest.raises(ConfigError, match=r"FAN has 5 and 0\.8"):
            LargePoseBalancing(**wrong)  # type: ignore[arg-type]
