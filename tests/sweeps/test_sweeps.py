"""Tables, manifests, identities, states and failures as plain files and values."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from facegraph.errors import ConfigError, DataError, NonFiniteLossError, RunError
from facegraph.sweeps import status
from facegraph.sweeps.failures import (
    DATA,
    DISK_FULL,
    INTERRUPTED,
    KILLED,
    NOT_FINITE,
    OTHER,
    OUT_OF_MEMORY,
    SETTINGS,
    failure_of,
    failure_of_exit,
)
from facegraph.sweeps.identity import identity
from facegraph.sweeps.manifest import Job, SweptTable, is_sweep, read_sweep, write_table
from facegraph.sweeps.status import (
    DONE,
    FAILED,
    NEW,
    PARTIAL,
    Failure,
    Progress,
    clear_failure,
    evaluation_folder,
    read_failure,
    read_progress,
    state,
    write_failure,
    write_progress,
)
from facegraph.sweeps.table import Table, table_from

NODE = {
    "name": "scc/table",
    "title": "t",
    "source": "s",
    "cost": "c",
    "base": ["experiment=scc_wflw"],
    "at_scale": {"smoke": ["seed=1"]},
    "baseline": "a",
    "axis": "k",
    "columns": {
        "nme": {"label": "NME", "metric": "nme"},
        "far": {"label": "far", "metric": "nme", "evaluation": "far"},
    },
    "evaluations": {"far": {"label": "far", "overrides": ["box=detector-jittered"], "value": 0.3}},
    "rows": {
        "a": {"label": "A", "overrides": [], "value": 1, "paper": {"nme": 4.4}, "counted": {"nme": 5.0}},
        "b": {"label": "B", "overrides": ["loss=l1"], "evaluations": []},
        "theirs": {"label": "other group", "paper": {"nme": 5.0}},
    },
}


def table(**changes: object) -> Table:
    return table_from({**NODE, **changes})


def test_a_table_survives_its_own_dictionary_and_json() -> None:
    assert table_from(table().to_dict()) == table()
    assert table_from(json.loads(json.dumps(table().to_dict()))) == table()
    assert [row.name for row in table().trained] == ["a", "b"]
    assert [e.name for e in table().evaluations_of(table().row("a"))] == ["far"]
    assert table().evaluations_of(table().row("b")) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rowz": {}}, "unknown keys \\['rowz'\\]"),
        ({"rows": {}}, "at least one row"),
        ({"rows": {"a": {"overrides": []}}}, "row a of table scc/table lacks \\['label'\\]"),
        ({"baseline": "theirs"}, "only published; name a trained row"),
        ({"baseline": "z"}, "no row of scc/table named 'z'; choose from a, b, theirs"),
        ({"rows": {"a": {"label": "A", "overrides": [], "paper": {"fr": 1}}}}, "values for no column: \\['fr'\\]"),
        ({"rows": {"a": {"label": "A", "overrides": [], "counted": {"fr": 1}}}}, "values for no column: \\['fr'\\]"),
        ({"baseline": None, "rows": {"a": {"label": "A", "counted": {"nme": 1}}}}, "only trained rows have counted"),
        ({"at_scale": {"tiny": []}}, "scales \\['tiny'\\]; there are paper, small, smoke"),
        ({"rows": {"a": "head=fc"}}, "not a block of settings"),
        ({"rows": {"a": {"label": "A", "overrides": "head=fc"}}}, "must be a list: \\[head=fc\\]"),
        ({"checkpoint": "bset"}, "there are last and best"),
        ({"columns": {"nme": {"label": "NME", "metric": "nmee"}}}, "shows the metric 'nmee'"),
        ({"columns": {"r": {"label": "r", "metric": "failure_auroc"}}}, "shows the metric 'failure_auroc'"),
        ({"columns": {"r": {"label": "r", "metric": "retention_score", "subset": "pose"}}}, "leave both out"),
        ({"evaluations": {"0.1": {"label": "", "overrides": []}}}, "condition '0.1'"),
        ({"evaluations": {}}, "no condition of scc/table named 'far'"),
    ],
)
def test_mistakes_in_a_table_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table(**changes)


SETTINGS_NODE = {
    "name": "x",
    "seed": 0,
    "output_dir": "somewhere",
    "logger": {"csv": {}},
    "data": {"num_workers": 1, "batch_size": 8},
    "callbacks": {"ema": {"decay": 0.9}, "clock": {}},
}


def test_identity_ignores_where_and_how_and_sees_the_rest() -> None:
    same = {**SETTINGS_NODE, "name": "y", "output_dir": "else", "logger": {}, "sweep": {"row": "a"}}
    same["data"] = {"batch_size": 8.0, "num_workers": 7}
    assert identity(SETTINGS_NODE) == identity(same) == identity(dict(reversed(SETTINGS_NODE.items())))
    for changed in ({"seed": 1}, {"data": {"num_workers": 1, "batch_size": 9}}, {"callbacks": {}}):
        assert identity({**SETTINGS_NODE, **changed}) != identity(SETTINGS_NODE)
    assert len(identity({})) == 12


def job(row: str, seed: int, name: str = "0") -> Job:
    return Job(row, seed, identity({"row": row, "seed": seed, "name": name}), (f"seed={seed}",), ("far",))


def test_a_table_file_gains_rows_and_seeds_and_replaces_those_planned_again(tmp_path: Path) -> None:
    assert not is_sweep(tmp_path)
    first = SweptTable(table(), "smoke", (job("a", 0), job("b", 0)), ("sweeps=scc/table",))
    write_table(tmp_path, first)
    assert read_sweep(tmp_path) == [first]
    write_table(tmp_path, replace(first, jobs=(job("a", 1), job("a", 0, "new"))))
    (read,) = read_sweep(tmp_path)
    assert read.jobs == (job("a", 0, "new"), job("a", 1), job("b", 0))
    assert read.jobs_of("b") == (job("b", 0),)
    assert read.jobs[0].folder(tmp_path) == tmp_path / "jobs" / job("a", 0, "new").identity


def test_a_row_never_mixes_settings(tmp_path: Path) -> None:
    first = SweptTable(table(), "smoke", (job("a", 0),), (), ("input_size=64",))
    write_table(tmp_path, first)
    for other in (replace(first, fixed=()), replace(first, scale="small")):
        with pytest.raises(RunError, match=r"swept with `scale=smoke input_size=64`.* another sweep_dir"):
            write_table(tmp_path, replace(other, jobs=(job("a", 1),)))
    assert read_sweep(tmp_path) == [first]


def test_a_table_that_changed_or_broke_is_written_anew(tmp_path: Path) -> None:
    path = write_table(tmp_path, SweptTable(table(), "smoke", (job("a", 0), job("b", 0)), ()))
    without = {"nme": NODE["columns"]["nme"]}
    rows = {"b": {"label": "B", "overrides": ["loss=l1"]}}
    write_table(tmp_path, SweptTable(table(columns=without, rows=rows, baseline="b", evaluations={}), "smoke", (), ()))
    (read,) = read_sweep(tmp_path)
    assert [row.name for row in read.table.rows] == ["b", "a"]
    path.write_text("{")
    write_table(tmp_path, SweptTable(table(), "smoke", (job("a", 0),), ()))
    assert len(read_sweep(tmp_path)) == 1
    assert len(list(path.parent.glob("*.unreadable-*"))) == 1


def test_damaged_and_missing_sweeps_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no sweep"):
        read_sweep(tmp_path)
    (tmp_path / "tables").mkdir()
    for text in ("{", "[]", '{"schema_version": 1}', '{"schema_version": 99}', "\0"):
        (tmp_path / "tables" / "x.json").write_text(text)
        with pytest.raises(RunError, match=r"x\.json"):
            read_sweep(tmp_path)


def test_states_follow_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    assert state(folder) == NEW
    folder.mkdir()
    (folder / "config.yaml").touch()
    assert state(folder) == PARTIAL
    write_failure(folder, Failure(DATA, "first"))
    write_failure(folder, Failure(OTHER, "second"))
    assert state(folder) == FAILED
    assert read_failure(folder) == Failure(DATA, "first")
    clear_failure(folder)
    assert read_failure(folder) is None
    (folder / "result.json").touch()
    assert state(folder) == DONE
    assert state(folder, ["far"]) == PARTIAL
    evaluation_folder(folder, "far").mkdir(parents=True)
    (evaluation_folder(folder, "far") / "result.json").touch()
    assert state(folder, ["far"]) == DONE


def test_progress_comes_back_and_damage_is_no_progress(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    write_progress(tmp_path, Progress(3, 10, 0.05))
    assert read_progress(tmp_path) == Progress(3, 10, 0.05)
    (tmp_path / "progress.json").write_text('{"epoch": 3')
    assert read_progress(tmp_path) is None


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), OUT_OF_MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), OUT_OF_MEMORY),
        (MemoryError(), OUT_OF_MEMORY),
        (NonFiniteLossError("the training loss is nan"), NOT_FINITE),
        (DataError("row 7"), DATA),
        (ConfigError("seed"), SETTINGS),
        (KeyboardInterrupt(), INTERRUPTED),
        (RuntimeError("shape mismatch"), OTHER),
        # what a user's file is called decides nothing
        (DataError("photograph 'out of memory.jpg' cannot be read"), DATA),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), OUT_OF_MEMORY),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. "), OUT_OF_MEMORY),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"), OUT_OF_MEMORY),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated."), OTHER),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), OUT_OF_MEMORY),
        (OSError(28, "No space left on device", "x.csv"), DISK_FULL),
        (OSError(122, "Disk quota exceeded"), DISK_FULL),
        (RunError("cannot write the checkpoint a.ckpt: No space left on device."), DISK_FULL),
        (OSError(13, "Permission denied"), OTHER),
        (RuntimeError(""), OTHER),
        (OutOfMemoryError("\n"), OUT_OF_MEMORY),
    ],
)
def test_kinds_of_failure(error: BaseException, kind: str) -> None:
    failure = failure_of(error)
    assert failure.kind == kind
    assert failure.message


def test_a_lost_loader_is_explained_by_what_ended_it() -> None:
    lost = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    assert failure_of(lost).kind == OTHER
    lost.__cause__ = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    assert failure_of(lost).kind == OUT_OF_MEMORY


def test_a_full_disk_hides_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status, "write_atomically", full)
    write_failure(tmp_path, Failure(DATA, "why"))
    write_progress(tmp_path, Progress(1, 2, None))
    assert list(tmp_path.iterdir()) == []


def test_the_headline_of_any_message() -> None:
    assert Failure(DATA, "first\nsecond").headline == "first"
    assert Failure(DATA, "").headline == ""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_request_to_end_is_no_failure_to_mend(signum: signal.Signals) -> None:
    failure = failure_of_exit(-signum)
    assert failure.kind == INTERRUPTED
    assert f"ended by {signum.name}. Run the sweep again" in failure.message


def test_exits_without_a_message() -> None:
    killed, wrong = failure_of_exit(-9), failure_of_exit(3)
    assert (killed.kind, wrong.kind) == (KILLED, OTHER)
    assert "SIGKILL" in killed.message
    assert "exit code 3" in wrong.message
