"""Shape residuals: the face that was spoilt comes out on top, and nothing but the shape counts."""

from __future__ import annotations

import numpy as np
import pytest

from facegraph.curation.doctor.checks_shape import PAIR_BETTER, pair_distances_left
from facegraph.curation.shape_residual import shape_residuals
from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.errors import DataError
from facegraph.geometry.procrustes import procrustes
from facegraph.landmarks import IBUG68, INTER_OCULAR


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """(300, 68, 2) faces of many poses and expressions, with the noise of an annotator's hand."""
    drawn = SyntheticDataset(IBUG68, train_size=300, test_size=2, image_size=128).train().table.landmarks
    size = IBUG68.distance(INTER_OCULAR, drawn)[:, None, None]
    return drawn + 0.01 * size * np.random.default_rng(3).normal(size=drawn.shape)


@pytest.mark.parametrize("landmark", [8, 30, 36, 48, 62])
def test_a_displaced_landmark_is_on_top_and_named(faces: np.ndarray, landmark: int) -> None:
    spoilt = faces.copy()
    size = IBUG68.distance(INTER_OCULAR, spoilt[17])
    spoilt[17, landmark] += 0.3 * size * np.array([np.cos(landmark), np.sin(landmark)])
    residuals = shape_residuals(spoilt)
    assert residuals.score.argmax() == 17
    assert residuals.per_landmark[17].argmax() == landmark


def test_exchanged_and_displaced_landmarks_are_the_worst_of_all(faces: np.ndarray) -> None:
    spoilt = faces.copy()
    swapped, moved = [3, 120, 250], [40, 200]
    spoilt[swapped] = spoilt[swapped][:, list(IBUG68.flip)]
    size = IBUG68.distance(INTER_OCULAR, spoilt[moved])
    spoilt[moved, 54] += 0.3 * size[:, None] * np.array([0.6, -0.8])
    worst = np.argsort(-shape_residuals(spoilt).score)[:5]
    assert set(worst) == {*swapped, *moved}


def test_many_outliers_of_one_kind_do_not_become_usual(faces: np.ndarray) -> None:
    """Five per cent of exchanged faces would fill a direction of a PCA that is fitted to everything."""
    spoilt = faces.copy()
    swapped = np.arange(0, 300, 20)
    spoilt[swapped] = spoilt[swapped][:, list(IBUG68.flip)]
    worst = np.argsort(-shape_residuals(spoilt).score)[: len(swapped)]
    assert len(set(worst) & set(swapped)) >= len(swapped) - 1


def test_place_size_and_turn_of_a_face_do_not_count(faces: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    turn = rng.uniform(-0.5, 0.5, len(faces))
    turned = np.stack([np.stack([np.cos(turn), np.sin(turn)], -1), np.stack([-np.sin(turn), np.cos(turn)], -1)], -2)
    moved = faces @ turned * rng.uniform(0.2, 5, (len(faces), 1, 1)) + rng.uniform(-900, 900, (len(faces), 1, 2))
    np.testing.assert_allclose(shape_residuals(moved).score, shape_residuals(faces).score, rtol=0.02)


def test_a_residual_is_a_distance_over_what_is_usual_at_its_landmark(faces: np.ndarray) -> None:
    """Twice the error has twice the score, and an error counts less where annotators agree less."""
    faces, corner = faces[:150], 36
    size = IBUG68.distance(INTER_OCULAR, faces)[:, None]
    noisy = faces.copy()
    noisy[:, corner] += 0.06 * size * np.random.default_rng(4).normal(size=(150, 2))

    def residual(among: np.ndarray, error: float) -> float:
        spoilt = among.copy()
        spoilt[17, corner] = faces[17, corner] + error * size[17]
        return float(shape_residuals(spoilt).per_landmark[17, corner])

    assert residual(faces, 0.4) / residual(faces, 0.2) == pytest.approx(2.0, rel=0.15)
    assert residual(faces, 0.4) > 2 * residual(noisy, 0.4)


@pytest.mark.parametrize("landmark", [31, 36, 48])
def test_one_pair_exchanged_on_three_per_cent_of_the_faces_is_found(faces: np.ndarray, landmark: int) -> None:
    """To a PCA that is an ordinary deformation; exchanged again these faces, and no other, fit better."""
    spoilt, wrong, mirror = faces.copy(), np.arange(0, 300, 33), IBUG68.flip[landmark]
    spoilt[wrong, landmark], spoilt[wrong, mirror] = faces[wrong, mirror], faces[wrong, landmark]
    first, left = pair_distances_left(*procrustes(spoilt), IBUG68.flip)
    found = left < PAIR_BETTER
    assert set(np.flatnonzero(found.any(axis=1))) == set(wrong)
    assert set(first[found.any(axis=0)]) == {landmark}


def test_faces_without_a_shape_are_infinitely_suspicious_and_disturb_no_other(faces: np.ndarray) -> None:
    broken = np.concatenate([faces, np.full((1, 68, 2), np.nan), np.full((1, 68, 2), 7.0)])
    residuals = shape_residuals(broken)
    assert np.isinf(residuals.score[-2:]).all()
    np.testing.assert_array_equal(residuals.score[:-2], shape_residuals(faces).score)


@pytest.mark.parametrize(
    ("shape", "keep", "told"),
    [((9, 68, 2), 0.95, "at least 10"), ((20, 68), 0.95, "20, 68"), ((20, 68, 2), 1.0, "1.0")],
)
def test_what_cannot_be_compared_is_refused(shape: tuple[int, ...], keep: float, told: str) -> None:
    with pytest.raises(DataError, match=told):
        shape_residuals(np.random.default_rng(0).normal(size=shape), keep)
