"""Files of a run or store that a stranger made: a message, never a traceback, a hang or a wrong number."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.crops import CropsDataset
from facegraph.data.scheme_file import load_scheme
from facegraph.data.store.layout import INFO_FILE, TABLE_FILE, read_info
from facegraph.data.store.reader import FaceStore
from facegraph.errors import FacegraphError, RunError
from facegraph.files import plain_json, plain_parquet, plain_tensors
from facegraph.models.dpr.released import read_released as read_dpr
from facegraph.models.fan.released import read_released as read_fan
from facegraph.records import PREDICTIONS_FILE, RESULT_FILE, RunResult, read_predictions
from facegraph.records.faces import FACES_FILE, check_faces
from facegraph.records.results import MAX_THRESHOLDS
from facegraph.reports.table.training_log import training_curve
from facegraph.reports.table.trainings import read_faces
from facegraph.runs.folder import load_checkpoint, saved_statistics
from facegraph.sweeps.manifest import read_table
from facegraph.sweeps.status import FAILURE_FILE, PROGRESS_FILE, read_failure, read_progress
from facegraph.training.checkpoint_files import is_damaged
from facegraph.training.task import CHECKPOINT_KEY
from tests.helpers.faces import QUAD, annotation_frame, write_faces
from tests.helpers.quad_stores import quad_store
from tests.helpers.sweeps import FACES, drawn_errors, write_run

NESTED = "[" * 200_000


def whole_checkpoint() -> dict[str, Any]:
    described = {"scheme": "quad", "num_landmarks": 4, "trained_on": "quads", "train_faces": 9, "val_faces": 1}
    state = {"model.mean_shape": torch.zeros(4, 2), "model.correlation": torch.eye(4)}
    return {CHECKPOINT_KEY: described, "state_dict": state, "epoch": 1, "global_step": 2}


def without(*path: str) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> Any:
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        return content

    return change


def put(value: Any, *path: str) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> Any:
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        return content

    return change


CHECKPOINTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a number": lambda content: 5,
    "nothing": lambda content: None,
    "a text": lambda content: f"{CHECKPOINT_KEY} state_dict",
    "a list": lambda content: [CHECKPOINT_KEY],
    "a tensor": lambda content: torch.zeros(3),
    "no weights": without("state_dict"),
    "weights that are none": put({"model.a": "b"}, "state_dict"),
    "names that are none": put({1: torch.zeros(1)}, "state_dict"),
    "no scheme": without(CHECKPOINT_KEY, "scheme"),
    "a scheme that is none": put(3, CHECKPOINT_KEY, "scheme"),
    "a count that is none": put(True, CHECKPOINT_KEY, "num_landmarks"),
    "no description": put(None, CHECKPOINT_KEY),
    "no epoch": without("epoch"),
    "a sparse tensor": put(torch.eye(3).to_sparse(), "state_dict", "model.a"),
    "a tensor of one number, repeated": put(torch.zeros(1).expand(10**9), "state_dict", "model.a"),
}


@pytest.mark.parametrize("change", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(whole_checkpoint(), path)
    assert load_checkpoint(path)["epoch"] == 1
    torch.save(change(whole_checkpoint()), path)
    with pytest.raises(RunError, match=r"last\.ckpt"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["mean_shape", "correlation"])
@pytest.mark.parametrize("value", [None, torch.zeros(3, 2), torch.zeros(())])
def test_statistics_of_another_shape_are_named(name: str, value: torch.Tensor | None) -> None:
    state = {"mean_shape": torch.zeros(4, 2), "correlation": torch.eye(4)}
    assert saved_statistics(dict(state), QUAD).mean_shape.shape == (4, 2)
    state = {k: v for k, v in {**state, name: value}.items() if v is not None}
    with pytest.raises(RunError, match=name):
        saved_statistics(state, QUAD)


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path, packed = tmp_path / "last.ckpt", tmp_path / "packed.ckpt"
    torch.save({"a": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in stored.infolist():
            target.writestr(entry.filename, stored.read(entry))
    assert packed.stat().st_size < 100_000
    with pytest.raises(ValueError, match="unpack to"):
        plain_tensors.load(packed)


@pytest.mark.parametrize("content", [5, None, "text", [1], {1: 2}, {"state_dict": 3}, {("a", "b"): 1}])
def test_released_weights_that_are_none_are_named(tmp_path: Path, content: object) -> None:
    for name in ("98_points_global_reinit.pth.tar", "98_points_global_regress.pth.tar"):
        torch.save(content, tmp_path / name)
    np.save(tmp_path / "mean_98_face.npy", np.zeros((98, 2)))
    with pytest.raises(RunError, match=r"98_points_global_reinit"):
        read_dpr(tmp_path)
    with pytest.raises(RunError, match=r"98_points_global_reinit"):
        read_fan(tmp_path / "98_points_global_reinit.pth.tar")


def test_an_empty_folder_holds_no_weights(tmp_path: Path) -> None:
    for read in (read_dpr, read_fan):
        with pytest.raises(RunError, match=str(tmp_path)):
            read(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["m0.b1_1000000.conv1.weight"],
        ["m0.b1_4.conv1.weight", *(f"l{i}.weight" for i in range(2000))],
        ["m0.b1_" + "9" * 5000 + ".conv1.weight"],
    ],
)
def test_names_of_weights_build_no_endless_model(tmp_path: Path, names: list[str]) -> None:
    needed = {"conv1.weight": torch.zeros(64, 3, 7, 7), "conv4.conv1.weight": torch.zeros(1, 1, 1, 1)}
    torch.save({**needed, "l0.weight": torch.zeros(68, 8, 1, 1), **{n: torch.zeros(1) for n in names}}, tmp_path / "a")
    with pytest.raises(RunError, match=r"depth=1000000|num_modules=2000|no FAN") as caught:
        read_fan(tmp_path / "a")
    assert len(str(caught.value)) < 1000


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}\n"),
        npy("{'descr': '<U3', 'fortran_order': False, 'shape': (1,)}\n") + b"\0" * 12,
        npy("(" * 5000 + "\n"),
        b"",
        b"PK\x03\x04",
    ],
)
def test_arrays_are_numbers_that_are_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises((OSError, ValueError, EOFError)):
        plain_tensors.load_array(tmp_path / "a.npy", 10_000)


def test_an_array_comes_back(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2))
    assert plain_tensors.load_array(tmp_path / "a.npy", 10_000).tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="at most 100"):
        plain_tensors.load_array(tmp_path / "a.npy", 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, drawn_errors(0.05))
    return folder


RESULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "thresholds without end": put([0.001 * (i + 1) for i in range(20_000)], "protocol", "thresholds", "inter_ocular"),
    "a threshold of zero": put([0.0], "protocol", "thresholds", "inter_ocular"),
    "thresholds of texts": put(["0.1"], "protocol", "thresholds", "inter_ocular"),
    "thresholds that are none": put(3, "protocol", "thresholds"),
    "a count of faces in words": put("many", "protocol", "test_faces"),
    "a card that is none": put([], "protocol"),
    "no provenance": without("provenance"),
    "overrides that are none": put(None, "provenance", "overrides"),
    "numbers that are none": put(5, "metrics"),
    "no test": without("metrics", "test"),
    "a test that is none": put({"last": 3}, "metrics", "test"),
    "a test of no faces' count": without("metrics", "test", "last", "count"),
    "subsets that are none": put([], "metrics", "test", "last", "subsets"),
    "an error in words": put("small", "metrics", "test", "last", "nme"),
    "a list": lambda content: [content],
}


@pytest.mark.parametrize("change", RESULTS.values(), ids=RESULTS)
def test_a_result_that_is_none_is_named(run: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((run / RESULT_FILE).read_text())
    assert RunResult.read(run).protocol.test_faces == FACES
    (tmp_path / RESULT_FILE).write_text(json.dumps(change(content)))
    with pytest.raises(RunError, match=r"result\.json") as caught:
        RunResult.read(tmp_path)
    assert len(str(caught.value)) < 1000


def test_too_many_thresholds_say_the_limit(run: Path, tmp_path: Path) -> None:
    content = RESULTS["thresholds without end"](json.loads((run / RESULT_FILE).read_text()))
    (tmp_path / RESULT_FILE).write_text(json.dumps(content))
    with pytest.raises(RunError, match=rf"20000 thresholds .* at most {MAX_THRESHOLDS}"):
        RunResult.read(tmp_path)


HOSTILE = [NESTED.encode(), b"\xff\xfe", b"", b"9" * 10_000, b"null", b"[]", b'{"a": 1}']


@pytest.mark.parametrize("content", HOSTILE, ids=["nested", "no UTF-8", "empty", "digits", "null", "list", "other"])
def test_json_of_a_run_is_a_message(tmp_path: Path, content: bytes) -> None:
    for name in (RESULT_FILE, FACES_FILE, FAILURE_FILE, PROGRESS_FILE, INFO_FILE, "table.json"):
        (tmp_path / name).write_bytes(content)
    assert read_failure(tmp_path) is None
    assert read_progress(tmp_path) is None
    for read in (RunResult.read, lambda folder: check_faces(folder, {}), read_info):
        with pytest.raises(FacegraphError):
            read(tmp_path)
    with pytest.raises(FacegraphError):
        read_table(tmp_path / "table.json")


PREDICTIONS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "errors of their own": lambda frame: frame.assign(nme_inter_ocular=-1.0),
    "one error of its own": lambda frame: frame.assign(
        nme_inter_ocular=np.where(np.arange(len(frame)) == 7, 0.0, frame["nme_inter_ocular"])
    ),
    "another normaliser": lambda frame: frame.assign(norm_inter_ocular=2 * frame["norm_inter_ocular"]),
    "a normaliser of zero": lambda frame: frame.assign(norm_inter_ocular=0.0),
    "faces twice": lambda frame: pd.concat([frame, frame]),
    "one face twice": lambda frame: pd.concat([frame, frame[3:4]]),
    "no points": lambda frame: frame.drop(columns=[c for c in frame if str(c).startswith(("pred_", "true_"))]),
    "a point less": lambda frame: frame.drop(columns="true_y2"),
    "no error": lambda frame: frame.drop(columns="nme_inter_ocular"),
    "no normaliser": lambda frame: frame.drop(columns="norm_inter_ocular"),
    "no id": lambda frame: frame.drop(columns="id"),
    "no index": lambda frame: frame.drop(columns="index"),
    "points of texts": lambda frame: frame.assign(pred_x0="a"),
    "ids of numbers": lambda frame: frame.assign(id=frame["index"]),
}


@pytest.mark.parametrize("change", PREDICTIONS.values(), ids=PREDICTIONS)
def test_predictions_that_contradict_themselves_are_refused(
    run: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    frame = read_predictions(run)
    assert len(frame) == 2 * FACES
    change(frame).to_parquet(tmp_path / PREDICTIONS_FILE, index=False)
    with pytest.raises(RunError, match=r"predictions\.parquet"):
        read_faces(tmp_path / PREDICTIONS_FILE, "last")
    with pytest.raises(RunError, match=r"predictions\.parquet"):
        read_predictions(tmp_path)


def test_a_table_says_how_large_it_is_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"a": np.zeros(1000), "b": np.zeros(1000)}).to_parquet(path)
    assert plain_parquet.load(path).shape == (1000, 2)
    monkeypatch.setattr(plain_parquet, "MAX_CELLS", 1999)
    with pytest.raises(ValueError, match="1000 rows of 2 columns; at most 1999"):
        plain_parquet.load(path)


STORES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a length of nothing": lambda frame: frame.assign(length=0),
    "another length": lambda frame: frame.assign(length=frame["length"] + 1),
    "a negative offset": lambda frame: frame.assign(offset=-1),
    "a shard that is none": lambda frame: frame.assign(shard=np.nan),
    "ids that are none": lambda frame: frame.assign(id=None),
    "no length": lambda frame: frame.drop(columns="length"),
    "a length in words": lambda frame: frame.assign(length="long"),
}


@pytest.mark.parametrize("change", STORES.values(), ids=STORES)
def test_a_store_of_impossible_places_is_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    store = quad_store(tmp_path, count=4, tests=1)
    change(store.frame.copy()).to_parquet(store.path / TABLE_FILE, index=False)
    with pytest.raises(FacegraphError, match=TABLE_FILE):
        FaceStore(store.path)


def test_a_store_trains_on_no_face_twice(tmp_path: Path) -> None:
    store = quad_store(tmp_path, count=4, tests=1)
    store.frame.assign(id="a").to_parquet(store.path / TABLE_FILE, index=False)
    with pytest.raises(FacegraphError, match="an id that another face has too"):
        FaceStore(store.path).check()


INFOS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a crop that is none": put(None, "crop"),
    "a side in words": put("large", "crop", "side"),
    "a scheme that is none": put([], "scheme"),
    "flips that are none": put([1.5, 0, 2, 3], "scheme", "flip"),
    "groups that are none": put({"eyes": [[], [1]]}, "scheme", "normalisers"),
    "normalisers that are none": put([], "scheme", "normalisers"),
    "attributes in one text": put("pose", "attributes"),
    "counts that are none": put(3, "counts"),
    "problems that are none": put([3], "problems"),
    "a field too many": put(3, "more"),
}


@pytest.mark.parametrize("change", INFOS.values(), ids=INFOS)
def test_a_description_of_a_store_that_is_none_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    store = quad_store(tmp_path, count=4, tests=1)
    content = json.loads((store.path / INFO_FILE).read_text())
    (store.path / INFO_FILE).write_text(json.dumps(change(content)))
    with pytest.raises(FacegraphError, match=INFO_FILE):
        read_info(store.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Opening one would wait for a writer without end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (load_checkpoint, read_fan, RunResult.read, read_predictions, read_table):
        with pytest.raises(FacegraphError, match="pipe"):
            read(pipe)
    for load in (plain_json.load, plain_parquet.load, plain_tensors.load):
        with pytest.raises(OSError, match="is no file but a pipe"):
            load(pipe)
    with pytest.raises(FacegraphError):
        load_scheme(str(pipe))
    for name in (FAILURE_FILE, PROGRESS_FILE):
        os.mkfifo(tmp_path / name)
    assert read_failure(tmp_path) is None
    assert read_progress(tmp_path) is None


def test_a_shard_that_is_a_pipe_is_named(tmp_path: Path) -> None:
    store = quad_store(tmp_path, count=4, tests=1)
    for shard in (store.path / "images").iterdir():
        shard.unlink()
        os.mkfifo(shard)
    with pytest.raises(FacegraphError, match="pipe"):
        store.source(store.rows("train")).image(0)


@pytest.mark.parametrize("name", ["../../x.png", "images/../../x.png", "/etc/passwd", "C:/x.png", "..\\x.png"])
def test_no_image_outside_of_its_folder_is_opened(tmp_path: Path, name: str) -> None:
    """By training as by prepare."""
    root = tmp_path / "a" / "b"
    frame = annotation_frame(4, tests=1)
    write_faces(root, frame)
    (tmp_path / "x.png").write_bytes(next((root / "images").iterdir()).read_bytes())
    frame.assign(image=[name, *frame["image"][1:]]).to_csv(root / "annotations.csv", index=False)
    with pytest.raises(FacegraphError, match="out of"):
        CropsDataset(root, QUAD).train()
    problems = FolderBenchmark(QUAD).index(root, 1, None).problems
    assert any("out of" in problem.message for problem in problems)


def test_an_absolute_name_within_the_folder_is_its_own(tmp_path: Path) -> None:
    frame = annotation_frame(4, tests=1)
    write_faces(tmp_path, frame)
    own = [str(next(tmp_path.rglob(Path(name).name))) for name in frame["image"]]
    frame.assign(image=own).to_csv(tmp_path / "annotations.csv", index=False)
    assert len(CropsDataset(tmp_path, QUAD).train().table) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 9, b"x" * 100])
def test_a_checkpoint_that_is_no_archive_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(whole_checkpoint(), path)
    whole = path.read_bytes()
    assert not is_damaged(path)
    central = whole.replace(b"PK\x01\x02", b"PK\x01\x03")
    for spoilt in (content, whole[:-300], whole[:100] + b"\xff" * 50 + whole[150:], central):
        path.write_bytes(spoilt)
        assert is_damaged(path)


def test_a_curve_of_impossible_epochs_is_none(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "metrics.csv").write_text("epoch,val/nme\n1e999,0.1\n0,0.2\n1,inf\n")
    assert [array.tolist() for array in training_curve(tmp_path)] == [[1], [0.2]]
    (tmp_path / "log" / "metrics.csv").unlink()
    os.mkfifo(tmp_path / "log" / "metrics.csv")
    assert len(training_curve(tmp_path)[0]) == 0
