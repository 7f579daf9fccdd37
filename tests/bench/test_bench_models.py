"""facegraph bench models: what is measured, how turns are taken, what is counted; no speed is judged."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from typer.testing import CliRunner

from facegraph.bench import models
from facegraph.bench.models import LEAST_ROUNDS, ROWS, ModelRow, bench_models
from facegraph.cli import app
from facegraph.errors import ConfigError
from facegraph.runs.compose import build_model, compose
from facegraph.structures import LandmarkModel, ShapeStatistics
from tests.helpers.models import face_statistics

pytestmark = pytest.mark.any_processor

PER_FACE = 0.004


class Clock:
    """In place of the module time; by the clock everything takes a quarter more than of the processor."""

    processor = 0.0

    def process_time(self) -> float:
        return self.processor

    def perf_counter(self) -> float:
        return 1.25 * self.processor


class Busy(LandmarkModel):
    """Takes a known time per face by a made clock, and notes how it was called."""

    calls: list[tuple[str, int, bool, int]] = []  # noqa: RUF012  # shared on purpose: the order over all networks

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(face_statistics(5))
        self.name, self.clock = name, clock
        self.layer = nn.Linear(3, 1)

    def forward(self, image: Tensor) -> Tensor:
        self.calls.append((self.name, len(image), torch.is_inference_mode_enabled(), torch.get_num_threads()))
        assert not self.training
        self.clock.processor += PER_FACE * len(image)
        return image


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, bool, int]]:
    names, clock = iter("ab"), Clock()
    monkeypatch.setattr(models, "time", clock)
    monkeypatch.setattr(models, "build_model", lambda cfg, statistics: Busy(next(names), clock))
    monkeypatch.setattr(models, "count_macs", lambda model, size: (7, {}))
    monkeypatch.setattr(models, "_TURN", 0.01)
    Busy.calls = []
    return Busy.calls


def test_every_row_composes_to_the_published_size() -> None:
    assert len({row.name for row in ROWS}) == len({row.label for row in ROWS}) == len(ROWS)
    built = {}
    for row in ROWS:
        cfg = compose(row.overrides)
        built[row.name] = (cfg.model._target_.rsplit(".", 1)[-1], cfg.input_size)
    sizes = {name: size for name, (_, size) in built.items()}
    assert sizes == {row.name: 228 if row.name.startswith("musica") else 256 for row in ROWS}
    kinds = {name: kind for name, (kind, _) in built.items()}
    assert (kinds["fan4"], kinds["dpr_gsr"], kinds["musica"], kinds["fc"]) == (
        "FAN", "DPR", "MuSiCa", "LandmarkRegressor",
    )  # fmt: skip


def test_networks_take_turns_and_times_are_those_of_a_batch(busy: list[tuple[str, int, bool, int]]) -> None:
    drawn = ("head=fc", "dataset.train_size=20")
    rows = (ModelRow("one", "One", drawn), ModelRow("two", "Two", drawn))
    before = torch.get_num_threads()
    found = bench_models(threads=1, batches=(4, 1), seconds=0.08, rows=rows)
    assert torch.get_num_threads() == before
    assert [(speed.name, speed.macs, speed.params, speed.landmarks) for speed in found.speeds] == [
        ("one", 7, 4, 98),
        ("two", 7, 4, 98),
    ]
    for speed in found.speeds:
        for batch in (1, 4):
            assert speed.processor[batch] == pytest.approx(PER_FACE * batch)
            assert speed.clock[batch] == pytest.approx(1.25 * PER_FACE * batch)
            assert speed.calls[batch] >= LEAST_ROUNDS
            assert speed.per_second(batch) == pytest.approx(batch / speed.processor[batch])
        assert speed.milliseconds(4) == pytest.approx(4 * speed.milliseconds(1))
    assert all(inference and threads == 1 for _, _, inference, threads in busy)
    cells = [(name, batch) for name, batch, _, _ in busy]
    rounds = [cell for i, cell in enumerate(cells) if i == 0 or cells[i - 1] != cell]
    assert rounds[:8] == [("a", 1), ("a", 4), ("b", 1), ("b", 4)] * 2, "a busy machine must slow all alike"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"only": ["scc", "nothing"]}, ["nothing", "dpr_glsr"]),
        ({"threads": 0}, ["threads is 0"]),
        ({"batches": [0]}, ["[0]"]),
        ({"seconds": 0.0}, ["seconds 0.0"]),
    ],
)
def test_what_cannot_be_measured_is_refused(settings: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        bench_models(**settings)
    assert all(part in str(caught.value) for part in named)


def test_the_command_counts_what_quitting_saves() -> None:
    """A third of the multiply-adds is left, by the spec's table, and the work is really not done."""
    arguments = ["bench", "models", "--only", "musica,musica_quit", "--batch", "1", "--seconds", "0.1"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    full, early = found["speeds"]
    assert (round(full["macs"] / 1e6, 2), round(early["macs"] / 1e6, 2)) == (69.96, 23.32)
    assert full["params"] == early["params"]
    assert found["threads"] == 1


def test_only_a_row_that_quits_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an override says, "all iterations" means all of them, counted and timed."""
    given = ("model.quit_threshold=1e9", "model.hidden=8", "model.channels=4")
    rows = [ModelRow(name, name, ("experiment=musica_wflw",), quits=name == "early") for name in ("whole", "early")]
    ran: list[set[int]] = []

    def watched(cfg: DictConfig, statistics: ShapeStatistics) -> nn.Module:
        model = build_model(cfg, statistics)
        ran.append(set())
        model.register_forward_hook(lambda module, given, output, seen=ran[-1]: seen.update(output.iterations.tolist()))
        return model

    monkeypatch.setattr(models, "build_model", watched)
    found = bench_models(overrides=given, batches=(1,), seconds=0.01, rows=rows)
    whole, early = found.speeds
    assert whole.macs == 3 * early.macs
    assert ran == [{3}, {1}]


def test_the_table_says_how_it_was_measured(busy: list[tuple[str, int, bool, int]]) -> None:
    done = CliRunner().invoke(
        app, ["bench", "models", "--only", "fc", "--batch", "1,2", "--seconds", "0.02"], env={"COLUMNS": "80"}
    )
    assert done.exit_code == 0, done.output
    for part in ("one core", "set_num_threads(1)", "FC, ResNet-34", "input, px", "without loading", "by the clock"):
        assert part in done.stdout, part
