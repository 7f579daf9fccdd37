"""docs/extend works as written: its files make a package outside of facegraph; it trains, resumes, scores, sweeps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facegraph.errors import ConfigError
from facegraph.runs import plugins
from facegraph.runs.compose import compose
from facegraph.runs.configuration import read_config
from facegraph.runs.train import train
from tests.helpers.runs import ROOT, TINY, TINY_DATA, environment, evaluate_run, resume

GUIDES = sorted(path.stem for path in (ROOT / "docs" / "extend").glob("*.md"))
FILE = re.compile(r"^`(mylab/[\w./]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```sh\npython train.py (.*?)\n```$", re.MULTILINE)


@pytest.fixture
def mylab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """Text of a guide whose package can be imported for one test."""
    text = (ROOT / "docs" / "extend" / f"{request.param}.md").read_text(encoding="utf-8")
    for name, content in FILE.findall(text):
        path = tmp_path / "lab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    monkeypatch.setenv(plugins.VARIABLE, "")
    yield text
    for name in [name for name in sys.modules if name.split(".")[0] == "mylab"]:
        del sys.modules[name]


def arguments(text: str, tmp_path: Path, number: int = 0) -> list[str]:
    return shlex.split(COMMAND.findall(text)[number].replace("<folder>", str(tmp_path / "data")))


@pytest.mark.runs
@pytest.mark.parametrize("mylab", GUIDES, indirect=True)
@pytest.mark.usefixtures("no_pictures")
def test_a_guide_trains_resumes_and_scores(mylab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = arguments(mylab, tmp_path)
    if "dataset=arrays" in given:
        (tmp_path / "data").mkdir()
        words = [sys.executable, "-m", "mylab.draw", str(tmp_path / "data")]
        subprocess.run(words, cwd=tmp_path / "lab", env=environment() | {"PYTHONPATH": str(ROOT / "src")}, check=True)
    else:
        given = [*TINY_DATA, *given]
    folder = tmp_path / "run"
    done = train(compose([*TINY, f"output_dir={folder}", *given]))
    assert done.protocol.test_faces == 9
    (folder / "result.json").unlink()
    (folder / "predictions.parquet").unlink()
    again = resume(folder).result
    assert again.metrics["test"]["last"]["nme"] == pytest.approx(done.metrics["test"]["last"]["nme"], rel=1e-4)
    scored = evaluate_run(folder, f"output_dir={tmp_path / 'eval'}")
    assert scored.metrics["test"]["last"]["nme"] == pytest.approx(done.metrics["test"]["last"]["nme"], rel=1e-4)
    monkeypatch.delenv(plugins.VARIABLE)  # the run names its plug-ins, but only who runs it can trust them
    with pytest.raises(ConfigError, match=rf"wants to build 'mylab\..*{plugins.VARIABLE}=mylab"):
        read_config(folder)


@pytest.mark.slow
@pytest.mark.parametrize("mylab", ["loss"], indirect=True)
def test_a_table_of_a_plug_in_reaches_its_jobs(mylab: str, tmp_path: Path) -> None:
    given = [a for a in arguments(mylab, tmp_path, 1) if not a.startswith("seed=")]
    words = [sys.executable, str(ROOT / "train.py"), *given, *TINY, *TINY_DATA, f"sweep_dir={tmp_path / 'sweep'}"]
    paths = os.pathsep.join([str(tmp_path / "lab"), str(ROOT / "src")])
    done = subprocess.run(words, env=environment() | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert "2 of 2 jobs are done" in done.stdout, done.stdout + done.stderr


def test_a_plug_in_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "")
    with pytest.raises(ConfigError, match=r"names 'no_such_lab', which cannot be imported here.*pip install -e"):
        compose(["plugins=[no_such_lab]"])
    monkeypatch.setenv(plugins.VARIABLE, "no_such_lab")
    with pytest.raises(ConfigError, match="no_such_lab"):
        compose([])


def test_names_are_whole_packages_or_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "mylab, torch.optim.AdamW")
    trusted = ("mylab.losses.Charbonnier", "torch.optim.AdamW")
    refused = ("mylabs.losses.Charbonnier", "torch.optim.Adam", "torch.optim.AdamWide", "my")
    assert [plugins.trusts(name) for name in (*trusted, *refused)] == [True] * 2 + [False] * 4
