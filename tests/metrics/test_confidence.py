"""What a confidence is worth: known answers, an independent way to the same numbers, tables with and without it."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, spearmanr

from facegraph.errors import ConfigError, DataError
from facegraph.layers.error_head import ErrorHead, with_predicted_error
from facegraph.losses.criteria import L1
from facegraph.losses.face_errors import predicted_error_term
from facegraph.metrics.confidence import (
    error_retention,
    failure_auroc,
    rank_correlation,
    retention_area,
    retention_areas,
)
from facegraph.records import prediction_frame, predictions_of, summarise
from facegraph.reports.plots.curves import plot_retention
from facegraph.structures import FaceBatch, LandmarkOutput
from tests.helpers.models import face_statistics

FEW = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), min_size=2, max_size=30)
"""Errors and confidences of few different values, so that there are ties."""


def columns(faces: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    errors, confidence = np.array(faces, dtype=np.float64).T
    return errors / 100, confidence


def test_rank_correlation_of_known_ranks() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 100, 1000])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, -np.inf])) == pytest.approx(-1)
    # one exchanged pair of four: 1 - 6 * 2 / (4 * 15)
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)
    for a, b in (([1.0, 2], [5.0, 5]), ([1.0], [1.0]), ([1.0, np.nan, 2], [1.0, 2, 3])):
        assert np.isnan(rank_correlation(np.array(a), np.array(b)))


@given(FEW)
def test_numbers_are_those_of_scipy(faces: list[tuple[int, int]]) -> None:
    errors, confidence = columns(faces)
    ours = rank_correlation(errors, confidence)
    if len(set(errors)) == 1 or len(set(confidence)) == 1:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(spearmanr(errors, confidence).statistic)
    failed, kept = confidence[errors > 0.03], confidence[errors <= 0.03]
    found = failure_auroc(errors, confidence, 0.03)
    if len(failed) and len(kept):
        assert found == pytest.approx(mannwhitneyu(kept, failed).statistic / (len(failed) * len(kept)))
    else:
        assert np.isnan(found)


def test_failures_are_found_by_low_confidence() -> None:
    errors = np.array([0.02, 0.03, 0.20, np.nan])
    assert failure_auroc(errors, np.array([0.9, 0.8, 0.3, 0.1]), 0.1) == 1
    assert failure_auroc(errors, np.array([0.1, 0.3, 0.8, 0.9]), 0.1) == 0
    assert failure_auroc(errors, np.ones(4), 0.1) == 0.5
    # no confidence is less sure than any: of four pairs one is the wrong way round
    assert failure_auroc(errors, np.array([0.5, 0.9, 0.7, np.nan]), 0.1) == 0.75
    with pytest.raises(ConfigError, match="threshold is 0"):
        failure_auroc(errors, np.ones(4), 0)
    with pytest.raises(DataError, match=r"shapes \(4,\) and \(3,\)"):
        failure_auroc(errors, np.ones(3), 0.1)


def test_retention_of_known_faces() -> None:
    share, kept = error_retention(np.array([0.3, 0.1, 0.2]), np.array([0.1, 0.7, 0.4]))
    assert share == pytest.approx([1 / 3, 2 / 3, 1])
    assert kept == pytest.approx([0.1, 0.15, 0.2])
    areas = retention_areas(np.array([0.3, 0.1, 0.2]), np.array([0.4, 0.7, 0.1]))
    assert areas.oracle == pytest.approx(0.15)
    assert areas.random == pytest.approx(0.2)
    assert areas.area == pytest.approx((0.1 + 0.2 + 0.2) / 3)
    assert areas.score == pytest.approx((0.2 - areas.area) / 0.05)
    assert np.isnan(retention_areas(np.full(7, 0.1), np.arange(7.0)).score)
    _, kept = error_retention(np.array([0.1, np.nan, 0.2]), np.array([3.0, 2, 1]))
    assert np.isnan(kept).tolist() == [False, True, True]
    with pytest.raises(DataError, match="no face to retain"):
        error_retention(np.empty(0), np.empty(0))


@given(FEW)
def test_retention_lies_between_its_bounds(faces: list[tuple[int, int]]) -> None:
    errors, confidence = columns(faces)
    oracle, worst = retention_area(errors, -errors), retention_area(errors, errors)
    assert oracle - 1e-12 <= retention_area(errors, confidence) <= worst + 1e-12
    assert retention_area(errors, np.zeros(len(errors))) == pytest.approx(errors.mean())
    assert error_retention(errors, confidence)[1][-1] == pytest.approx(errors.mean())


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=2, max_size=5))
def test_equally_sure_faces_are_taken_in_random_order(faces: list[tuple[int, int]]) -> None:
    errors, confidence = columns(faces)
    orders = [list(p) for p in itertools.permutations(range(len(errors))) if all(np.diff(confidence[list(p)]) <= 0)]
    curves = [np.cumsum(errors[order]) / np.arange(1, len(errors) + 1) for order in orders]
    assert error_retention(errors, confidence)[1] == pytest.approx(np.mean(curves, axis=0))


# ---- frames and summaries


def frame(confidence: np.ndarray | None, checkpoint: str = "last") -> pd.DataFrame:
    """Three faces of two landmarks with errors of 5, 10 and 15 % of the normaliser."""
    truth = np.tile([[10.0, 10.0], [30.0, 10.0]], (3, 1, 1))
    prediction = truth + np.array([1.0, 2.0, 3.0])[:, None, None] * [1.0, 0.0]
    norms = {"inter_ocular": np.full(3, 20.0)}
    said = {} if confidence is None else {"confidence": confidence}
    return prediction_frame(list("abc"), np.arange(3), prediction, truth, norms, {}, checkpoint, said)


def test_what_a_model_says_of_a_face_is_kept() -> None:
    plain = frame(np.array([0.9, 0.1, 0.5]))
    faces = predictions_of(plain)
    parts = (faces.prediction, faces.truth, faces.norm_distances, faces.attributes, "last")
    said = {
        "predicted_error": np.array([0.1, -0.2, 0.3]),
        "iterations": np.array([3, 1, 1]),
        "failed": np.array([0.0, 1.0, 0.0]),
    }
    full = prediction_frame(list("abc"), np.arange(3), *parts, {**faces.said, **said})
    assert [c for c in full.columns if c not in plain.columns] == list(said)
    again = predictions_of(full)
    for name, values in said.items():
        np.testing.assert_allclose(again.said[name], values.astype(again.said[name].dtype))
    assert again.said["failed"].dtype == bool
    found = summarise(full, ["inter_ocular"], {})["confidence"]
    assert found["mean_iterations"] == pytest.approx(5 / 3)
    assert found["reported_failures"] == pytest.approx(1 / 3)
    nothing = dict.fromkeys(said, np.full(3, np.nan))
    assert list(prediction_frame(list("abc"), np.arange(3), *parts, {**faces.said, **nothing}).columns) == list(
        plain.columns
    )
    assert "mean_iterations" not in summarise(plain, ["inter_ocular"], {})["confidence"]


def test_summary_of_a_confidence() -> None:
    summary = summarise(frame(np.array([0.9, 0.1, 0.5])), ["inter_ocular"], {"inter_ocular": (0.08, 0.2)})
    found = summary["confidence"]
    assert found["rank_correlation"] == pytest.approx(0.5)
    assert found["failure_auroc@0.08"] == 1
    assert found["failure_auroc@0.20"] is None  # no face failed
    assert found["retention_area"] == pytest.approx((0.05 + 0.10 + 0.10) / 3)
    assert found["retention_area_oracle"] == pytest.approx((0.05 + 0.075 + 0.10) / 3)
    assert found["retention_area_random"] == pytest.approx(0.10)
    assert found["retention_score"] == pytest.approx((0.10 - 0.25 / 3) / 0.025)


@pytest.mark.parametrize("nothing", [None, np.full(3, np.nan)])
def test_a_model_without_confidence_leaves_no_trace(nothing: np.ndarray | None) -> None:
    table = frame(nothing)
    assert "confidence" not in table.columns
    assert predictions_of(table).said == {}
    assert "confidence" not in summarise(table, ["inter_ocular"], {})
    # beside a run that has one, the column is there and empty
    both = pd.concat([table, frame(np.array([0.9, 0.1, 0.5]), "best")], ignore_index=True)
    assert predictions_of(both[both["checkpoint"] == "last"]).said == {}
    best = predictions_of(both[both["checkpoint"] == "best"]).said["confidence"]
    assert best.dtype == np.float32
    assert best == pytest.approx([0.9, 0.1, 0.5])


def test_a_confidence_for_each_face() -> None:
    with pytest.raises(DataError, match=r"'confidence': 2"):
        frame(np.array([0.9, 0.1]))


@pytest.mark.any_processor
def test_retention_figure(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    errors = random.gamma(4, 0.012, 200)
    faces = {"last": (errors, -errors + random.normal(0, 0.02, 200)), "best": (errors, random.random(200))}
    path = plot_retention(faces, (0.08, 5.0), tmp_path / "new" / "retention.png", "inter_ocular")
    picture = cv2.imread(str(path))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    with pytest.raises(DataError, match="no confidences"):
        plot_retention({}, (0.08,), tmp_path / "none.png", "box")


# ---- the head that learns it


def batch_of(landmarks: torch.Tensor, norms: list[float]) -> FaceBatch:
    """Crops of 64 px of which one px is two px of the image."""
    b = len(landmarks)
    double = torch.tensor([[2.0, 0, 5], [0, 2.0, 7]]).repeat(b, 1, 1)
    distances = torch.tensor(norms)[:, None]
    labelled = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    return FaceBatch(
        torch.zeros(b, 3, 64, 64), landmarks, labelled, double, distances, torch.zeros(b, 0), torch.arange(b)
    )


def test_predicted_error_term() -> None:
    truth = torch.rand(2, 5, 2) * 64
    batch = batch_of(truth, [80.0, 40.0])
    landmarks = (truth + torch.tensor([3.0, 4.0])).requires_grad_()  # 5 px of the crop, 10 of the image
    predicted = torch.tensor([0.125, 0.5], requires_grad=True)
    assert predicted_error_term(LandmarkOutput(landmarks), batch) is None
    output = with_predicted_error(LandmarkOutput(landmarks, confidence=torch.ones(2)), predicted)
    term = predicted_error_term(output, batch)
    assert term is not None
    assert float(term) == pytest.approx((0.0 + 0.25) / 2, abs=1e-6)
    assert output.confidence is not None
    assert output.confidence == pytest.approx(np.exp([-0.125, -0.5]))
    criterion = L1(face_statistics(5), error_weight=0.5)
    terms = criterion(output, batch)
    alone = criterion(LandmarkOutput(landmarks), batch)
    torch.testing.assert_close(terms["loss"], alone["loss"] + 0.5 * term)
    assert set(terms) == {"loss", "point", "predicted_error"}
    terms["loss"].backward()
    with_head = landmarks.grad
    assert predicted.grad is not None
    assert float(predicted.grad[1]) == pytest.approx(0.5 / 2)
    landmarks.grad = None
    alone["loss"].backward()
    torch.testing.assert_close(with_head, landmarks.grad, rtol=0, atol=0)


def test_a_negative_prediction_is_surer_than_none() -> None:
    predicted = torch.tensor([-0.3, 0.0, -0.4, 0.2, -1000.0])
    output = with_predicted_error(LandmarkOutput(torch.zeros(5, 1, 2)), predicted)
    assert output.confidence is not None
    assert output.confidence.isfinite().all()
    assert output.confidence.argsort().tolist() == predicted.argsort(descending=True).tolist()
    assert output.confidence[1:2].tolist() == [1.0]
    assert output.predicted_error is not None
    assert output.predicted_error[0] < 0  # the criterion sees the number itself


def test_error_head_reads_and_never_writes() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    head = ErrorHead(channels=6, hidden=4)
    torch.testing.assert_close(torch.rand(1), expected)  # other parts are initialised as without it
    features = torch.rand(3, 6, 2, 2, requires_grad=True)
    head(features).sum().backward()
    assert features.grad is None
    assert all(p.grad is not None for p in head.parameters())
    pooled = features.detach().mean((2, 3))
    by_hand = torch.relu(pooled @ head.hidden.weight.T + head.hidden.bias) @ head.out.weight[0] + head.out.bias
    torch.testing.assert_close(head(features), by_hand)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(features.bfloat16()).dtype == torch.float32
    with pytest.raises(ConfigError, match="hidden=0"):
        ErrorHead(channels=6, hidden=0)


def test_a_negative_error_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss.error_weight=-0.1"):
        L1(face_statistics(5), error_weight=-0.1)
