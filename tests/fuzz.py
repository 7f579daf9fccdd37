"""Damaged files for every reader of what a stranger may have made: python tests/fuzz.py --cases 2000

A whole file is made for each reader, then damaged in a way that its seed decides: bytes exchanged, inserted, left out,
cut off; words exchanged for ones that parsers stumble over; values of JSON and of checkpoints exchanged; columns of
tables left out, emptied, repeated. The reader must take the file, or refuse it by a FacegraphError, within seconds.
Anything else is counted as foreign, and its file is kept.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch

from facegraph.curation.archives import unpack_archives
from facegraph.data.annotations import read_annotations
from facegraph.data.formats.coco import read_coco
from facegraph.data.formats.cofw import read_cofw, read_cofw68_boxes, read_cofw68_points
from facegraph.data.formats.ibug_boxes import read_ibug_boxes
from facegraph.data.formats.lp300w import read_300wlp, read_300wlp_points
from facegraph.data.formats.pts import read_pts
from facegraph.data.formats.wflw import read_wflw_list
from facegraph.data.scheme_file import load_scheme
from facegraph.data.store.layout import INFO_FILE, TABLE_FILE
from facegraph.data.store.reader import FaceStore
from facegraph.errors import FacegraphError
from facegraph.models.dpr.released import MEAN_FACE, REGRESSION, REINIT
from facegraph.models.dpr.released import read_released as read_dpr
from facegraph.models.fan.released import read_released as read_fan
from facegraph.records import (
    PREDICTIONS_FILE,
    RESULT_FILE,
    RunResult,
    prediction_frame,
    predictions_of,
    read_predictions,
    summarise,
)
from facegraph.reports.table.reading import runs_report
from facegraph.runs.compose import compose
from facegraph.runs.configuration import CONFIG_FILE, read_config
from facegraph.runs.folder import claim, load_checkpoint
from facegraph.training.task import CHECKPOINT_KEY
from tests.data.formats import samples
from tests.helpers.faces import QUAD, annotation_frame
from tests.helpers.quad_stores import quad_store
from tests.helpers.sweeps import drawn_errors, write_run
from tests.models.test_fan_released import made_up, public_shapes

SLOW, HUNG = 5.0, 60
KEPT = 5
WORDS = (
    "nan", "-inf", "1e999", "9" * 400, "9" * 70_000, "1_0", "0x10", "", "\0", "{", "}", ",", ";", '"', "\r\n", "\n\n",
    "\ufeff", "\u2028", "-1000002", "ü 顔.jpg", "n_points: 999999999999", "# x", "12", "0.5", "../../x", "/etc/passwd",
    "=1+1", "\x1b[2J", "[" * 3000, "&a [*a]", "!!python/name:os.system", "true", "null", "- -", "x0", "1000000000",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x" * 5000, "../..", [], {}, [[]], {"a": 1}, [None], "0.1",
    [1] * 2000, "\x1b[2J", b"bytes", (1, 2),
)  # fmt: skip

Damage = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Reader:
    """whole: files that it takes. damages: ways to spoil one. read: of a path that a spoilt file lies at. name: of that
    path within a folder; what else the reader needs lies there, see `beside`."""

    title: str
    name: str
    whole: Sequence[bytes]
    damages: Sequence[Damage]
    read: Callable[[Path], object]
    beside: Callable[[Path], None] = lambda folder: None


@dataclass
class Found:
    """What became of the cases of a reader. kept: messages of the first foreign errors."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    kept: list[str] = field(default_factory=list)


def bytes_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 7))):
        start, length = int(rng.integers(len(content) + 1)), int(rng.integers(1, 5))
        piece = rng.bytes(length) if rng.random() < 0.7 else bytes([int(rng.choice([0, 1, 127, 128, 255]))]) * length
        content = content[:start] + piece + content[start + length - int(rng.choice([0, 0, 0, 1, 4])) :]
    return content[: int(len(content) * rng.random())] if rng.random() < 0.3 else content


def noise(content: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(300))) if rng.random() < 0.5 else content[:16] + rng.bytes(200)


def words_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    pieces = re.split(r"(\s+|,|:)", content.decode())
    for _ in range(int(rng.integers(1, 4))):
        pieces[int(rng.integers(len(pieces)))] = WORDS[int(rng.integers(len(WORDS)))]
    text = "".join(pieces)
    return (text.replace("\n", "\r\n") if rng.random() < 0.2 else text).encode()


def _exchanged(value: Any, rng: np.random.Generator, others: Sequence[Any]) -> Any:
    """A nested value with one of its parts exchanged or left out."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.08:
        return others[int(rng.integers(len(others)))]
    key = list(value)[int(rng.integers(len(value)))] if isinstance(value, dict) else int(rng.integers(len(value)))
    changed = value.copy()
    if rng.random() < 0.15:
        del changed[key]
    else:
        changed[key] = _exchanged(value[key], rng, others)
    if isinstance(changed, dict) and rng.random() < 0.05:
        changed["more"] = others[int(rng.integers(len(others)))]
    return changed


def json_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    plain = [value for value in VALUES if not isinstance(value, bytes)]
    value = json.loads(content)
    for _ in range(int(rng.integers(1, 3))):
        value = _exchanged(value, rng, plain)
    return json.dumps(value).encode()


def _tensors(rng: np.random.Generator) -> list[Any]:
    return [
        torch.zeros(int(rng.integers(5))), torch.zeros(1).expand(10**9), torch.eye(3).to_sparse(), torch.tensor(3),
        torch.full((2, 2), torch.nan), torch.zeros(68, 8, 1, 1), torch.zeros(3, dtype=torch.complex64), *VALUES,
    ]  # fmt: skip


def checkpoint_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    value = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(int(rng.integers(1, 3))):
        value = _exchanged(value, rng, _tensors(rng))
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=bool(rng.random() < 0.8))
    return stream.getvalue()


def pickle_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    """Opcodes and arguments of the pickle within, whose places bytes_exchanged seldom meets."""
    start, end = content.find(b"\x80\x02"), content.find(b".PK")
    if not 0 <= start < end:
        return bytes_exchanged(content, rng)
    return (
        content[:start]
        + bytes_exchanged(content[start:end], rng)[: end - start].ljust(end - start, b".")
        + content[end:]
    )


def columns_exchanged(content: bytes, rng: np.random.Generator) -> bytes:
    frame = pd.read_parquet(io.BytesIO(content))
    for _ in range(int(rng.integers(1, 3))):
        name = frame.columns[int(rng.integers(len(frame.columns)))]
        others = (None, np.nan, "x", -1, 0, 2**62, 1e308, True, "", b"x")
        kind = int(rng.integers(6))
        if kind == 0:
            frame = frame.drop(columns=name)
        elif kind == 1:
            frame = frame.rename(columns={name: str(rng.choice(["x", "nme_", "norm_x", "pred_x99", "attr_", "id"]))})
            frame = frame.loc[:, ~frame.columns.duplicated()]
        elif kind == 2:
            frame = pd.concat([frame, frame[: int(rng.integers(3))]], ignore_index=True)
        elif kind == 3:
            frame = frame[: int(rng.integers(2))]
        else:
            value = others[int(rng.integers(len(others)))]
            values = frame[name].astype(object).to_list()
            rows = range(len(values)) if kind == 4 else [int(rng.integers(len(values)))] if values else []
            for row in rows:
                values[row] = value
            frame = frame.assign(**{str(name): values})
    stream = io.BytesIO()
    try:
        frame.to_parquet(stream, index=False)
    except Exception:  # columns of several types, which parquet cannot hold
        return bytes_exchanged(content, rng)
    return stream.getvalue()


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


SCHEME = b"""name: own
num_landmarks: 4
mirror_pairs: [[0, 1], [2, 3]]
normalisers: {eyes: [[0], [1]], mouth: [[2], [3]]}
contours: {face: {indices: [0, 1, 3, 2], closed: true}}
"""
CHECKPOINT = {
    CHECKPOINT_KEY: {"scheme": "own", "num_landmarks": 4, "trained_on": "quads", "train_faces": 9, "val_faces": 1},
    "state_dict": {"model.mean_shape": torch.zeros(4, 2), "model.correlation": torch.eye(4), "model.a": torch.ones(3)},
    "epoch": 1,
    "global_step": 2,
}
DPR = {"state_dict": {"module.localization.0.weight": torch.ones(4, 3, 3, 3), "module.b": torch.ones(2)}, "epoch": 3}
DPR_GLOBAL = {"state_dict": {"module.features.0.0.weight": torch.ones(4, 3, 3, 3)}}
_BINARY: tuple[Damage, ...] = (bytes_exchanged, bytes_exchanged, noise)
_JSON: tuple[Damage, ...] = (json_exchanged, json_exchanged, words_exchanged, bytes_exchanged)
_PARQUET: tuple[Damage, ...] = (columns_exchanged, columns_exchanged, bytes_exchanged, noise)
_TEXT: tuple[Damage, ...] = (words_exchanged, words_exchanged, bytes_exchanged)
_TORCH: tuple[Damage, ...] = (checkpoint_exchanged, pickle_exchanged, bytes_exchanged)


def readers(folder: Path) -> list[Reader]:
    """folder: where whole files are made from."""
    write_run(folder / "run", drawn_errors(0.05, count=12))
    store = quad_store(folder / "store", count=5, tests=2).path
    result = (folder / "run" / RESULT_FILE).read_bytes()
    predictions = _predictions()
    claim(folder / "claimed", compose([]))
    config = (folder / "claimed" / CONFIG_FILE).read_bytes()
    frame = annotation_frame(3)
    boxed = frame.assign(box_x0=1, box_y0=2, box_x1=40, box_y1=50)
    points = samples.points(5)
    lines = "\n".join([samples.wflw_line("0--A/1_A_1.jpg"), samples.wflw_line("12 people/ü 2.jpg", seed=1)])

    def copied(*left_out: str) -> Callable[[Path], None]:
        def copy(target: Path) -> None:
            for path in store.rglob("*"):
                place = target / path.relative_to(store)
                if path.is_file() and place.name not in left_out:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(path.read_bytes())

        return copy

    def dpr(target: Path) -> None:
        (target / REGRESSION).write_bytes(saved(DPR_GLOBAL))
        np.save(target / MEAN_FACE, np.full((98, 2), 0.5))

    shard = next((store / "images").iterdir())
    info, table = (store / INFO_FILE).read_bytes(), (store / TABLE_FILE).read_bytes()
    lp_points, boxes = (
        [whole(packed) for packed in (True, False)] for whole in (samples.lp_points, samples.cofw68_boxes)
    )
    return [
        Reader(".pts", "a.pts", [samples.pts(points), samples.pts(points, header=False)], _TEXT, read_pts),
        Reader("lists of WFLW", "a.txt", [lines.encode()], _TEXT, read_wflw_list),
        Reader(".mat of 300W-LP", "a.mat", [samples.lp_face(), samples.lp_face(False)], _BINARY, read_300wlp),
        Reader(".mat of points", "a_pts.mat", lp_points, _BINARY, read_300wlp_points),
        Reader(".mat of COFW-68", "7_points.mat", [samples.cofw68_points(False)], _BINARY, read_cofw68_points),
        Reader(".mat of its boxes", "b.mat", boxes, _BINARY, read_cofw68_boxes),
        Reader(".mat of iBUG's boxes", "b.mat", [samples.ibug_boxes(False)], _BINARY, read_ibug_boxes),
        Reader("HDF5 of COFW", "c.mat", [samples.cofw()], _BINARY, read_cofw),
        Reader("COCO json", "a.json", [samples.coco_bytes()], _JSON, read_coco),
        Reader("csv", "a.csv", [f.to_csv(index=False).encode() for f in (frame, boxed)], _TEXT, _read_csv),
        Reader("scheme yaml", "a.yaml", [SCHEME], _TEXT, lambda path: load_scheme(str(path))),
        Reader("archives", "set.zip", [_archive()], _BINARY, _unpack),
        Reader("store.json", INFO_FILE, [info], _JSON, _open, copied(INFO_FILE)),
        Reader(
            "annotations.parquet", TABLE_FILE, [table], _PARQUET, _open,
            copied(TABLE_FILE),
        ),
        Reader(
            "shards", f"images/{shard.name}", [shard.read_bytes()], _BINARY, lambda path: _open(path.parent),
            copied(shard.name),
        ),
        Reader("predictions.parquet", PREDICTIONS_FILE, [predictions], _PARQUET, _summarise),
        Reader("result.json", RESULT_FILE, [result], _JSON, _report),
        Reader(CONFIG_FILE, CONFIG_FILE, [config], _TEXT, lambda path: read_config(path.parent)),
        Reader("checkpoints", "last.ckpt", [saved(CHECKPOINT)], _TORCH, load_checkpoint),
        Reader("weights of FAN", "a.pth", [saved(made_up(public_shapes(1, width=8, depth=1)))], _TORCH, read_fan),
        Reader("weights of DPR", REINIT, [saved(DPR)], _TORCH, lambda path: read_dpr(path.parent), dpr),
    ]  # fmt: skip


def _read_csv(path: Path) -> None:
    read_annotations(path, QUAD, report=[])
    read_annotations(path, QUAD)


def _predictions() -> bytes:
    truth = np.stack([samples.points(4, seed) for seed in range(6)])
    norms, flags = {"inter_ocular": np.full(6, 40.0)}, {"dark": np.arange(6) > 2}
    parts = [
        prediction_frame([f"{i}.png" for i in range(6)], np.arange(6), truth + shift, truth, norms, flags, name)
        for name, shift in (("last", 1.5), ("best", 1.0))
    ]
    return pd.concat(parts, ignore_index=True).to_parquet(index=False)


def _archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(4):
            packed.writestr(f"a/{number}.jpg", b"x" * 500)
    return stream.getvalue()


def _unpack(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as into:
        unpack_archives(path.parent, Path(into), ["set"])


def _open(path: Path) -> None:
    store = FaceStore(path.parent)
    source = store.source(np.arange(len(store)))
    for row in range(len(store)):
        source.image(row)


def _summarise(path: Path) -> None:
    frame = read_predictions(path)
    for _, faces in frame.groupby("checkpoint"):
        summarise(faces, [next(iter(predictions_of(faces).norm_distances))], {})


def _report(path: Path) -> None:
    RunResult.read(path)
    runs_report([path.parent])


class _Hung(BaseException):
    """Not an Exception, which a reader might take for one of its own."""


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(reader: Reader, content: bytes, folder: Path, found: Found) -> bool:
    """Read one file; returns whether it must be kept, which one that is taken or refused need not."""
    path = folder / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # HDF5 takes a file that is written over in place for the one it had open
    path.write_bytes(content)
    started, foreign = time.perf_counter(), ""
    try:
        with _limited(HUNG):
            reader.read(path)
        found.counts["taken"] += 1
    except FacegraphError:
        found.counts["refused"] += 1
    except (Exception, _Hung) as error:
        found.counts["foreign"] += 1
        last = traceback.extract_tb(error.__traceback__)[-1]
        foreign = f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}, line {last.lineno})"
    seconds = time.perf_counter() - started
    found.slowest = max(found.slowest, seconds)
    found.counts["slow"] += seconds > SLOW
    if foreign and len(found.kept) < KEPT:
        found.kept.append(foreign)
    return bool(foreign) or seconds > SLOW


def fuzz(reader: Reader, cases: int, seed: int, keep: Path | None = None) -> Found:
    """Damaged files for one reader; those that it neither takes nor refuses are written to keep."""
    found = Found()
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name) / "case"
        folder.mkdir()
        reader.beside(folder)
        for content in reader.whole:
            attempt(reader, content, folder, found)
        assert found.counts["taken"] == len(reader.whole), f"{reader.title}: whole files are not read: {found}"
        found.counts.clear()
        for case in range(cases):
            rng = np.random.default_rng([seed, case])
            whole = reader.whole[int(rng.integers(len(reader.whole)))]
            damage = reader.damages[int(rng.integers(len(reader.damages)))]
            content = damage(whole, rng)
            if attempt(reader, content, folder, found) and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{re.sub(r'[^A-Za-z0-9]+', '_', reader.title)}_{seed}_{case}").write_bytes(content)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose names hold this")
    parser.add_argument("--keep", type=Path, default=Path("outputs/fuzz"), help="folder for files that broke a reader")
    given = parser.parse_args(arguments)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        print(f"{'reader':<22}{'taken':>8}{'refused':>9}{'foreign':>9}{'slow':>6}{'slowest s':>11}")
        for reader in (reader for reader in readers(Path(name)) if given.only in reader.title):
            found = fuzz(reader, given.cases, given.seed, given.keep)
            numbers = found.counts
            print(
                f"{reader.title:<22}{numbers['taken']:>8}{numbers['refused']:>9}{numbers['foreign']:>9}"
                f"{numbers['slow']:>6}{found.slowest:>11.2f}",
                flush=True,
            )
            for line in found.kept:
                print(f"    {line}")
            bad += numbers["foreign"] + numbers["slow"]
    return 1 if bad else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    with suppress(BrokenPipeError):
        sys.exit(main())
