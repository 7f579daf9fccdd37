"""What every system keeps, whichever paper it is from: conf/model/*, conf/head/*, 29, 68 and 98 landmarks."""

from __future__ import annotations

import functools

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from facegraph.data.datamodule import FaceDataModule
from facegraph.landmarks import SCHEMES
from facegraph.losses.face_errors import face_errors
from facegraph.metrics.cost import count_macs, measure
from facegraph.runs.compose import build_criterion, build_data, build_model, compose, training_statistics
from facegraph.structures import FaceBatch, LandmarkOutput
from facegraph.training.mirror import predict_with_mirror
from tests.helpers.runs import ROOT, TINY

NARROW_FAN = "model=fan model.num_features=32 model.depth=3 loss=heatmap normalise=unit"
SMALL_DPR = "model=dpr loss=dpr normalise=signed model.global_size=128 model.part_size=64 model.detach=true"
SYSTEMS = {
    **{
        f"head {p.stem}": f"head={p.stem}" + (" loss=heatmap" if "codec:" in p.read_text() else "")
        for p in sorted((ROOT / "conf" / "head").glob("*.yaml"))
    },
    "regressor_error": "model=regressor_error head=fc",
    "heatmaps with an error head": "model=regressor_error head=heatmap loss=heatmap",
    "fan": NARROW_FAN,
    "fan with one stack, instance norm": f"{NARROW_FAN} model.num_modules=1 model.norm=instance",
    "dpr, both stages": SMALL_DPR,
    "dpr, global stage": f"{SMALL_DPR} model.stages=gsr",
    "musica": "model=musica loss=musica normalise=whole_image",
    "musica that quits": "model=musica loss=musica normalise=whole_image model.quit_threshold=0.001 "
    "model.fail_threshold=0.01",
}
SOME_QUIT = "musica that quits"
NAMES = {29: "cofw29", 68: "ibug68", 98: "wflw98"}
CASES = [(name, n) for name in SYSTEMS for n in NAMES]


def test_every_option_is_a_system() -> None:
    given = {part for line in SYSTEMS.values() for part in line.split()} | {"model=regressor"}
    for group in ("model", "head"):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"{group}={path.stem}" in given


def overrides(system: str, num_landmarks: int = 98) -> list[str]:
    scheme = f"dataset.scheme.name_or_path={NAMES[num_landmarks]}"
    small = ("dataset.train_size=12", "dataset.test_size=3", "dataset.image_size=64")
    return [*TINY, *small, scheme, *SYSTEMS[system].split()]


@functools.lru_cache
def opened(system: str, num_landmarks: int) -> tuple[DictConfig, FaceDataModule, FaceBatch]:
    """Configuration, data and four normalised training faces."""
    cfg = compose([*overrides(system, num_landmarks), "data.batch_size=4"])
    data = build_data(cfg)
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    return cfg, data, batch


def built(system: str, num_landmarks: int) -> tuple[nn.Module, nn.Module, FaceBatch]:
    """Model and criterion with weights from seed 0, and four faces."""
    cfg, data, batch = opened(system, num_landmarks)
    torch.manual_seed(0)
    statistics = training_statistics(data, "box")
    model = build_model(cfg, statistics)
    return model, build_criterion(cfg, statistics), batch


def step(model: nn.Module, criterion: nn.Module, batch: FaceBatch) -> tuple[LandmarkOutput, Tensor]:
    output = model(batch.image)
    loss = criterion(output, batch)["loss"]
    loss.backward()
    return output, loss


def check_output(output: LandmarkOutput, num_landmarks: int) -> None:
    assert isinstance(output, LandmarkOutput)
    assert output.landmarks.shape == (4, num_landmarks, 2)
    assert output.landmarks.dtype == torch.float32
    assert torch.isfinite(output.landmarks).all()
    for name, numbers in (("confidence", output.confidence), ("predicted_error", output.predicted_error)):
        if numbers is not None:
            assert numbers.shape == (4,), name
            assert numbers.dtype == torch.float32, name
            assert torch.isfinite(numbers).all(), name
    if output.stage_landmarks is not None:
        assert output.stage_landmarks.shape[2:] == output.landmarks.shape[1:]
    if output.heatmaps is not None:
        assert output.heatmaps.shape[:1] + output.heatmaps.shape[2:3] == (4, num_landmarks)


def check_gradients(module: nn.Module) -> None:
    """Every trained parameter gets a finite gradient; no tensor of them is left out."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(("system", "num_landmarks"), CASES)
def test_shapes_and_gradients(system: str, num_landmarks: int) -> None:
    model, criterion, batch = built(system, num_landmarks)
    output, loss = step(model, criterion, batch)
    check_output(output, num_landmarks)
    assert loss.ndim == 0
    check_gradients(model)
    check_gradients(criterion)
    zero = [n for n, p in model.named_parameters() if p.requires_grad and float(p.grad.abs().max()) == 0]
    assert len(zero) <= 0.02 * len(list(model.parameters())), zero  # a unit that is off on four faces


@pytest.mark.parametrize("system", SYSTEMS)
def test_evaluation_does_not_depend_on_the_batch(system: str) -> None:
    model, criterion, batch = built(system, 68)
    step(model, criterion, batch)  # batch norm has seen something
    model.eval()
    with torch.no_grad():
        together = model(batch.image)
        alone = [model(face[None]) for face in batch.image]
    torch.testing.assert_close(together.landmarks, torch.cat([o.landmarks for o in alone]), rtol=1e-4, atol=1e-3)
    if together.confidence is not None:
        torch.testing.assert_close(together.confidence, torch.cat([o.confidence for o in alone]), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        again = model(batch.image)
    assert torch.equal(together.landmarks, again.landmarks)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_state_dict_is_all_there_is(system: str) -> None:
    """A model for other training faces, with these weights, is this model: nothing hangs on what it was built with."""
    cfg, data, _ = opened(system, 29)
    model, _, batch = built(system, 29)
    statistics = training_statistics(data, "box")
    turned = statistics.mean_shape.roll(1, dims=0)
    other = build_model(cfg, statistics._replace(mean_shape=turned, correlation=statistics.correlation**2))
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.01)
    other.load_state_dict(model.state_dict())
    model.eval(), other.eval()
    with torch.no_grad():
        assert torch.equal(model(batch.image).landmarks, other(batch.image).landmarks)
    assert {"mean_shape", "correlation"} <= model.state_dict().keys()
    assert torch.equal(model.state_dict()["mean_shape"], statistics.mean_shape.float())


def quitting() -> tuple[nn.Module, FaceBatch]:
    """A cascade whose predicted errors vary, with a threshold that some of the faces meet after the first iteration."""
    model, _, batch = built(SOME_QUIT, 29)
    for iteration in model.iterations:  # type: ignore[union-attr]
        nn.init.normal_(iteration.head.weight[-1:])  # type: ignore[union-attr, index, operator]
    model.eval()
    with torch.no_grad(), model.complete():
        errors = model(batch.image).stage_errors
    # between two of the four faces, away from either: a batch of one is summed up in another order
    model.quit_threshold = float(errors[:, 0].sort().values[1:3].mean())  # type: ignore[assignment]
    model.fail_threshold = float(errors[:, -1].sort().values[1:3].mean())  # type: ignore[assignment]
    return model, batch


def test_a_face_quits_alone_as_it_does_among_others() -> None:
    model, batch = quitting()
    with torch.no_grad():
        together = model(batch.image)
        alone = [model(face[None]) for face in batch.image]
    assert 1 in together.iterations.tolist()
    assert len(set(together.iterations.tolist())) > 1
    for name in ("iterations", "failed"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(o, name) for o in alone])), name
    torch.testing.assert_close(together.landmarks, torch.cat([o.landmarks for o in alone]), rtol=1e-4, atol=1e-3)


@pytest.mark.any_processor
def test_costs_are_those_of_all_iterations() -> None:
    model, _ = quitting()
    model.quit_threshold = 1e9  # type: ignore[assignment]
    stopped, costs = count_macs(model, 64)[0], measure(model, 64)
    model.quit_threshold = None  # type: ignore[assignment]
    assert costs.macs == count_macs(model, 64)[0] > 2 * stopped
    assert costs.macs_thop > 2 * stopped
    model.quit_threshold = 1e9  # type: ignore[assignment]
    with model.complete():
        assert count_macs(model, 64)[0] == costs.macs
    assert model.quit_threshold == 1e9
    assert count_macs(model, 64)[0] == stopped


def test_what_is_no_number_has_failed_in_both_views() -> None:
    model, batch = quitting()
    nn.init.constant_(model.iterations[-1].head.bias[-1:], float("nan"))  # type: ignore[union-attr, index, operator]
    model.quit_threshold = None  # type: ignore[assignment]
    flip = torch.tensor(SCHEMES["cofw29"].flip)
    with torch.no_grad():
        assert model(batch.image).failed.all()
        found = predict_with_mirror(model, batch.image, flip).failed
    assert found is not None
    assert found.all()


def test_the_mean_of_two_views_says_nothing_of_one_of_them() -> None:
    model, batch = quitting()
    flip = torch.tensor(SCHEMES["cofw29"].flip)
    with torch.no_grad():
        views = [model(batch.image), model(batch.image.flip(-1))]
        found = predict_with_mirror(model, batch.image, flip)
    assert type(found) is LandmarkOutput
    assert found.stage_landmarks is None
    error = (views[0].predicted_error + views[1].predicted_error) / 2
    torch.testing.assert_close(found.predicted_error, error)
    torch.testing.assert_close(found.iterations, (views[0].iterations + views[1].iterations) / 2)
    assert found.failed is not None
    assert found.failed.tolist() == [e > model.fail_threshold for e in error.tolist()]


def check_stride(layer: nn.Conv2d, given: tuple[Tensor], output: Tensor) -> None:
    """Strided by channel over one pixel, oneDNN makes bfloat16 gradients from memory that nothing was written to."""
    assert layer.groups == 1 or layer.stride == (1, 1) or given[0].shape[-2:] != (1, 1)


@pytest.mark.parametrize("system", SYSTEMS)
def test_bfloat16_trains_and_answers_in_float32(system: str) -> None:
    model, criterion, batch = built(system, 68)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(check_stride)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch.image)
        loss = criterion(output, batch)["loss"]
    loss.backward()
    check_output(output, 68)
    assert loss.dtype == torch.float32
    check_gradients(model)
    full = model(batch.image).landmarks
    assert (output.landmarks - full).abs().mean() < 3  # px of 64: rounded, not broken


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("system", SYSTEMS)
def test_eight_faces_can_be_learned_by_heart(system: str) -> None:
    """Below 1.5 % of the distance of the eyes, so that nothing in the way of the landmarks is too coarse."""
    cfg = compose([*overrides(system, 68), "input_size=128", "dataset.image_size=128", "dataset.train_size=10"])
    data = build_data(cfg)
    data.setup("fit")
    statistics = training_statistics(data, "box")
    torch.manual_seed(0)
    model, criterion = build_model(cfg, statistics), build_criterion(cfg, statistics)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert len(batch.index) == 8
    parameters = [p for p in (*model.parameters(), *criterion.parameters()) if p.requires_grad]
    steps = 1200
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for done in range(steps):
        optimizer.zero_grad()
        step(model, criterion, batch)
        optimizer.step()
        schedule.step()
        if done % 50 == 49 and error(model, batch) < 0.013:
            break
    assert error(model, batch) < 0.015
    settle(model, batch)
    model.eval()
    assert error(model, batch) < 0.02  # as it is evaluated: batch norm takes its running means, dropout is off


def settle(model: nn.Module, batch: FaceBatch) -> None:
    """Running means of batch norm as they are after many steps with these weights: those of the eight faces.

    Many times over, because running variances are those of a sample: of the eight values that a map of one pixel has
    they would be 8 / 7 of what normalised them in training, in every layer.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        model(batch.image.repeat(32, 1, 1, 1))


def error(model: nn.Module, batch: FaceBatch) -> float:
    """Mean error on the faces as trained, batch norm included."""
    with torch.no_grad():
        return float(face_errors(model(batch.image).landmarks, batch).mean())


def test_schemes_are_the_known_ones() -> None:
    assert {n: SCHEMES[name].num_landmarks for n, name in NAMES.items()} == {n: n for n in NAMES}
