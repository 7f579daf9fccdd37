"""Faces that are done leave the batch: with what they have, by themselves, and without further work."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from facegraph.metrics.cost import count_macs, measure
from facegraph.models.musica.model import MuSiCa
from facegraph.models.musica.output import CascadeOutput
from facegraph.runs.compose import build_model, compose
from tests.helpers.models import face_statistics, faces

FACES = 12


def varied(**settings: object) -> MuSiCa:
    """A model whose predicted errors differ between faces and iterations, around zero."""
    torch.manual_seed(1)
    model = MuSiCa(64, face_statistics(29), hidden=16, channels=4, initial_weights="he", **settings)  # type: ignore[arg-type]
    for iteration in model.iterations:
        nn.init.normal_(iteration.head.weight[-1:])  # type: ignore[union-attr, index]
    return model.eval()


MODEL = varied()
IMAGES = faces(FACES)
with torch.no_grad():
    FULL: CascadeOutput = MODEL(IMAGES)


def apart(errors: Tensor) -> list[float]:
    """Thresholds in the middle between neighbouring errors, and beyond all; none where rounding might decide."""
    ordered = errors.flatten().sort().values
    middles = (ordered[1:] + ordered[:-1]) / 2
    return [float(ordered[0]) - 1, *middles[ordered.diff() > 1e-3].tolist(), float(ordered[-1]) + 1]


def middle(errors: Tensor) -> float:
    """Near their median, and equal to none of them."""
    found = apart(errors)
    return found[len(found) // 2]


def run(threshold: float | None, images: Tensor = IMAGES) -> CascadeOutput:
    MODEL.quit_threshold = threshold
    try:
        with torch.no_grad():
            return MODEL(images)
    finally:
        MODEL.quit_threshold = None


def test_the_model_of_these_tests_varies() -> None:
    """Otherwise the others would show nothing: some faces are done after one, some after two, some after none."""
    assert set(run(middle(FULL.stage_errors[:, :2])).iterations.tolist()) == {1, 2, 3}
    assert len(apart(FULL.stage_errors)) > 2 * FACES


def test_each_face_stops_where_its_own_prediction_says() -> None:
    for threshold in apart(FULL.stage_errors):
        check_where_faces_stop(run(threshold), threshold)


def check_where_faces_stop(output: CascadeOutput, threshold: float) -> None:
    assert FULL.stage_landmarks is not None
    assert FULL.attention is not None
    assert output.stage_landmarks is not None
    assert output.attention is not None
    for face in range(FACES):
        errors = FULL.stage_errors[face].tolist()
        last = next((k for k in (0, 1) if errors[k] < threshold), 2)
        assert int(output.iterations[face]) == last + 1
        torch.testing.assert_close(output.landmarks[face], FULL.stage_landmarks[face, last], atol=1e-4, rtol=1e-5)
        kept = [min(k, last) for k in range(3)]
        torch.testing.assert_close(output.stage_landmarks[face], FULL.stage_landmarks[face, kept], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(output.stage_errors[face], FULL.stage_errors[face, kept], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(output.attention[face], FULL.attention[face, kept], atol=1e-5, rtol=1e-5)
        assert float(output.predicted_error[face]) == pytest.approx(errors[last], abs=1e-4)  # type: ignore[index]


def test_a_threshold_that_nobody_or_everybody_meets() -> None:
    never, always = run(-math.inf), run(math.inf)
    torch.testing.assert_close(never.landmarks, FULL.landmarks)
    assert never.iterations.tolist() == [3] * FACES
    assert always.iterations.tolist() == [1] * FACES
    assert always.stage_landmarks is not None
    assert FULL.stage_landmarks is not None
    torch.testing.assert_close(always.landmarks, FULL.stage_landmarks[:, 0], atol=1e-4, rtol=1e-5)
    assert torch.equal(always.stage_landmarks, always.landmarks[:, None].expand(-1, 3, -1, -1))


def test_a_face_stops_alone_as_in_any_batch() -> None:
    threshold = middle(FULL.stage_errors[:, :2])
    together = run(threshold)
    order = torch.randperm(FACES, generator=torch.Generator().manual_seed(3))
    shuffled = run(threshold, IMAGES[order])
    assert torch.equal(shuffled.iterations, together.iterations[order])
    for face in range(FACES):
        alone = run(threshold, IMAGES[face : face + 1])
        assert int(alone.iterations) == int(together.iterations[face])
        torch.testing.assert_close(alone.landmarks[0], together.landmarks[face], atol=1e-4, rtol=1e-5)


def test_the_work_is_skipped() -> None:
    rows: list[list[int]] = []
    handles = [
        iteration.register_forward_hook(lambda module, inputs, output: rows[-1].append(len(inputs[0])))
        for iteration in MODEL.iterations
    ]
    threshold = middle(FULL.stage_errors[:, :2])
    try:
        expected = []
        for images in (IMAGES, IMAGES[:1], IMAGES[1:2]):
            rows.append([])
            iterations = run(threshold, images).iterations
            expected.append([n for k in (1, 2, 3) if (n := int((iterations >= k).sum()))])
    finally:
        for handle in handles:
            handle.remove()
    assert rows == expected
    assert rows[0][0] > rows[0][1] > rows[0][2] > 0


def test_the_multiply_adds_of_one_face_fall_with_its_iterations() -> None:
    model = varied(levels=[1, 0, 0])
    whole, by_name = count_macs(model, 64)
    model.quit_threshold = math.inf
    assert count_macs(model, 64)[0] == by_name["iterations.0"] == whole // 3
    model.train()
    with torch.no_grad():
        assert model(IMAGES).iterations.tolist() == [3] * FACES, "training runs all of it"


def test_failure_is_reported_by_the_last_prediction() -> None:
    assert FULL.failed is None
    threshold = middle(FULL.stage_errors[:, -1])
    MODEL.fail_threshold = threshold
    try:
        output = run(None)
    finally:
        MODEL.fail_threshold = None
    assert output.failed is not None
    assert output.failed.dtype == torch.bool
    assert output.failed.tolist() == [e > threshold for e in FULL.stage_errors[:, -1].tolist()]
    assert 0 < int(output.failed.sum()) < FACES


def test_a_prediction_that_is_no_number_has_failed() -> None:
    model = varied(fail_threshold=1e9)
    nn.init.constant_(model.iterations[-1].head.bias[-1:], float("nan"))  # type: ignore[union-attr, index]
    with torch.no_grad():
        assert model(IMAGES[:2]).failed.tolist() == [True, True]


def test_costs_are_those_of_all_iterations_whatever_a_blank_image_foretells() -> None:
    model = varied()
    whole = measure(model, 64)
    model.quit_threshold = math.inf
    assert count_macs(model, 64)[0] < whole.macs
    found = measure(model, 64)
    assert (found.macs, found.macs_thop) == (whole.macs, whole.macs_thop)
    assert model.quit_threshold == math.inf
    with pytest.raises(RuntimeError, match="within"), model.complete():
        raise RuntimeError("within")
    assert model.quit_threshold == math.inf


def test_a_prediction_that_is_no_number_does_not_stop() -> None:
    model = varied()
    nn.init.constant_(model.iterations[0].head.bias[-1:], float("nan"))  # type: ignore[union-attr, index]
    model.quit_threshold = math.inf
    with torch.no_grad():
        assert model(IMAGES[:2]).iterations.tolist() == [2, 2]


def test_quitting_in_bfloat16_and_with_one_iteration() -> None:
    threshold = middle(FULL.stage_errors[:, :2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(threshold)
    assert output.landmarks.dtype == torch.float32
    assert output.landmarks.isfinite().all()
    single = varied(levels=[0])
    single.quit_threshold = math.inf
    assert single(IMAGES[:2]).stage_errors.shape == (2, 1)


def test_thresholds_are_settings() -> None:
    given = ["model=musica", "input_size=64", "model.hidden=8", "model.quit_threshold=0.05", "model.fail_threshold=0.2"]
    model = build_model(compose(given), face_statistics(98))
    assert isinstance(model, MuSiCa)
    assert (model.quit_threshold, model.fail_threshold) == (0.05, 0.2)
    assert len(model.patch_indices) == 49
    model.eval()
    output = model(faces(1))
    assert output.failed is not None
    assert output.iterations.tolist() == [1], "untrained it foretells errors around 0"
