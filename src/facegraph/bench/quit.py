"""`facegraph bench quit`: what a trained cascade loses and saves when faces quit early, and how well it knows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facegraph.bench.faces import Say
from facegraph.bench.stages import (
    StageRecord,
    automatic_thresholds,
    chosen_thresholds,
    fixed_points,
    iterations_until,
    quit_point,
)
from facegraph.complexity import count_macs
from facegraph.data.datamodule import FaceDataModule
from facegraph.data.faces import loaded
from facegraph.errors import ConfigError, RunError
from facegraph.evaluation import OpenedRun
from facegraph.geometry.points import map_points
from facegraph.metrics.confidence import failure_auroc, rank_correlation
from facegraph.metrics.functional import nme
from facegraph.models.musica.model import MuSiCa
from facegraph.models.musica.output import CascadeOutput
from facegraph.records.files import write_atomically
from facegraph.reports.quitting import ALWAYS, NEVER, Calibration, QuitPoint, RealRun, plot_quitting

FAILURES = (0.08, 0.10)
"""Errors, fractions of the first normaliser, above which a face has failed."""
BATCHES = (1, 32)
_TIMED_FACES = 96
_ROUNDS = 3
_RECORDED = 64  # faces per batch while recording
_FILES = ("quit.json", "quit_faces.parquet", "quitting.png", "quitting.svg")


@dataclass(frozen=True, eq=False)
class QuitBench:
    """Result of one run. points: by threshold, rising. fixed: after 1, ..., T iterations whatever is predicted.

    macs: (T,) multiply-adds of a face that quits after 1, ..., T iterations. real: thresholds really run.
    """

    run: str
    checkpoint: str
    dataset: str
    normaliser: str
    test_faces: int
    validation_faces: int
    macs: tuple[int, ...]
    points: tuple[QuitPoint, ...]
    fixed: tuple[QuitPoint, ...]
    real: tuple[RealRun, ...]
    calibration: Calibration
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """For json: thresholds are null for never, and what is not a number is null."""
        plain = asdict(self)
        plain["folder"] = str(self.folder)
        for key in ("predicted", "true"):  # quit_faces.parquet has them
            del plain["calibration"][key]
        finite: dict[str, Any] = _finite(plain)
        return finite


def bench_quit(
    run: OpenedRun,
    thresholds: Sequence[float] | None = None,
    faces: int | None = None,
    out: Path | None = None,
    say: Say = lambda text: None,
) -> QuitBench:
    """Record what the model says after each iteration, derive the result of every threshold, run some of them.

    In float32 on the CPU. Writes quit.json, quit_faces.parquet, quitting.png and quitting.svg.

    Args:
        run: a MuSiCa; its quit_threshold is left as it was. thresholds: predicted errors as fractions; None takes
        quantiles of those of the validation faces. faces: so many of test and of validation, evenly spread; None all.
        out: folder; None for <run>/quit. say: called with what is being done.

    Raises:
        ConfigError: another model, thresholds or faces out of range, no validation faces to take thresholds from.
        RunError: the folder holds such results already.
    """
    model, out = _cascade(run.model), out or run.folder / "quit"
    _check(thresholds, faces, out)
    kept, model.quit_threshold = model.quit_threshold, NEVER
    try:
        found, test, validation = _measure(model, run, thresholds, faces, out, say)
    finally:
        model.quit_threshold = kept
    _write(found, test, validation)
    return found


def _measure(
    model: MuSiCa, run: OpenedRun, thresholds: Sequence[float] | None, faces: int | None, out: Path, say: Say
) -> tuple[QuitBench, StageRecord, StageRecord | None]:
    say("recording test faces")
    test = record(model, run.data, "test", faces)
    say("recording validation faces")
    run.data.setup("validate")
    validation = record(model, run.data, "validation", faces) if len(run.data.val_table) else None
    wanted = _wanted(thresholds, validation)
    macs = macs_by_iterations(model, run.data.input_size)
    chosen = chosen_thresholds(validation, wanted) if validation is not None else {}
    points = [replace(quit_point(test, validation, macs, t), chosen=chosen.get(t, "")) for t in wanted]
    found = QuitBench(
        run=str(run.folder),
        checkpoint=run.path.stem,
        dataset=run.data.dataset.name,
        normaliser=run.data.dataset.normalisers[0],
        test_faces=len(test.errors),
        validation_faces=0 if validation is None else len(validation.errors),
        macs=macs,
        points=tuple(points),
        fixed=tuple(fixed_points(test, validation, macs)),
        real=tuple(run_really(model, run.data, test, _few(wanted, chosen), faces, say)),
        calibration=calibrate(test),
        folder=out,
    )
    return found, test, validation


def _cascade(model: nn.Module) -> MuSiCa:
    if not isinstance(model, MuSiCa):
        raise ConfigError(
            f"the run's model is {type(model).__name__}, which cannot quit; only runs of model=musica can be measured. "
            "facegraph bench models compares the speed of all."
        )
    return model.eval()


def _check(thresholds: Sequence[float] | None, faces: int | None, out: Path) -> None:
    if thresholds is not None and not (thresholds and all(math.isfinite(t) and t > 0 for t in thresholds)):
        raise ConfigError(
            f"--thresholds is {list(thresholds)}; predicted errors above zero as fractions are needed: 0.04,0.05"
        )
    if faces is not None and faces < 2:
        raise ConfigError(f"--faces is {faces}; at least 2 are needed, and a few hundred for numbers that mean much.")
    there = [name for name in _FILES if (out / name).exists()]
    if there:
        raise RunError(f"{out} holds {', '.join(there)} already; nothing is overwritten. Choose another --out.")


def _wanted(thresholds: Sequence[float] | None, validation: StageRecord | None) -> list[float | None]:
    if thresholds is not None:
        return [NEVER, *sorted(set(thresholds))]
    if validation is None:
        raise ConfigError(
            "the run kept no validation faces (data.val_fraction=0), from which thresholds are taken; give "
            "--thresholds."
        )
    return automatic_thresholds(validation)


def _few(wanted: Sequence[float | None], chosen: Mapping[float | None, str]) -> list[float | None]:
    """Up to five thresholds to run really: never, the chosen ones, always; without these the middle one too."""
    picked = [NEVER, *(t for t in wanted if t in chosen), ALWAYS]
    if len(set(picked)) < 3:
        picked.insert(1, wanted[len(wanted) // 2])
    return list(dict.fromkeys(picked))


def _batches(data: FaceDataModule, split: str, faces: int | None, size: int) -> DataLoader:
    """Batches of a split's faces, all or so many evenly spread ones, as bytes."""
    loader = {"test": data.test_dataloader, "validation": data.val_dataloader}[split]()
    assert isinstance(loader, DataLoader)
    source = loader.dataset
    total = len(source)  # type: ignore[arg-type]
    rows = np.unique(np.linspace(0, total - 1, min(faces or total, total)).astype(int)).tolist()
    return DataLoader(source, batch_size=size, sampler=rows, collate_fn=loaded)


def record(model: MuSiCa, data: FaceDataModule, split: str, faces: int | None = None) -> StageRecord:
    """True error, in image px over the first normaliser, and predicted error after each iteration.

    split: "test" or "validation"; the data module must be set up for it. The model's quit_threshold decides how far
    each face gets.
    """
    errors, predicted = [], []
    for output, batch in _outputs(model, data, split, faces):
        assert output.stage_landmarks is not None
        stages = output.stage_landmarks.unbind(dim=1)
        errors.append(torch.stack([_error(stage, batch) for stage in stages], dim=1))
        predicted.append(output.stage_errors)
    return StageRecord(torch.cat(errors).double().numpy(), torch.cat(predicted).double().numpy())


def _outputs(model: MuSiCa, data: FaceDataModule, split: str, faces: int | None) -> Any:
    with torch.inference_mode():
        for batch in _batches(data, split, faces, _RECORDED):
            batch = data.on_after_batch_transfer(batch, 0)
            yield model(batch.image), batch


def _error(landmarks: Tensor, batch: Any) -> Tensor:
    truth = map_points(batch.crop_to_image, batch.landmarks)
    return nme(map_points(batch.crop_to_image, landmarks), truth, batch.norm_distances[:, 0])


def macs_by_iterations(model: MuSiCa, input_size: int) -> tuple[int, ...]:
    """(T,) multiply-adds of a face that quits after 1, ..., T iterations. What comes before the first is in all."""
    total, by_name = count_macs(model, input_size)
    own = [by_name.get(f"iterations.{number}", 0) for number in range(len(model.levels))]
    return tuple(total - sum(own[number + 1 :]) for number in range(len(own)))


def calibrate(test: StageRecord) -> Calibration:
    """How the predicted errors fit the true ones."""
    predicted, true = test.predicted[:, -1], test.errors[:, -1]
    ranks = [rank_correlation(test.predicted[:, k], test.errors[:, k]) for k in range(test.stages)]
    areas = {limit: failure_auroc(true, -predicted, limit) for limit in FAILURES}
    return Calibration(predicted, true, tuple(ranks), areas)


def run_really(
    model: MuSiCa,
    data: FaceDataModule,
    recorded: StageRecord,
    thresholds: Sequence[float | None],
    faces: int | None,
    say: Say = lambda text: None,
) -> list[RealRun]:
    """Run the model with thresholds on all test faces, and time it on some of them, on one thread, in turns."""
    scores = []
    for threshold in thresholds:
        say(f"running with the threshold {threshold}")
        model.quit_threshold = threshold
        pairs = [(_error(o.landmarks, b), o.iterations) for o, b in _outputs(model, data, "test", faces)]
        errors, iterations = (torch.cat(column).numpy() for column in zip(*pairs, strict=True))
        differing = int((iterations != iterations_until(recorded.predicted, threshold)).sum())
        scores.append((float(errors.mean(dtype=np.float64)), float(iterations.mean()), differing))
    say("timing, in turns")
    times = _times(model, data, thresholds, faces)
    return [RealRun(t, *score, seconds) for t, score, seconds in zip(thresholds, scores, times, strict=True)]


def _times(
    model: MuSiCa, data: FaceDataModule, thresholds: Sequence[float | None], faces: int | None
) -> list[dict[int, float]]:
    """Batch size -> processor time of one face, median over rounds, for each threshold; on images at hand."""
    some = min(faces or _TIMED_FACES, _TIMED_FACES)
    images = torch.cat([data.normalise(batch.image) for batch in _batches(data, "test", some, _RECORDED)])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = np.zeros((_ROUNDS, len(thresholds), len(BATCHES)))
    try:
        for turn, column, place in np.ndindex(*found.shape):
            model.quit_threshold = thresholds[column]
            found[turn, column, place] = _seconds(model, images.split(BATCHES[place])) / len(images)
    finally:
        torch.set_num_threads(before)
    return [dict(zip(BATCHES, row, strict=True)) for row in np.median(found, axis=0).tolist()]


def _seconds(model: Callable[[Tensor], CascadeOutput], batches: Sequence[Tensor]) -> float:
    with torch.inference_mode():
        model(batches[0])
        used = time.process_time()
        for images in batches:
            model(images)
        return time.process_time() - used


def _write(found: QuitBench, test: StageRecord, validation: StageRecord | None) -> None:
    out = found.folder
    try:
        plot_quitting(
            found.points, found.fixed, found.real, found.calibration, found.normaliser, out / "quitting"
        )  # fmt: skip
        frames = [_frame("test", test), *([] if validation is None else [_frame("validation", validation)])]
        write_atomically(out / "quit_faces.parquet", pd.concat(frames, ignore_index=True).to_parquet(index=False))
        write_atomically(out / "quit.json", (json.dumps(found.to_dict(), indent=2) + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error}. Choose another --out.") from error


def _frame(split: str, recorded: StageRecord) -> pd.DataFrame:
    columns: dict[str, Any] = {"split": split}
    for k in range(recorded.stages):
        columns |= {f"error_{k + 1}": recorded.errors[:, k], f"predicted_{k + 1}": recorded.predicted[:, k]}
    return pd.DataFrame(columns, index=range(len(recorded.errors)))


def _finite(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
