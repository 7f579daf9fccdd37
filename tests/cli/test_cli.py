"""The facegraph command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from facegraph.cli import COMMANDS, app, load
from facegraph.data.synthetic.dataset import SyntheticDataset

SMALL = ("input_size=64", "dataset.train_size=40", "dataset.image_size=64")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("points") / "points.npy"
    np.save(path, SyntheticDataset(train_size=30, test_size=1).train().table.landmarks)
    return path


def test_summary_as_json_prints_json_only() -> None:
    done = call("summary", *SMALL, "head=fc", "--json")
    assert done.exit_code == 0, done.output
    costs = json.loads(done.stdout)
    assert {"params", "macs", "latency_ms", "modules"} <= set(costs)
    assert costs["latency_ms"]["cpu"] > 0
    assert {"name", "params", "macs"} == set(costs["modules"][0])
    assert sum(m["params"] for m in costs["modules"] if "." not in m["name"]) == costs["params"]


def test_summary_as_a_table() -> None:
    done = call("summary", *SMALL)
    assert done.exit_code == 0, done.output
    for part in ("backbone", "head", "98 landmarks, 64 px", "38 faces of synthetic", "thop"):
        assert part in " ".join(done.stdout.split()), part


def test_graph_of_a_file(points: Path, tmp_path: Path) -> None:
    done = call("graph", "--landmarks", points, "--top-k", 4, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    edges = pd.read_csv(tmp_path / "out" / "edges.csv")
    assert list(edges.columns) == ["src", "dst", "weight"]
    assert len(edges) == 98 * 4
    assert (edges["src"] != edges["dst"]).all()
    assert edges["weight"].is_monotonic_decreasing
    assert edges["weight"].between(0, 1).all()
    assert (edges.groupby("src").size() == 4).all()
    assert (tmp_path / "out" / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_graph_of_a_data_set_and_frame(tmp_path: Path) -> None:
    tables = []
    for frame in ("procrustes", "image"):
        out = tmp_path / frame
        done = call("graph", *SMALL, "dataset.scheme.name_or_path=ibug68", "--top-k", 2, "--frame", frame, "--out", out)
        assert done.exit_code == 0, done.output
        tables.append(pd.read_csv(out / "edges.csv"))
        assert len(tables[-1]) == 68 * 2
    assert not tables[0].equals(tables[1])


def test_any_number_of_landmarks(tmp_path: Path) -> None:
    np.save(tmp_path / "five.npy", np.random.default_rng(0).normal(size=(10, 5, 2)))
    done = call("graph", "--landmarks", tmp_path / "five.npy", "--top-k", 4, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "out" / "edges.csv")) == 5 * 4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--top-k", 98], ["--top-k is 98", "1 to 97"]),
        (["--top-k", 0], ["--top-k is 0", "1 to 97"]),
        (["--frame", "affine"], ["affine", "procrustes"]),
        (["head=fc"], ["exclude each other", "head=fc"]),
    ],
)
def test_graph_refuses(points: Path, tmp_path: Path, arguments: list[object], named: list[str]) -> None:
    done = call("graph", "--landmarks", points, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    for part in named:
        assert part in str(done.exception) + done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, ["cannot read", "numpy.save"]),
        (np.zeros((4, 10)), ["(4, 10)", "(faces, points, 2)"]),
        (np.full((5, 3, 2), np.nan), ["face 0", "not finite"]),
        (np.zeros((2, 3, 2)), ["at least 3 faces"]),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: np.ndarray | None, named: list[str]) -> None:
    path = tmp_path / "points.npy"
    if content is not None:
        np.save(path, content)
    done = call("graph", "--landmarks", path, "--top-k", 1, "--out", tmp_path / "out")
    assert done.exit_code == 1
    for part in named:
        assert part in str(done.exception) + done.output


def test_a_typo_is_answered_with_what_exists() -> None:
    done = call("summary", "head.topk=3")
    assert done.exit_code == 1
    assert "Did you mean 'head.top_k'" in str(done.exception) + done.output


def test_existing_results_are_left_alone(points: Path, tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("mine")
    done = call("graph", "--landmarks", points, "--out", tmp_path)
    assert done.exit_code == 1
    assert (tmp_path / "edges.csv").read_text() == "mine"


def test_a_folder_that_cannot_be_made(points: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = call("graph", "--landmarks", points, "--out", tmp_path / "file" / "x")
    assert isinstance(done.exception, SystemExit)
    assert "cannot be made" in str(done.exception) + done.output


def test_the_list_of_commands_says_what_each_says_itself() -> None:
    for name, (_, line) in COMMANDS.items():
        own = " ".join(str(load(name).help).split())
        assert own.startswith(line.rstrip(".")), name


@pytest.mark.runs
def test_commands_that_need_no_training_start_without_lightning() -> None:
    code = (
        "import sys; from facegraph.cli import load; load('prepare'); load('doctor');"
        "print([m for m in ('pytorch_lightning', 'timm', 'hydra') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
