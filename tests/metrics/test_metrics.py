"""Error measures: hand-computed values, properties, agreement of one and two processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.utils.data import DistributedSampler

from facegraph.errors import ConfigError, DataError
from facegraph.metrics.functional import auc, failure_rate, mean_error, nme, point_errors
from facegraph.metrics.modules import NME, FaceErrors, PredictionRows, PredictionTable
from facegraph.metrics.names import SAID, auc_name, failure_rate_name
from tests.helpers.two_processes import on_two_processes

FACE_ERRORS = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))
THRESHOLDS = st.floats(0.01, 0.5)


def both(values: list) -> list:
    return [np.array(values), torch.tensor(values, dtype=torch.float64)]


@pytest.mark.parametrize("as_type", [np.array, torch.tensor])
def test_nme_of_a_hand_computed_face(as_type) -> None:
    target = as_type([[[0.0, 0.0], [10.0, 0.0]], [[0.0, 0.0], [20.0, 0.0]]])
    pred = as_type([[[3.0, 4.0], [10.0, 1.0]], [[0.0, 0.0], [20.0, 8.0]]])
    norm = as_type([10.0, 20.0])
    assert point_errors(pred, target, norm).flatten().tolist() == pytest.approx([0.5, 0.1, 0.0, 0.4])
    assert nme(pred, target, norm).tolist() == pytest.approx([0.3, 0.2])
    assert isinstance(nme(pred, target, norm), type(pred))


@pytest.mark.parametrize("errors", both([0.02, 0.05, 0.10, 0.30]))
def test_set_measures_of_four_hand_computed_faces(errors) -> None:
    assert float(mean_error(errors)) == pytest.approx(0.1175)
    assert float(failure_rate(errors, 0.10)) == 0.25  # 0.10 itself is no failure
    assert float(failure_rate(errors, 0.05)) == 0.5
    assert float(auc(errors, 0.10)) == pytest.approx((0.8 + 0.5) / 4)


@pytest.mark.parametrize("errors", both([0.05, float("nan")]))
def test_a_face_without_prediction_fails_everywhere(errors) -> None:
    assert float(failure_rate(errors, 0.1)) == 0.5
    assert float(auc(errors, 0.1)) == pytest.approx(0.25)
    assert np.isnan(float(mean_error(errors)))


@given(FACE_ERRORS, THRESHOLDS, THRESHOLDS)
@settings(deadline=None)
def test_auc_is_a_fraction_that_grows_with_the_threshold(errors, a, b) -> None:
    low, high = auc(errors, min(a, b)), auc(errors, max(a, b))
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-12
    assert failure_rate(errors, max(a, b)) <= failure_rate(errors, min(a, b))


@given(FACE_ERRORS, THRESHOLDS)
@settings(deadline=None)
def test_auc_is_the_integral_of_the_ced(errors, threshold) -> None:
    middles = (np.arange(4000) + 0.5) / 4000 * threshold
    distribution = (errors[:, None] <= middles).mean(axis=0)
    assert auc(errors, threshold) == pytest.approx(distribution.mean(), abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20), st.floats(-np.pi, np.pi))
@settings(deadline=None)
def test_nme_does_not_change_under_similarity_transforms(seed, scale, angle) -> None:
    random = np.random.default_rng(seed)
    target = random.uniform(0, 100, (3, 5, 2))
    pred, norm = target + random.normal(size=target.shape), random.uniform(20, 60, 3)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = random.uniform(-50, 50, 2)
    moved = nme(pred @ turn.T + shift, target @ turn.T + shift, scale * norm)
    np.testing.assert_allclose(moved, nme(pred, target, norm), rtol=1e-9)


@pytest.mark.parametrize(
    ("pred", "target", "norm", "words"),
    [
        ((2, 5, 2), (2, 6, 2), (2,), "share one landmark scheme"),
        ((5, 2), (5, 2), (5,), "faces, landmarks, 2"),
        ((0, 5, 2), (0, 5, 2), (0,), "at least one face"),
        ((2, 5, 2), (2, 5, 2), (2, 1), r"must be \(2,\)"),
    ],
)
def test_wrong_shapes_are_named(pred, target, norm, words) -> None:
    with pytest.raises(DataError, match=words):
        nme(np.zeros(pred), np.zeros(target), np.ones(norm))


@pytest.mark.parametrize("bad", [0.0, -3.0, float("nan"), float("inf")])
def test_unusable_normaliser_names_the_row(bad) -> None:
    with pytest.raises(DataError, match=f"row 1 is {bad}"):
        nme(torch.zeros(2, 4, 2), torch.zeros(2, 4, 2), torch.tensor([5.0, bad]))


def test_empty_sets_and_thresholds_at_zero_are_refused() -> None:
    with pytest.raises(DataError, match="at least one face"):
        mean_error(np.zeros(0))
    for measure in (auc, failure_rate):
        with pytest.raises(ConfigError, match="above zero"):
            measure(np.ones(3), 0.0)


def test_names_of_two_thresholds_never_collide() -> None:
    assert failure_rate_name(0.08) == "fr@0.08"
    assert auc_name(0.1) == "auc@0.10"
    assert len({auc_name(t) for t in (0.01, 0.005, 0.0149, 0.07, 0.075)}) == 5


def test_the_module_agrees_with_the_function_and_counts_a_repeated_face_once() -> None:
    errors = torch.tensor([0.02, 0.05, 0.10, 0.30])
    metric = NME()
    metric.update(torch.tensor([3, 1, 0]), errors[[3, 1, 0]])
    metric.update(torch.tensor([2, 3]), errors[[2, 3]])
    assert float(metric.compute()) == pytest.approx(float(mean_error(errors)))


def test_rows_are_sorted_and_the_first_of_a_repeated_face_stays() -> None:
    metric = FaceErrors()
    metric.update(torch.tensor([5, 2]), torch.tensor([0.5, 0.2]))
    metric.update(torch.tensor([2, 4]), torch.tensor([0.9, 0.4]))
    index, errors = metric.compute()
    assert index.tolist() == [2, 4, 5]
    assert errors.tolist() == pytest.approx([0.2, 0.4, 0.5])


@pytest.mark.parametrize("faces", [0, 1, 2])
def test_table_keeps_its_axes_for_few_faces(faces) -> None:
    table = PredictionTable(num_landmarks=1, num_normalisers=1, num_attributes=1)
    if faces:
        add(table, all_rows(1, 1, 1), list(range(faces)))
    shapes = [tuple(column.shape) for column in table.compute()]
    assert shapes == [(faces,), (faces, 1, 2), (faces, 1, 2), (faces, 1), (faces, 1), (faces, len(SAID))]


def test_table_refuses_rows_of_another_scheme() -> None:
    index, prediction, truth, norms, attributes, *_ = all_rows(3, 2, 2)
    with pytest.raises(DataError, match=r"prediction.*rows of shape"):
        PredictionTable(4, 2, 2).update(index, prediction, truth, norms, attributes)


# ---- two processes

FACES = 7
SIZES = {"large": (3, 2, 2), "small": (1, 1, 0)}  # landmarks, normalisers, attributes


def all_rows(landmarks: int, normalisers: int, attributes: int) -> PredictionRows:
    random = torch.Generator().manual_seed(0)
    return PredictionRows(
        index=torch.arange(FACES),
        prediction=torch.rand(FACES, landmarks, 2, generator=random),
        truth=torch.rand(FACES, landmarks, 2, generator=random),
        norm_distances=1 + torch.rand(FACES, normalisers, generator=random),
        attributes=torch.rand(FACES, attributes, generator=random) > 0.5,
        said=torch.rand(FACES, len(SAID), generator=random),
    )


def add(table: PredictionTable, rows: PredictionRows, which: list[int]) -> None:
    said = {name: rows.said[which, i] for i, name in enumerate(SAID)}
    table.update(*(column[which] for column in rows[:-1]), said)


def shards(rank: int) -> dict[str, list[list[int]]]:
    """Batches of one of two processes: a padded odd set, unequal shares, all faces on the second process."""
    sampler = DistributedSampler(range(FACES), num_replicas=2, rank=rank, shuffle=True, seed=3)
    padded = list(sampler)
    unequal = [[0], [6, 5, 4, 3, 2, 1]][rank]
    return {"padded": [padded[:3], padded[3:]], "unequal": [unequal], "one_empty": [[], [list(range(FACES))]][rank]}


def gather_everything(rank: int) -> dict[str, list[Tensor]]:
    results: dict[str, list[Tensor]] = {}
    for name, sizes in SIZES.items():
        rows = all_rows(*sizes)
        for case, batches in shards(rank).items():
            table, error = PredictionTable(*sizes), NME()
            for batch in batches:
                add(table, rows, batch)
                error.update(rows.index[batch], nme(rows.prediction, rows.truth, rows.norm_distances[:, 0])[batch])
            results[f"{name} {case}"] = [*table.compute(), error.compute()]
            assert sum(len(i) for i in table.index) == sum(map(len, batches))  # back to the own rows after the sync
    return results


@pytest.mark.runs
@pytest.mark.any_processor
def test_two_processes_give_what_one_gives(tmp_path) -> None:
    assert sum(len(b) for rank in (0, 1) for b in shards(rank)["padded"]) == FACES + 1
    for results in on_two_processes(gather_everything, tmp_path):
        assert len(results) == 6
        for case, values in results.items():
            rows = all_rows(*SIZES[case.split()[0]])
            errors = nme(rows.prediction, rows.truth, rows.norm_distances[:, 0])
            expected = [*rows, mean_error(errors)]
            for value, wanted in zip(values, expected, strict=True):
                assert value.dtype == wanted.dtype, case
                assert value.shape == wanted.shape, case
                assert torch.equal(value, wanted), case
