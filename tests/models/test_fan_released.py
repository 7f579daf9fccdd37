"""Published FAN weights: a state dict made from an independent list of the public names is read and fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facegraph.errors import ConfigError, RunError
from facegraph.landmarks import IBUG68, WFLW98
from facegraph.models.fan import FAN, read_released
from facegraph.runs.compose import build_model, compose
from tests.helpers.models import face_statistics, faces


def norm_shapes(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (width,)
    yield f"{name}.num_batches_tracked", ()


def block_shapes(name: str, before: int, after: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    widths = {1: (before, after // 2), 2: (after // 2, after // 4), 3: (after // 4, after // 4)}
    for i, (a, b) in widths.items():
        yield from norm_shapes(f"{name}.bn{i}", a)
        yield f"{name}.conv{i}.weight", (b, a, 3, 3)
    if before != after:
        yield from norm_shapes(f"{name}.downsample.0", before)
        yield f"{name}.downsample.2.weight", (after, before, 1, 1)


def linear_shapes(name: str, before: int, after: int, side: int = 1) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (after, before, side, side)
    yield f"{name}.bias", (after,)


def public_shapes(
    stacks: int = 2, landmarks: int = 68, width: int = 256, depth: int = 4, kernel: int = 7
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published files, from their description."""
    found = [*linear_shapes("conv1", 3, 64, kernel), *norm_shapes("bn1", 64)]
    for i, (a, b) in enumerate(((64, 128), (128, 128), (128, width)), start=2):
        found += block_shapes(f"conv{i}", a, b)
    for i in range(stacks):
        for level in range(1, depth + 1):
            for place in ("b1", "b2", "b3"):
                found += block_shapes(f"m{i}.{place}_{level}", width, width)
        found += block_shapes(f"m{i}.b2_plus_1", width, width)
        found += block_shapes(f"top_m_{i}", width, width)
        found += linear_shapes(f"conv_last{i}", width, width)
        found += norm_shapes(f"bn_end{i}", width)
        found += linear_shapes(f"l{i}", width, landmarks)
        if i < stacks - 1:
            found += linear_shapes(f"bl{i}", width, width)
            found += linear_shapes(f"al{i}", landmarks, width)
    return dict(found)


def made_up(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.tensor(7) if shape == () else 0.5 + 0.1 * torch.rand(shape, generator=generator)
        for name, shape in shapes.items()
    }


def is_norm(name: str) -> bool:
    return "bn" in name or "downsample.0" in name


def test_the_public_names_are_ours() -> None:
    shapes = public_shapes()
    assert len(shapes) == 599
    cfg = compose(["model=fan", "input_size=256"])
    own = {name: tuple(value.shape) for name, value in build_model(cfg, face_statistics(68)).state_dict().items()}
    assert own.pop("mean_shape") == (68, 2)
    assert own.pop("correlation") == (68, 68)
    assert own == shapes


SMALL = {"width": 16, "depth": 2}


@pytest.mark.any_processor
@pytest.mark.parametrize("wrapping", ["plain", "state_dict", "module.", "nested", "several"])
def test_weights_are_read_and_fit(tmp_path: Path, wrapping: str) -> None:
    state = made_up(public_shapes(stacks=3, landmarks=98, kernel=5, **SMALL))
    wrapped = {
        "plain": state,
        "state_dict": {"epoch": 3, "state_dict": state},
        "module.": {f"module.{name}": value for name, value in state.items()},
        "nested": {"model": {"state_dict": state}},
        "several": {"epoch": torch.tensor(3), "state_dict": {}, "model": state},
    }
    path = tmp_path / "2dfan.pth"
    torch.save(wrapped[wrapping], path)
    released = read_released(path)
    assert released.scheme is WFLW98
    assert released.mean_shape is None
    cfg = compose([*released.overrides, "input_size=64"])
    assert cfg.dataset.name == "wflw"
    assert cfg.test_time_flip  # as its authors score it
    assert any("test_time_flip" in note for note in released.notes)
    assert (cfg.codec.corner_origin, cfg.box.side, cfg.box.margin) == (True, "mean", 1.8182)
    model = build_model(cfg, face_statistics(98))
    assert isinstance(model, FAN)
    missing, unexpected = model.load_state_dict(released.state, strict=False)
    assert (sorted(missing), unexpected) == (["correlation", "mean_shape"], [])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert model.codec.origin == 0
    assert model.eval()(faces(1)).landmarks.shape == (1, 98, 2)
    assert f"{len(state)} of {len(state)} tensors matched" in released.notes[0]
    assert "none left over" in released.notes[0]
    assert "3 stacks of width 16 and depth 2, 98 landmarks, batch norm, 5 x 5 stem" in released.notes[1]


@pytest.mark.parametrize(("stacks", "pool", "expected"), [(2, None, "max"), (4, None, "avg"), (4, "max", "max")])
def test_pooling_is_that_of_the_published_model(tmp_path: Path, stacks: int, pool: str | None, expected: str) -> None:
    torch.save(made_up(public_shapes(stacks=stacks, **SMALL)), tmp_path / "a.pth")
    released = read_released(tmp_path / "a.pth", pool)
    assert f"model.pool={expected}" in released.overrides
    assert released.scheme is IBUG68
    assert "dataset=300w" in released.overrides
    assert any("pooling is" in note for note in released.notes) == (pool is None)


def test_what_is_left_over_or_absent_is_told(tmp_path: Path) -> None:
    state = made_up(public_shapes(stacks=1, **SMALL))
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({**old, "extra.weight": torch.ones(1)}, tmp_path / "old.pth")
    released = read_released(tmp_path / "old.pth")
    assert set(released.state) == set(state)
    assert f"{len(old)} of {len(state)} tensors matched" in released.notes[0]
    assert f"{len(state) - len(old)} counts of batches are not in the file" in released.notes[0]
    assert "left over: 1 (extra.weight)" in released.notes[0]


def test_instance_norm_is_recognised(tmp_path: Path) -> None:
    state = {n: v for n, v in made_up(public_shapes(stacks=2, **SMALL)).items() if not is_norm(n)}
    torch.save(state, tmp_path / "a.pth")
    released = read_released(tmp_path / "a.pth")
    assert "model.norm=instance" in released.overrides
    assert set(released.state) == set(state)


def test_files_that_are_no_fan(tmp_path: Path) -> None:
    state = made_up(public_shapes(stacks=1, **SMALL))
    cut = {name: value for name, value in state.items() if name != "m0.b3_1.conv2.weight"}
    bent = {**state, "top_m_0.conv1.weight": torch.ones(8, 16, 1, 1)}
    cases = {
        "resnet": ({"fc.weight": torch.ones(2, 2)}, r"no FAN: conv1.weight, .*m0.b1_1.*first are fc.weight"),
        "cut": (cut, r"FAN of 1 stacks of width 16 .*1 of \d+ tensors do not fit: m0.b3_1.conv2.weight is missing"),
        "bent": (bent, r"top_m_0.conv1.weight is \(8, 16, 1, 1\), needed \(8, 16, 3, 3\)"),
        "five": (made_up(public_shapes(stacks=5, **SMALL)), r"five\.pth holds a FAN of 5 stacks .*FAN has 1 to 4"),
        "wide": (made_up(public_shapes(stacks=1, width=18, depth=2)), r"wide\.pth holds .* width 18 .*num_features=18"),
        "list": ([1, 2], "holds a list, not a state dict"),
        "empty": ({"epoch": 1}, "holds a dictionary with 'epoch'"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(RunError, match=message):
            read_released(tmp_path / f"{name}.pth")
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    with pytest.raises(RunError, match=r"text.pth cannot be read as plain tensors.*Download it again"):
        read_released(tmp_path / "text.pth")
    with pytest.raises(RunError, match=r"there is no file .*2dfan2.pth"):
        read_released(tmp_path / "2dfan2.pth")
    torch.save(made_up(public_shapes(stacks=1, landmarks=39, **SMALL)), tmp_path / "39.pth")
    with pytest.raises(ConfigError, match=r"39 landmarks; schemes are known of \[29, 68, 98\]"):
        read_released(tmp_path / "39.pth")
    with pytest.raises(ConfigError, match="pool='sum'"):
        read_released(tmp_path / "39.pth", "sum")


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(RunError, match="cannot be read as plain tensors"):
        read_released(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()
