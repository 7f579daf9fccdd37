"""DPR's criterion: terms of outputs made by hand, and which part learns from which term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.geometry.matrices import compose, invert
from facegraph.geometry.points import map_points
from facegraph.landmarks import SCHEMES
from facegraph.models.dpr.criterion import DPRCriterion
from facegraph.models.dpr.model import DPR
from facegraph.models.dpr.output import ReinitOutput
from facegraph.models.dpr.parts import mean_face, part_means, parts_of
from facegraph.models.dpr.reinit import LocalReinitNetwork, SimilarityFit
from facegraph.models.dpr.transforms import fit_similarity, resize, upright_box
from facegraph.models.dpr.weighting import Equal, HardLandmarks, InverseError, LandmarkWeighting, Uncertainty
from facegraph.structures import FaceBatch, LandmarkOutput, ShapeStatistics
from tests.helpers.models import face_statistics, scheme_of

WEIGHTINGS = (Equal, Uncertainty, InverseError, HardLandmarks)
CROP = 128


def upright_faces(statistics: ShapeStatistics, count: int = 3) -> Tensor:
    """(B, N, 2) crop px: the mean shape turned, scaled and moved."""
    generator = torch.Generator().manual_seed(5)
    angles = 0.6 * torch.rand(count, generator=generator) - 0.3
    linear = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=-1).unflatten(-1, (2, 2))
    scales = (0.5 + 0.3 * torch.rand(count, 1, 1, generator=generator)) * CROP
    noise = 0.02 * torch.randn(count, *statistics.mean_shape.shape, generator=generator)
    return (statistics.mean_shape - 0.5 + noise) @ linear.mT * scales + CROP / 2


def batch_of(truth: Tensor) -> FaceBatch:
    count = len(truth)
    identity = torch.eye(3)[:2].expand(count, 2, 3)
    return FaceBatch(
        image=torch.zeros(count, 3, CROP, CROP),
        landmarks=truth,
        labelled=torch.ones(truth.shape[:2], dtype=torch.bool),
        crop_to_image=identity,
        norm_distances=torch.full((count, 1), 50.0),
        attributes=torch.zeros(count, 0, dtype=torch.bool),
        index=torch.arange(count),
    )


def output_of(
    statistics: ShapeStatistics, truth: Tensor, shift: float = 0.0, shrink: float = 1.0, filled: float = 1.0
) -> ReinitOutput:
    """The output of a perfect model; with points moved by shift of the side of the truth's frame, along x of that
    frame, with all that is cut out for the global stage smaller by shrink, and part means smaller by filled."""
    crop_to_coarse = torch.tensor([[0.9, 0.0, 3.0], [0.0, 0.9, -2.0], [0.0, 0.0, 1.0]])
    in_coarse = map_points(crop_to_coarse[:2].expand(len(truth), 2, 3), truth) / 128
    perfect = upright_box(in_coarse, statistics.scheme)
    ideal = compose(resize(perfect, 128, 256), crop_to_coarse)
    moved = map_points(invert(ideal), map_points(ideal, truth) + torch.tensor([256 * shift, 0.0]))
    reinit = shrink * perfect
    coarse_to_global = resize(reinit, 128, 256)
    crop_to_global = compose(coarse_to_global, crop_to_coarse)
    points = map_points(crop_to_global, moved)
    parts = parts_of(statistics.scheme)
    means = tuple(filled * mean for mean in part_means(mean_face(statistics), parts))
    transforms = torch.stack(
        [fit_similarity(points[:, list(p.indices)], 128 * mean) for p, mean in zip(parts, means, strict=True)], dim=1
    )
    part_points = tuple(map_points(transforms[:, i], points[:, list(p.indices)]) for i, p in enumerate(parts))
    return ReinitOutput(
        landmarks=moved,
        stage_landmarks=torch.stack([moved, moved], dim=1),
        crop_to_coarse=crop_to_coarse,
        reinit=reinit,
        coarse_to_global=coarse_to_global,
        crop_to_global=crop_to_global,
        global_points=points,
        part_transforms=transforms,
        taught_transforms=transforms,
        part_points=part_points,
        part_means=means,
    )


def statistics_of(num_landmarks: int) -> ShapeStatistics:
    """Statistics whose mean shape has the eyes beside each other."""
    statistics = face_statistics(num_landmarks, seed=2)
    scheme = statistics.scheme
    for x, group in zip((0.3, 0.7), scheme.normalisers["inter_pupil"], strict=True):
        for i in group:
            statistics.mean_shape[i] = torch.tensor([x, 0.4]) + 0.02 * (statistics.mean_shape[i] - 0.5)
    return statistics


@pytest.mark.parametrize("num_landmarks", [29, 68, 98])
@pytest.mark.parametrize("detach_targets", [False, True])
@pytest.mark.parametrize("transform_error", ["numbers", "landmarks"])
def test_a_perfect_output_costs_nothing(num_landmarks: int, detach_targets: bool, transform_error: str) -> None:
    statistics = statistics_of(num_landmarks)
    criterion = DPRCriterion(statistics, Equal, transform_error=transform_error, detach_targets=detach_targets)
    truth = upright_faces(statistics)
    terms = criterion(output_of(statistics, truth), batch_of(truth))
    assert set(terms) == {"loss", "reinit", "global", "local_reinit", "local"}
    assert all(float(term) < 2e-3 for term in terms.values()), terms


@pytest.mark.parametrize(("point_error", "expected"), [("l1", 2.0), ("squared", 4.0)])
@pytest.mark.parametrize("detach_targets", [False, True])
def test_point_errors_are_per_cent_of_the_upright_face(point_error: str, expected: float, detach_targets: bool) -> None:
    statistics = statistics_of(98)
    criterion = DPRCriterion(statistics, Equal, point_error=point_error, detach_targets=detach_targets)
    truth = upright_faces(statistics)
    terms = criterion(output_of(statistics, truth, shift=0.02), batch_of(truth))
    assert float(terms["global"]) == pytest.approx(expected, rel=1e-3)
    assert float(terms["local"]) == pytest.approx(expected, rel=1e-3)
    assert float(terms["local_reinit"]) < 1e-3  # the frames are those of the predicted points
    assert float(terms["reinit"]) < 1e-3
    assert float(terms["loss"]) == pytest.approx(sum(float(terms[k]) for k in terms if k != "loss"), rel=1e-5)


def test_a_smaller_face_in_the_frame_is_no_smaller_error() -> None:
    statistics = statistics_of(68)
    truth = upright_faces(statistics)
    whole, half = (output_of(statistics, truth, 0.02, shrink) for shrink in (1.0, 0.5))
    batch = batch_of(truth)
    kept = DPRCriterion(statistics, Equal)
    assert float(kept(half, batch)["global"]) == pytest.approx(float(kept(whole, batch)["global"]), rel=1e-3)
    assert float(kept(half, batch)["local"]) == pytest.approx(float(kept(whole, batch)["local"]), rel=1e-3)
    assert float(kept(half, batch)["reinit"]) > 5  # a quarter of the side, for all that
    detached = DPRCriterion(statistics, Equal, detach_targets=True)
    assert float(detached(half, batch)["global"]) == pytest.approx(
        float(detached(whole, batch)["global"]) / 2, rel=1e-3
    )


def test_transforms_by_numbers() -> None:
    """Six numbers, each off by 0.03 of the side: smooth L1 of 3 per cent."""
    statistics = statistics_of(68)
    truth = upright_faces(statistics)
    output = output_of(statistics, truth)
    criterion = DPRCriterion(statistics, Equal, transform_error="numbers")
    object.__setattr__(output, "reinit", output.reinit + 0.03)
    assert output.part_transforms is not None
    wrong = output.part_transforms.clone()
    wrong[:, :, :, :2] += 0.03 * 128 / 256
    wrong[:, :, :, 2] += 0.03 * 128
    object.__setattr__(output, "taught_transforms", wrong)
    terms = criterion(output, batch_of(truth))
    assert float(terms["reinit"]) == pytest.approx(2.5, rel=1e-3)
    assert float(terms["local_reinit"]) == pytest.approx(2.5, rel=1e-3)


def small_dpr(
    statistics: ShapeStatistics, local_reinit: Callable[..., nn.Module] = LocalReinitNetwork, **settings: Any
) -> DPR:
    torch.manual_seed(0)
    sizes = {"coarse_size": 128, "global_size": 64, "part_size": 32}
    return DPR(CROP, statistics, local_reinit, **sizes, **settings)


def run_of(model: DPR, statistics: ShapeStatistics) -> tuple[ReinitOutput, FaceBatch]:
    """What the model makes of noise, and faces to hold against it."""
    truth = upright_faces(statistics)
    images = torch.randn(len(truth), 3, CROP, CROP, generator=torch.Generator().manual_seed(0))
    return model(images), batch_of(truth)._replace(image=images)


def gradient_of(module: nn.Module, loss: Tensor) -> Tensor:
    """Of all parameters of a module, one after the other; zero where none arrives."""
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def learning(model: DPR, loss: Tensor) -> set[str]:
    """Children of the model that a loss moves."""
    model.zero_grad()
    loss.backward(retain_graph=True)
    return {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("detach_targets", [False, True])
def test_which_part_learns_from_which_term(detach: bool, detach_targets: bool) -> None:
    statistics = statistics_of(68)
    model = small_dpr(statistics, detach=detach)
    truth = upright_faces(statistics)
    images = torch.randn(len(truth), 3, CROP, CROP, generator=torch.Generator().manual_seed(0))
    criterion = DPRCriterion(statistics, Equal, detach_targets=detach_targets)
    terms = criterion(model(images), batch_of(truth)._replace(image=images))
    assert learning(model, terms["reinit"]) == {"global_reinit"}
    assert learning(model, terms["local_reinit"]) == {"local_reinit"}  # neither its input nor its target reaches back
    own = learning(model, terms["global"])
    assert own == ({"global_regression"} if detach else {"global_reinit", "global_regression"})
    local = learning(model, terms["local"])
    everything = {"global_reinit", "global_regression", "local_reinit", "local_regression"}
    assert local == ({"local_regression"} if detach else everything)


def test_fitted_frames_have_nothing_to_be_taught() -> None:
    statistics = statistics_of(68)
    model = small_dpr(statistics, SimilarityFit)
    terms = DPRCriterion(statistics, Equal)(*run_of(model, statistics))
    assert set(terms) == {"loss", "reinit", "global", "local"}
    # end to end the errors of the parts still pass through the fit
    assert gradient_of(model.global_regression, terms["local"]).abs().max() > 0


def test_frames_are_taught_with_the_models_own_means() -> None:
    """A model that was converted or started from another run has means of other faces than the criterion has seen."""
    statistics = statistics_of(68)
    truth = upright_faces(statistics)
    criterion = DPRCriterion(statistics, Equal)
    terms = criterion(output_of(statistics, truth, filled=0.8), batch_of(truth))
    assert float(terms["local_reinit"]) < 2e-3
    assert not list(criterion.buffers())


@pytest.mark.parametrize("detach_targets", [False, True])
@pytest.mark.parametrize("detach", [False, True])
def test_starting_at_zeros_the_transforms_are_taught_first(detach: bool, detach_targets: bool) -> None:
    """The way back out of a frame of no size has no bound: the points in it count nothing until it is open."""
    statistics = statistics_of(68)
    model = small_dpr(statistics, start_at_mean=False, detach=detach)
    terms = DPRCriterion(statistics, InverseError, detach_targets=detach_targets)(*run_of(model, statistics))
    assert torch.isfinite(terms["loss"])
    if not detach_targets:
        assert float(terms["global"]) == float(terms["local"]) == 0
        alone = gradient_of(model.global_reinit, terms["reinit"])
        assert alone.abs().max() > 0
        assert torch.equal(gradient_of(model.global_reinit, terms["loss"]), alone)
    if detach or not detach_targets:
        assert gradient_of(model, terms["loss"]).abs().max() < 1e4


def test_closed_frames_alone_are_left_out() -> None:
    statistics = statistics_of(68)
    truth = upright_faces(statistics)
    output = output_of(statistics, truth, shift=0.02)
    whole = DPRCriterion(statistics, Equal)(output, batch_of(truth))
    reinit = output.reinit.clone()
    reinit[0] *= 0.01
    object.__setattr__(output, "reinit", reinit)
    part = DPRCriterion(statistics, Equal)(output, batch_of(truth))
    for term in ("global", "local"):
        assert float(part[term]) == pytest.approx(float(whole[term]) * 2 / 3, rel=1e-3)


def test_the_largest_weights_are_reported() -> None:
    statistics = statistics_of(68)
    truth = upright_faces(statistics)
    output = output_of(statistics, truth)
    assert output.stage_landmarks is not None
    moved = output.stage_landmarks.clone()
    moved[:, :, 40] += 3.0
    object.__setattr__(output, "stage_landmarks", moved)
    criterion = DPRCriterion(statistics, HardLandmarks)
    terms = criterion(output, batch_of(truth))
    assert criterion.global_weighting.weights is not None
    assert float(terms["global_largest_weight"]) == float(criterion.global_weighting.weights[40]) > 20
    assert float(terms["local_largest_weight"]) > 20
    assert float(terms["loss"]) == pytest.approx(
        sum(float(terms[k]) for k in ("reinit", "global", "local_reinit", "local"))
    )


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_parameter_has_a_gradient_without_the_local_stage(weighting: type[LandmarkWeighting]) -> None:
    statistics = statistics_of(68)
    model = small_dpr(statistics, stages="gsr")
    criterion = DPRCriterion(statistics, weighting)
    truth = upright_faces(statistics)
    images = torch.randn(len(truth), 3, CROP, CROP, generator=torch.Generator().manual_seed(0))
    terms = criterion(model(images), batch_of(truth)._replace(image=images))
    assert {"loss", "reinit", "global"} == {name for name in terms if not name.endswith("largest_weight")}
    terms["loss"].backward()
    for name, parameter in [*model.named_parameters(), *criterion.named_parameters()]:
        assert parameter.grad is not None, name


def test_a_scheme_without_parts_serves_the_global_stage() -> None:
    nameless = scheme_of(12)
    statistics = ShapeStatistics(torch.rand(12, 2), torch.eye(12), nameless)
    criterion = DPRCriterion(statistics, Equal)
    truth = CROP * torch.rand(2, 12, 2)
    model = small_dpr(statistics, stages="gsr")
    terms = criterion(model(torch.randn(2, 3, CROP, CROP)), batch_of(truth))
    assert torch.isfinite(terms["loss"])


def test_the_output_of_another_model_is_refused() -> None:
    statistics = statistics_of(68)
    truth = upright_faces(statistics)
    with pytest.raises(ConfigError, match=r"loss=dpr needs .*model=dpr.*LandmarkOutput.*loss=l1"):
        DPRCriterion(statistics, Equal)(LandmarkOutput(truth), batch_of(truth))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"point_error": "l3"}, "loss.point_error=l3.*squared or l1"),
        ({"transform_error": "matrix"}, "loss.transform_error=matrix.*numbers or landmarks"),
        ({"reinit_weight": -1.0}, "loss.reinit_weight=-1"),
        ({"local_reinit_weight": -1.0}, "loss.local_reinit_weight=-1"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        DPRCriterion(statistics_of(68), Equal, **settings)
    with pytest.raises(ConfigError, match=r"loss\.weighting\.decay=1"):
        InverseError(3, decay=1.0)


def test_known_schemes_have_a_local_weight_for_each_inner_landmark() -> None:
    counts = {name: DPRCriterion(statistics_of(s.num_landmarks), Equal) for name, s in SCHEMES.items()}
    local = {name: c.local_weighting.num_landmarks for name, c in counts.items() if c.local_weighting is not None}
    assert local == {"wflw98": 65, "ibug68": 51, "cofw29": 28}
