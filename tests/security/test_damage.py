"""Bytes that are not those that were written are found when they are opened, not scored."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from facegraph.curation.doctor.examination import Examination
from facegraph.curation.prepare.build import prepare
from facegraph.curation.prepare.datasets import DatasetOptions, make_benchmark
from facegraph.data.faults import MASK
from facegraph.data.prepared import PreparedDataset
from facegraph.data.store.layout import JPEG, CropPolicy
from facegraph.data.store.reader import FaceStore
from facegraph.errors import DataError, RunError
from facegraph.runs.compose import compose
from facegraph.runs.folder import load_checkpoint
from facegraph.runs.train import train
from facegraph.training.checkpoint_files import WholeCheckpoints, is_damaged
from facegraph.training.task import CHECKPOINT_KEY
from tests.helpers.crops import write_crops
from tests.helpers.runs import TINY, TinyRun, ways_to_open


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_checkpoint_with_a_flipped_bit_is_opened_by_nobody(tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("result.json", "eval"))
    path = folder / "checkpoints" / "last.ckpt"
    flip(path, path.stat().st_size // 2)
    for opened in ways_to_open(folder, tmp_path / "new"):
        with pytest.raises(RunError, match=rf"cannot read the checkpoint {path}: it is not whole"):
            opened()


def test_any_flipped_byte_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    """Headers and the directory at the end too, whatever zipfile makes of them."""
    path = tmp_path / "last.ckpt"
    weights = torch.arange(8.0)
    WholeCheckpoints().save_checkpoint({"epoch": 3, "state_dict": {"weights": weights}, CHECKPOINT_KEY: {}}, path)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    for at in (*range(0, directory, 7), *range(directory, len(content))):
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        if is_damaged(path):
            continue
        try:
            loaded = load_checkpoint(path)
        except RunError:
            continue
        assert loaded["epoch"] == 3
        assert torch.equal(loaded["state_dict"]["weights"], weights), at


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    root = write_crops(folder / "source", "ibug68")
    prepare(
        make_benchmark("crops", DatasetOptions(scheme="ibug68")),
        root,
        folder / "store",
        CropPolicy(side=64, image_format=JPEG, quality=95),
    )
    return folder / "store"


@pytest.fixture
def store(whole_store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole_store, tmp_path / "store")


def change(store: Path, column: str, row: int, value: object) -> None:
    path = store / "annotations.parquet"
    frame = pd.read_parquet(path)
    frame.loc[row, column] = value
    frame.to_parquet(path, index=False)


def last_test_row(store: Path) -> int:
    return int(np.flatnonzero(pd.read_parquet(store / "annotations.parquet")["split"] == "test")[-1])


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("x3", np.nan, r"is damaged: 1 of \d+ faces have landmarks that are no numbers"),
        ("y0", np.inf, r"is damaged: 1 of \d+ faces have landmarks that are no numbers"),
        ("box_x1", np.inf, r"is damaged: 1 of \d+ faces have half a box"),
        ("scale", 0.0, r"is damaged: 1 of \d+ faces have a scale or shift of no use"),
        ("shift_y", np.nan, r"is damaged: 1 of \d+ faces have a scale or shift of no use"),
        ("length", 0, "length is '0', which no crop"),
        ("offset", 10**9, r"is damaged: 1 of \d+ faces have a crop beyond the end of its shard"),
        ("shard", 7, r"is damaged: 1 of \d+ faces have a crop beyond the end of its shard"),
    ],
)
def test_annotations_of_a_test_face_are_looked_at_before_training(
    column: str, value: float, named: str, store: Path, tmp_path: Path
) -> None:
    change(store, column, last_test_row(store), value)
    with pytest.raises(DataError, match=named):
        train_on(store, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def train_on(store: Path, folder: Path) -> None:
    own = ["dataset=prepared", f"dataset.root={store}", "data.batch_size=2", f"output_dir={folder}"]
    train(compose([*TINY, *own, "trainer.max_epochs=1"]))


def test_an_id_twice_is_refused(store: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(store / "annotations.parquet")
    change(store, "id", last_test_row(store), frame["id"].iloc[0])
    with pytest.raises(DataError, match=rf"have an id that another face has too, the first '{frame['id'].iloc[0]}'"):
        train_on(store, tmp_path / "run")


def test_landmarks_may_be_missing_where_the_store_says_so(store: Path) -> None:
    for axis in "xy":
        change(store, f"{axis}3", last_test_row(store), np.nan)
    with pytest.raises(DataError, match="landmarks that are no numbers"):
        PreparedDataset(store).test()
    info = store / "store.json"
    info.write_text(info.read_text().replace('"missing": "leave_out"', f'"missing": "{MASK}"'))
    PreparedDataset(store).test()
    change(store, "x4", last_test_row(store), np.nan)
    with pytest.raises(DataError, match="landmarks that are no numbers"):
        PreparedDataset(store).test()


def test_a_picture_that_is_gone_is_found_before_training(store: Path, tmp_path: Path) -> None:
    row = last_test_row(store)
    frame = pd.read_parquet(store / "annotations.parquet")
    shard = store / "images" / "00000.bin"
    content = bytearray(shard.read_bytes())
    begin, length = int(frame["offset"].iloc[row]), int(frame["length"].iloc[row])
    content[begin : begin + length] = bytes(length)
    shard.write_bytes(content)
    with pytest.raises(DataError, match=rf"crop of face '{frame['id'].iloc[row]}' is damaged"):
        train_on(store, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_pixel_of_another_value_is_seen_by_the_doctor(store: Path) -> None:
    whole = Examination(FaceStore(store))
    assert whole.content_hash == whole.store.info.content_hash
    shard = store / "images" / "00000.bin"
    flip(shard, shard.stat().st_size // 2)
    damaged = Examination(FaceStore(store))
    assert damaged.content_hash != damaged.store.info.content_hash
