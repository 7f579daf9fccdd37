"""A run or sweep folder from somebody else: whatever its configuration says, opening it runs and reads nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.cli.faces_of_run import open_source
from facegraph.errors import ConfigError, FacegraphError
from facegraph.reports.compare.comparison import read_scores
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_run, project_root, read_config
from facegraph.runs.folder import claim
from facegraph.runs.job import run_job
from facegraph.runs.plugins import VARIABLE
from facegraph.runs.train import settings_of, train
from facegraph.runs.trust import known_targets
from facegraph.sweeps.identity import identity
from facegraph.training.callbacks import best_checkpoint
from tests.helpers.runs import TinyRun, evaluate_run, tiny_config

SECRET = "s3cr3t-of-the-user"


class MakesFolder:
    """Pickled: a command that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder beside the stranger's, with a pickle that would leave a trace there; the working folder too."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "bomb.ckpt").write_bytes(pickle.dumps(MakesFolder(folder / "trace")))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("FACEGRAPH_OUTPUT_DIR", raising=False)
    return folder


def unpickling(target: str, bomb: Path, **more: Any) -> dict[str, Any]:
    return {"_target_": target, "checkpoint_path": str(bomb), "weights_only": False, **more}


def copied(run: TinyRun, folder: Path) -> None:
    """Without what other tests have scored in it."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("eval"))


Change = Callable[[dict[str, Any], Path], Any]


def evil_callbacks(cfg: dict[str, Any], bomb: Path) -> None:
    cfg["dataset"]["defaults"] = ["_self_", {"/box@_global_.hydra.callbacks": "of_the_run"}]
    cfg["box"] = {"evil": {"_target_": "torch.load", "f": str(bomb), "weights_only": False}}


def composing(cfg: dict[str, Any], bomb: Path) -> None:
    inner = {
        "_target_": "facegraph.runs.compose.compose",
        "overrides": [f"+model.evil={{_target_:torch.load,f:{bomb},weights_only:false}}"],
    }
    cfg["model"] = {"_target_": "facegraph.runs.compose.make", "config": inner}


def set_at(key: str, value: Callable[[Path], Any]) -> Change:
    def change(cfg: dict[str, Any], bomb: Path) -> None:
        *above, last = key.split(".")
        node = cfg
        for part in above:
            node = node[part]
        node[last] = value(bomb)

    return change


CASES: dict[str, Change] = {
    "a method of Lightning": set_at(
        "optimizer", lambda bomb: unpickling("pytorch_lightning.LightningModule.load_from_checkpoint", bomb)
    ),
    "a method of ours": set_at(
        "model", lambda bomb: unpickling("facegraph.training.task.LandmarkTask.load_from_checkpoint", bomb)
    ),
    "an interpolated name": set_at(
        "dataset", lambda bomb: {"_target_": "facegraph.${x}", "x": "compose.torch.load", "f": str(bomb)}
    ),
    "an escaped name": set_at("box", lambda bomb: {"_target_": r"torch.\${x}load", "f": str(bomb)}),
    "what composes and makes": composing,
    "a callback of Hydra": evil_callbacks,
    "what a module of ours imports": set_at(
        "dataset", lambda bomb: {"_target_": "facegraph.runs.folder.torch.load", "f": str(bomb), "weights_only": False}
    ),
    "deep in a list": set_at(
        "augment", lambda bomb: {"a": [[{"b": {"_target_": "torch.load", "f": str(bomb), "weights_only": False}}]]}
    ),
    "a name that is none": set_at("data.dataset._target_", lambda bomb: ["torch.load"]),
    "arguments without names": set_at("box._args_", lambda bomb: [str(bomb)]),
    "settings of Hydra": set_at("hydra", lambda bomb: {"searchpath": [f"file://{bomb.parent}"]}),
    "a variable in a name": set_at("dataset.name", lambda bomb: "${oc.env:SECRET}"),
    "a variable in a place of no use": set_at("name", lambda bomb: "run of ${oc.env:SECRET,none}"),
    "an environment's module": set_at("loss", lambda bomb: {"_target_": "subprocess.run", "args": ["touch", "trace"]}),
}


def evaluated(run: Path) -> None:
    evaluate_run(run)


def resumed(run: Path) -> None:
    (run / "result.json").unlink()
    train(compose([f"resume={run}"]))


def swept_again(run: Path) -> None:
    """The folder lies where a job of a sweep would."""
    (run / "result.json").unlink()
    cfg = tiny_config(run, "sweep.row=a")
    cfg.sweep.identity = identity(settings_of(cfg))
    run_job(cfg)


def called(*arguments: str) -> Callable[[Path], None]:
    def call(run: Path) -> None:
        done = CliRunner().invoke(app, [argument.replace("RUN", str(run)) for argument in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if done.exit_code != 0:
            raise FacegraphError(done.output)

    return call


WAYS: dict[str, Callable[[Path], None]] = {
    "eval.py": evaluated,
    "resume": resumed,
    "a sweep's continuation": swept_again,
    "bench quit": called("bench", "quit", "RUN"),
}


def started_from(run: Path) -> None:
    train(tiny_config(run.parent / "next", f"init_from={run}"))


READING: dict[str, Callable[[Path], None]] = {
    "init_from": started_from,
    "report": called("report", "RUN"),
    "rescore": called("rescore", "RUN"),
}


@pytest.fixture
def strangers(tiny_run: TinyRun, tmp_path: Path, outside: Path, case: str) -> Path:
    run = tmp_path / "run"
    copied(tiny_run, run)
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    assert isinstance(config, dict)
    CASES[case](config, outside / "bomb.ckpt")
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    return run


def told(result: str, overrides: list[str]) -> str:
    """A result.json as if its evaluation had been given these overrides."""
    content = json.loads(result)
    content["provenance"]["overrides"] = overrides
    return json.dumps(content)


def holds_the_secret(folder: Path) -> bool:
    return any(SECRET in str(path) or SECRET.encode() in path.read_bytes() for path in folder.rglob("*.json"))


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("case", list(CASES))
def test_it_is_refused_and_runs_nothing(way: str, strangers: Path, outside: Path) -> None:
    with pytest.raises((ConfigError, FacegraphError), match=r"config\.yaml (wants to build|has )"):
        WAYS[way](strangers)
    assert [path.name for path in outside.iterdir()] == ["bomb.ckpt"]
    assert not holds_the_secret(strangers)


@pytest.mark.parametrize("case", ["a callback of Hydra", "what a module of ours imports", "a variable in a name"])
def test_reading_its_results_runs_nothing(strangers: Path, outside: Path, tiny_run: TinyRun) -> None:
    for way in READING.values():
        way(strangers)
    CliRunner().invoke(app, ["compare", str(strangers), str(tiny_run.folder), f"--out={strangers}/compared"])
    assert [path.name for path in outside.iterdir() if path.name != "outputs"] == ["bomb.ckpt"]
    assert not holds_the_secret(strangers.parent)


def test_a_result_that_asks_for_more_shows_no_images(tiny_run: TinyRun, tmp_path: Path, outside: Path) -> None:
    """compare draws the faces that an evaluation was told to score."""
    target = f"dataset.scheme={{_target_:torch.load,f:{outside}/bomb.ckpt,weights_only:false}}"
    for wanted in (target, "dataset.root=${oc.env:SECRET}"):
        run = tmp_path / "run" / "eval" / "synthetic_last" / "now"
        copied(tiny_run, run)
        shutil.copy(tiny_run.folder / "config.yaml", tmp_path / "run")
        text = (run / "result.json").read_text()
        (run / "result.json").write_text(told(text, ["dataset=crops", wanted]))
        source, why = open_source(read_scores(run, "last", None, "A"))
        assert source is None
        assert "is used in no comparison" in why
        assert SECRET not in why
        shutil.rmtree(tmp_path / "run")
    assert [path.name for path in outside.iterdir()] == ["bomb.ckpt"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: !!python/object/apply:os.mkdir [trace]", "python/object"),
        ("a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ), "values"),
        ("a: &a [*a]", "repeats itself"),
        ("[" * 5000, "deep"),
        ("a: " + "x" * (1 << 20), "bytes"),
        ("a: \0", "config.yaml"),
        ("a: {b: 1", "config.yaml"),
        ("- 1\n- 2", "no configuration"),
        ("", "no configuration"),
        ("a: ${b", "config.yaml"),
        ("a: 1\na: 2", "config.yaml"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_none(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(FacegraphError) as caught:
        read_config(tmp_path)
    assert "config.yaml" in str(caught.value)
    assert named in str(caught.value)


def test_its_name_leads_nowhere(tiny_run: TinyRun, tmp_path: Path, outside: Path) -> None:
    """Of the data set; a folder is named after it."""
    run = tmp_path / "run"
    copied(tiny_run, run)
    config: Any = OmegaConf.load(run / "config.yaml")
    config.dataset.name = config.data.dataset.name = "../../../outside/x"
    OmegaConf.save(config, run / "config.yaml")
    evaluate_run(run)
    assert [path.name for path in outside.iterdir()] == ["bomb.ckpt"]
    assert [path.name for path in (run / "eval").iterdir()] == [".._.._.._outside_x_last"]


def test_its_log_stays_in_its_folder(tiny_run: TinyRun, tmp_path: Path, outside: Path) -> None:
    run = tmp_path / "run"
    copied(tiny_run, run)
    config: Any = OmegaConf.load(run / "config.yaml")
    for place in ("../../outside", str(outside)):
        config.logger.csv.version = place
        OmegaConf.save(config, run / "config.yaml")
        (run / "result.json").unlink(missing_ok=True)
        with pytest.raises(ConfigError, match="leads out of it"):
            train(compose([f"resume={run}"]))
    assert [path.name for path in outside.iterdir()] == ["bomb.ckpt"]


def test_its_checkpoint_names_no_other_files(tmp_path: Path) -> None:
    """Lightning deletes what the state calls the best checkpoint so far when there is a better one."""
    callback = best_checkpoint()
    callback.dirpath = str(tmp_path / "checkpoints")
    for victim in (f"local://{tmp_path}/victim", str(tmp_path / "checkpoints" / ".." / "victim"), "s3://bucket/x"):
        state = {**callback.state_dict(), "dirpath": "", "best_k_models": {victim: torch.tensor(0.1)}}
        paths = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), victim)
        callback.load_state_dict({**state, **paths, "best_model_score": torch.tensor(0.1)})
        own = str(tmp_path / "checkpoints" / "best.ckpt")
        assert {callback.best_model_path, callback.kth_best_model_path, *callback.best_k_models} == {own}
        assert float(callback.best_k_models[own]) == pytest.approx(0.1)


def test_what_the_user_names_is_built(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of one's own is named in the environment or by the command; the folder cannot name it."""
    target, run = "torch.optim.Adam", tmp_path / "run"
    run.mkdir()
    config: Any = OmegaConf.load(tiny_run.folder / "config.yaml")
    config.optimizer._target_ = target
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(ConfigError, match=f"{VARIABLE}={target}"):
        read_config(run)
    assert read_config(run, [target]).optimizer._target_ == target
    monkeypatch.setenv(VARIABLE, f"other.Thing, {target}")
    assert read_config(run).optimizer._target_ == target
    offer_data_of_run(run)
    monkeypatch.setenv(VARIABLE, "pytorch_lightning.LightningModule.load_from_checkpoint")
    config.optimizer._target_ = "pytorch_lightning.LightningModule.load_from_checkpoint"
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(ConfigError, match="neither a class nor a function"):
        read_config(run)


def test_a_name_with_a_dollar_is_kept(tmp_path: Path) -> None:
    name = "cost ${x} of"
    config = OmegaConf.create({"dataset": {"root": rf"/data/\{name[5:]}"}, "name": name.replace("$", r"\$")})
    claim(tmp_path / "run", config)
    assert read_config(tmp_path / "run").name == name


TARGETS = Path(__file__).with_name("targets.txt")


def test_the_list_is_known() -> None:
    """Whoever adds a name to conf/ adds it to targets.txt too, and so looks at what a stranger could do with it."""
    found = known_targets(project_root())
    assert sorted(found) == TARGETS.read_text().splitlines()
    for name in found:
        thing = get_object(name)
        assert isinstance(thing, type) or thing.__qualname__ == name.rsplit(".", 1)[-1], name
        assert thing.__name__ == name.rsplit(".", 1)[-1]
