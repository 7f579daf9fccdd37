"""facegraph convert: the run it writes predicts as the weights do, and what happens when it cannot write one."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tests.models.test_dpr_released as dpr_files
from facegraph.cli import app
from facegraph.codecs.decoders import Centroid
from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import RunError
from facegraph.geometry.points import map_points
from facegraph.landmarks import IBUG68, WFLW98
from facegraph.models.dpr.model import DPR
from facegraph.models.dpr.reinit import PixelLocalReinitNetwork
from facegraph.models.fan import FAN, read_released
from facegraph.records import predictions_of
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_named_run, offer_data_of_run, read_config
from facegraph.runs.convert import convert
from facegraph.runs.evaluate import evaluate, open_run
from facegraph.runs.folder import checkpoint_path, load_checkpoint, model_state, saved_statistics
from facegraph.structures import ShapeStatistics
from facegraph.training.checkpoint_files import WholeCheckpoints

FACES = ("num_workers=0", "trainer=cpu", "dataset.train_size=2", "dataset.test_size=3", "test_time_flip=false")
dpr_folder = dpr_files.folder  # the fixture


@pytest.fixture(scope="module")
def fan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fan") / "2dfan2.pth"
    torch.manual_seed(0)
    statistics = ShapeStatistics(torch.zeros(68, 2), torch.eye(68), IBUG68)
    model = FAN(256, statistics, HeatmapCodec(Centroid()), num_features=16, depth=2, output_std=None)
    torch.save({n: v for n, v in model.state_dict().items() if n not in ("mean_shape", "correlation")}, path)
    return path


def fan_of(run: Path) -> nn.Module:
    state = model_state(load_checkpoint(checkpoint_path(run, "last")))
    statistics = saved_statistics(state, IBUG68)
    model = FAN(256, statistics, HeatmapCodec(Centroid(), corner_origin=True), num_features=16, depth=2)
    model.load_state_dict(state)
    return model


def dpr_of(run: Path) -> nn.Module:
    state = model_state(load_checkpoint(checkpoint_path(run, "last")))
    statistics = saved_statistics(state, WFLW98)
    model = DPR(512, statistics, PixelLocalReinitNetwork, "gsr", coarse_share=0.5, border=-1.0)
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize(
    ("system", "build", "scheme", "values", "boxes"),
    [("fan", fan_of, "ibug68", (0, 1), []), ("dpr", dpr_of, "wflw98", (-1, 1), ["box.fallback=true"])],
)
def test_a_converted_run_predicts_as_its_weights_do(
    system: str, build: Any, scheme: str, values: tuple[float, float], boxes: list[str], fan_file: Path,
    dpr_folder: Path, tmp_path: Path, no_pictures: None,
) -> None:  # fmt: skip
    run, source = tmp_path / "run", {"fan": fan_file, "dpr": dpr_folder}[system]
    done = CliRunner().invoke(app, ["convert", system, "--source", str(source), "--out", str(run)])
    assert done.exit_code == 0, done.output
    assert f"python eval.py run={run} dataset.root=" in done.stdout
    offer_data_of_run(run)
    drawn = ("dataset=synthetic", f"dataset.scheme.name_or_path={scheme}", *boxes, *FACES)
    cfg = compose([f"run={run}", *drawn], config_name="eval")
    result = evaluate(cfg)
    assert result.protocol.trained_on == f"released weights {source.name}"
    assert result.protocol.epochs == 0
    (written,) = (run / "eval").glob("*/*/predictions.parquet")
    predicted = predictions_of(pd.read_parquet(written))
    (batch,) = open_run(cfg).data.test_dataloader()
    image = values[0] + batch.image / 255 * (values[1] - values[0])
    with torch.no_grad():
        expected = map_points(batch.crop_to_image, build(run).eval()(image).landmarks)
    assert float(expected.std(dim=1).min()) > 0.1
    np.testing.assert_allclose(predicted.prediction, expected.numpy(), atol=1e-2)


ODD = ["a,b", "it's", 'say "x"', "a=b", "[1]", "{k: v}", "Zürich 日本", "cost ${x}", "back\\${x}", "null"]


@pytest.mark.any_processor
@pytest.mark.parametrize("name", ODD)
def test_folders_of_any_name(name: str, fan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept as they are, and the printed command, read by a shell and by Hydra, has them again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACEGRAPH_DATA", raising=False)
    done = CliRunner().invoke(app, ["convert", "fan", "--source", str(fan_file), "--out", name])
    assert done.exit_code == 0, done.output
    saved = read_config(tmp_path / name)
    assert saved.output_dir == name
    assert saved.dataset.root == saved.data.dataset.root == str(tmp_path / "data" / "300w")
    assert saved.test_time_flip
    command = shlex.split(done.stdout.split("Next:")[1])
    assert command[:2] == ["python", "eval.py"]
    run, root = command[2:]
    offer_data_of_named_run([run])
    assert compose([run], config_name="eval").run == str(tmp_path / name)
    assert root == f"dataset.root={tmp_path}/data/300w"


@pytest.mark.any_processor
def test_a_failed_write_can_be_repeated(fan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released, out = read_released(fan_file), tmp_path / "run"

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("facegraph.training.checkpoint_files._save", "facegraph.runs.folder.write_once"):
        with monkeypatch.context() as patched:
            patched.setattr(place, full)
            with pytest.raises(RunError, match=r"No space left on device\. Make room.*convert again") as caught:
                convert(released, fan_file, out)
        assert "resume" not in str(caught.value)
        assert not (out / "config.yaml").exists()
    assert checkpoint_path(out, "last").is_file()  # the first half of a conversion
    convert(released, fan_file, out)
    assert read_config(out).model.num_features == 16


def test_nothing_is_overwritten(fan_file: Path, tmp_path: Path) -> None:
    released = read_released(fan_file)
    out = convert(released, fan_file, tmp_path / "run")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"holds a run already.*choose another --out"):
        convert(released, fan_file, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    for name, content in {"foreign": {"weights": 1}, "trained": {"facegraph": {"trained_on": "wflw"}}}.items():
        path = tmp_path / name / "checkpoints" / "last.ckpt"
        WholeCheckpoints().save_checkpoint(content, path)
        with pytest.raises(RunError, match="no unfinished conversion"):
            convert(released, fan_file, tmp_path / name)
        assert torch.load(path, weights_only=True) == content
