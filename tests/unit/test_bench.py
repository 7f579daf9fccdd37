"""facegraph bench: the parts are there and measured on the same faces; no time is judged."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from facegraph.bench import data, timing
from facegraph.bench.data import bench_data
from facegraph.bench.faces import open_faces
from facegraph.bench.parts import (
    MARGIN,
    Albumentations,
    BareWarp,
    OneSource,
    Training,
    paper_augmentation,
    training_module,
)
from facegraph.bench.photographs import draw_photographs, find_photographs, make_store
from facegraph.bench.targets import ALBUMENTATIONS, FLOOR, FLOOR_CACHED, PHOTOGRAPHS, TRAINING, TRAINING_JPEG, judge
from facegraph.bench.timing import Speed, take_turns
from facegraph.bench.workers import MAPPINGS, WorkerMemory, _memory_of, worker_memory
from facegraph.cli import app
from facegraph.compose import compose, make
from facegraph.data.boxes import LandmarkBox
from facegraph.data.faces import FaceSubset
from facegraph.data.images import read_image
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import landmark_box, transform_points

pytestmark = pytest.mark.any_processor

FACES = 12


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of memory measurements that take no time to make."""
    monkeypatch.setattr(data, "FEW", 24)
    monkeypatch.setattr(data, "MANY", 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photographs/ and store/ of a few drawn faces."""
    folder = tmp_path_factory.mktemp("bench")
    content = draw_photographs(folder / "photographs", FACES)
    make_store(content, folder / "store", "raw", workers=1)
    return folder


def test_photographs_and_store_show_the_same_crops(folder: Path) -> None:
    faces = open_faces(folder / "store", None, FACES)
    assert faces.photographs is not None
    assert faces.photographs.image(0).shape == (768, 1024, 3)
    batches = []
    for source in (faces.store, faces.photographs):
        module = training_module(OneSource("x", faces.scheme, source), 64, 4, workers=0)
        assert isinstance(module.box, LandmarkBox)
        batches.append(list(module.train_dataloader()))
    for stored, photographed in zip(*batches, strict=True):
        np.testing.assert_array_equal(stored.index, photographed.index)
        np.testing.assert_allclose(stored.landmarks, photographed.landmarks, atol=1e-3)
        difference = (stored.image.float() - photographed.image.float()).abs()
        assert float(difference.mean()) < 5  # grey levels; resampled once more on the way to the store


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_items_stacked(folder: Path, workers: int) -> None:
    """The loader writes images straight into the batch, in shared memory where a process of its own does it."""
    faces = open_faces(folder / "store", None, FACES)
    loader = training_module(OneSource("x", faces.scheme, faces.store), 64, 4, workers).train_dataloader()
    draws = list(loader.sampler)
    kept = list(loader)  # all at once: no batch may lie where another one did
    for number, batch in enumerate(kept):
        items = [loader.dataset[draw] for draw in draws[4 * number : 4 * number + 4]]
        for column, singles in zip(batch, zip(*items, strict=True), strict=True):
            assert torch.equal(column, torch.stack(singles))
        assert batch.image.is_shared() == (workers > 0)
    assert len(kept) == FACES // 4


def test_bare_warp_uses_the_matrices_of_the_training(folder: Path) -> None:
    faces = open_faces(folder / "store", None, FACES)
    training = Training("t", OneSource("x", faces.scheme, faces.store), 64, 4)
    batches = training.batches()
    bare = BareWarp("b", faces.store, batches, 64)
    for batch, matrices in zip(batches, bare._matrices, strict=True):
        for row, matrix, landmarks in zip(batch.index.tolist(), matrices, batch.landmarks.numpy(), strict=True):
            stored = transform_points(faces.store.image_to_stored(row), faces.store.table.landmarks[row])
            found = transform_points(matrix, stored)
            flip = list(faces.scheme.flip)
            assert min(np.abs(found - landmarks).max(), np.abs(found[flip] - landmarks).max()) < 0.01


def test_albumentations_part_returns_faces(folder: Path) -> None:
    faces = open_faces(folder / "store", None, FACES)
    batches = Training("t", OneSource("x", faces.scheme, faces.store), 64, 4).batches()
    part = Albumentations("a", faces.store, batches, 64)
    image, points = part._item(0)
    assert image.shape == (3, 64, 64)
    assert points.shape == (98, 2)
    assert abs(float(image.mean())) < 0.1
    sizes = []
    for row in [*range(FACES)] * 4:
        before, after = faces.store.table.landmarks[row], part._item(row)[1].numpy()
        matrix = np.linalg.lstsq(np.c_[before, np.ones(98)], after, rcond=None)[0]
        box = landmark_box(before)
        # the middle of the crop is that of the box, shifted by 0.12 of the side at most
        assert (np.abs([*(box[:2] + box[2:]) / 2, 1] @ matrix - 31.5) < 0.13 * 64).all()
        square = matrix[:2].T @ matrix[:2]
        np.testing.assert_allclose(square / square.trace(), np.eye(2) / 2, atol=0.01)  # x is scaled as y is
        sizes.append(np.sqrt(square.trace() / 2) * 1.25 * np.ptp(before, axis=0).max() / 64)
    assert 0.88 < min(sizes) < 0.95 < 1.05 < max(sizes) < 1.12


def test_the_augmentation_is_that_of_the_paper() -> None:
    cfg = compose(["augment=paper"])
    ours, theirs = paper_augmentation(), make(cfg.augment)
    assert ours.geometric == theirs.geometric
    assert (ours.probability, ours.afterwards) == (theirs.probability, theirs.afterwards)
    assert [(type(t), vars(t)) for t in ours.photometric] == [(type(t), vars(t)) for t in theirs.photometric]
    assert make(cfg.box) == LandmarkBox(MARGIN)


def test_the_command_prints_every_part(folder: Path) -> None:
    store = ["--store", str(folder / "store"), "--source", str(folder / "photographs")]
    done = CliRunner().invoke(app, ["bench", "data", *store, "--input-size", "64", "--workers", "0,1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["speeds"]) == {TRAINING, PHOTOGRAPHS, ALBUMENTATIONS, FLOOR, FLOOR_CACHED}
    assert all(speed["per_core"] > 0 for speed in found["speeds"].values())
    assert set(found["workers"]) == {"0", "1"}
    assert (found["faces"], found["landmarks"], found["input_size"]) == (FACES, 98, 64)
    assert [target["met"] for target in found["targets"]] == [None] * 5  # two batches are too few to judge
    if Path(MAPPINGS.format("self")).is_file():
        assert [(memory["faces"], memory["crops"]) for memory in found["memory"]] == [(24, 3), (96, 12)]
    assert not [child for child in multiprocessing.active_children() if child.is_alive()]


def test_the_table_has_its_rows(folder: Path) -> None:
    done = CliRunner().invoke(
        app, ["bench", "data", "--store", str(folder / "store"), "--input-size", "64", "--workers", "0"]
    )
    assert done.exit_code == 0, done.output
    for row in (TRAINING, PHOTOGRAPHS, ALBUMENTATIONS, FLOOR, FLOOR_CACHED, "in the training process", "not measured"):
        assert row in done.stdout, row


def test_without_a_store_faces_are_drawn_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = bench_data(faces=8, input_size=64, workers=[0], jpeg=True)
    assert set(found.speeds) == {TRAINING, TRAINING_JPEG, PHOTOGRAPHS, ALBUMENTATIONS, FLOOR, FLOOR_CACHED}
    assert list(tmp_path.iterdir()) == []


def test_synthetic_prints_a_rate() -> None:
    done = CliRunner().invoke(app, ["bench", "synthetic", "--faces", "3", "--image-size", "64"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(tuple("123456789"))


@pytest.mark.skipif(not Path(MAPPINGS.format("self")).is_file(), reason="/proc tells no memory here")
def test_a_worker_that_keeps_its_crops_is_seen(folder: Path) -> None:
    faces = open_faces(folder / "store", None, FACES)

    class Hoarding(FaceSubset):
        def image(self, index: int) -> np.ndarray:
            kept = self.__dict__.setdefault("kept", {})
            return kept.setdefault(index, np.repeat(super().image(index)[None], 8, axis=0))[0]

    own, pixels = [], 0
    for kind in (FaceSubset, Hoarding):
        memory = worker_memory(faces.scheme, kind(faces.store, np.arange(FACES)), 48, 64, 4)
        assert memory is not None
        own.append(memory.own)
        pixels = memory.pixels
    assert pixels == FACES * 512 * 512 * 3
    assert own[1] - own[0] > 0.5 * 8 * pixels


def test_own_memory_is_what_no_other_process_and_no_file_has() -> None:
    mapping = """
{place}
Size:               9999 kB
Pss:                {pss} kB
Pss_Anon:           {pss} kB
Shared_Dirty:       9999 kB
Private_Clean:         2 kB
Private_Dirty:       {private} kB
Swap:                  4 kB
SwapPss:               1 kB
VmFlags: rd wr mr mw me ac sd
"""
    places = (
        "7f0-7f1 rw-p 00000000 00:00 0",
        "7f1-7f2 rw-p 00000000 00:00 0    [heap]",
        "7f2-7f3 r--s 0 fe:00 7  /a b",
    )
    text = "".join(mapping.format(place=p, pss=100 * i, private=10 * i) for i, p in enumerate(places, 1))
    text = "\n".join(line for line in text.splitlines() if line)
    assert _memory_of(text) == (1024 * (10 + 20 + 2 * 6), 1024 * 300, 1024 * (600 + 3))


def test_targets_are_judged_by_their_numbers() -> None:
    def speeds(training: float, floor: float, photographs: float) -> dict[str, Speed]:
        rates = {TRAINING: training, FLOOR: floor, PHOTOGRAPHS: photographs}
        return {name: Speed(name, rate, rate, rate) for name, rate in rates.items()}

    def memory(megabytes: int, own: int, crops: int = 1000) -> WorkerMemory:
        pixels = crops * megabytes * 2**20
        return WorkerMemory(1, 1, pixels, annotations=megabytes * 2**20, own=own, files=0, total=own)

    few = memory(1, 2**28)
    good = judge(speeds(1000, 2222, 200), {1: 500.0, 2: 900.0}, (few, memory(4, 2**28 + 19 * 2**20)), 10)
    assert [target.met for target in good] == [True] * 5
    bad = judge(speeds(999, 2230, 200), {1: 500.0, 2: 890.0}, (few, memory(4, 2**28 + 20 * 2**20)), 10)
    assert [target.met for target in bad] == [False] * 5
    assert [target.met for target in judge(speeds(2000, 100, 1), {0: 1.0}, (), 10)] == [True, True, True, None, None]
    unjudged = judge(speeds(999, 2230, 200), {1: 1.0, 2: 1.0}, (memory(1, 0, crops=9), memory(4, 0, crops=9)), 9)
    assert [target.met for target in unjudged] == [None] * 5
    assert {target.found.split(":")[0] for target in unjudged} == {"not measured"}


def test_turns_measure_the_work_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"processor": 0.0}
    monkeypatch.setattr(timing.time, "process_time", lambda: used["processor"])

    class Work:
        batch_size = 10

        def __init__(self, name: str, seconds: float) -> None:
            self.name, self.seconds, self.steps = name, seconds, []

        def step(self, number: int) -> None:
            self.steps.append(number)
            used["processor"] += self.seconds

    parts = [Work("little", 1.0), Work("much", 10.0)]
    found = take_turns(parts, rounds=5)
    assert parts[0].steps == parts[1].steps == list(range(10))
    assert found["little"].per_core == pytest.approx(10 * found["much"].per_core)


def test_rates_are_the_median_the_fastest_tenth_and_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"clock": 0.0, "processor": 0.0}
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now["clock"])
    monkeypatch.setattr(timing.time, "process_time", lambda: now["processor"])

    class Scripted:
        name, batch_size = "scripted", 10

        def step(self, number: int) -> None:
            # the second batch of round n takes n + 1 s of the processor and 10 s more by the clock, the first forever
            seconds = number // 2 + 1.0 if number % 2 else 1e6
            now["processor"] += seconds
            now["clock"] += seconds + 10

    speed = take_turns([Scripted()], rounds=21)["scripted"]
    assert speed.per_core == pytest.approx(10 / 11)
    assert speed.best == pytest.approx(10 / 3)
    assert speed.clock == pytest.approx(10 / 21)


def test_photographs_that_are_gone_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 2 photographs.*000000\.jpg"):
        find_photographs(["000000.jpg", "000001.jpg"], tmp_path)
    found = find_photographs(["photographs/000003.jpg", "000004.jpg"], folder)
    assert [path.name for path in found] == ["000003.jpg", "000004.jpg"]
    assert read_image(found[0], "x").shape == (768, 1024, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faces": 2}, "at least 4 faces"),
        ({"workers": []}, "one number of workers"),
        ({"source": Path("somewhere")}, "name the store"),
        ({"store": Path("somewhere"), "jpeg": True}, "leave it out"),
    ],
)
def test_settings_that_cannot_work(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bench_data(**settings)
