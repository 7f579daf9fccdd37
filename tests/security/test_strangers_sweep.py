"""A sweep folder from somebody else: what its table's file says leads nowhere and runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.sweeps.manifest import Job, SweptTable, write_table
from facegraph.sweeps.table import Column, Row, Table
from tests.helpers.runs import TinyRun

IDENTITY = "0123456789ab"
TABLE = Table("scc/t", "T", "drawn", "none", (Row("a", "a", ()),), (Column("nme", "NME", "nme"),))
SECRET = "s3cr3t-of-the-user"


@pytest.fixture
def sweep(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sweep"
    write_table(folder, SweptTable(TABLE, "smoke", (Job("a", 0, IDENTITY, ()),), ("sweeps=scc/t",)))
    shutil.copytree(tiny_run.folder, folder / "jobs" / IDENTITY, ignore=shutil.ignore_patterns("eval"))
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "outside")
    monkeypatch.setenv("SECRET", SECRET)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return folder


def set_at(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


CASES = {
    "a job elsewhere": set_at("jobs", 0, "identity", value="../../outside"),
    "a job that is no text": set_at("jobs", 0, "identity", value=7),
    "a job scored elsewhere": set_at("jobs", 0, "scored", value=["../x"]),
    "a table above": set_at("table", "name", value=".."),
    "a table at the top": set_at("table", "name", value="/outside/x"),
    "a condition elsewhere": set_at("table", "evaluations", value={"../../x": {"label": "x", "overrides": []}}),
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("command", ["report", "rescore", "dashboard"])
def test_it_is_refused(command: str, case: str, sweep: Path, tmp_path: Path) -> None:
    path = sweep / "tables" / "scc.t.json"
    content = json.loads(path.read_text())
    CASES[case](content)
    path.write_text(json.dumps(content))
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, [command, str(sweep), *(["--offline"] if command == "dashboard" else [])])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    assert "scc.t.json" in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_overrides_are_only_shown(sweep: Path, tmp_path: Path) -> None:
    path = sweep / "tables" / "scc.t.json"
    content = json.loads(path.read_text())
    command = ["sweeps=scc/t", "name=${oc.env:SECRET}", "+x={_target_:os.mkdir,path:trace}"]
    content["command"] = content["fixed"] = content["jobs"][0]["overrides"] = command
    path.write_text(json.dumps(content))
    for arguments in (["report", str(sweep)], ["rescore", str(sweep)]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert SECRET not in done.output
    written = [file for file in (sweep / "report").rglob("*") if file.suffix in {".html", ".md", ".csv", ".json"}]
    assert written
    assert not any(SECRET in file.read_text() for file in written)
    assert list((tmp_path / "outside").iterdir()) == []
