"""`facegraph bench quit`: what a trained cascade loses and saves when faces quit early, and how well it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from facegraph.data.datamodule import FaceDataModule
from facegraph.errors import ConfigError, RunError
from facegraph.files import plain_json
from facegraph.files.atomic import write_atomically
from facegraph.metrics.confidence import failure_auroc, rank_correlation
from facegraph.models.musica.criterion import CascadeLoss
from facegraph.models.musica.model import MuSiCa
from facegraph.models.musica.settings import ALWAYS, NEVER
from facegraph.models.musica.study.attention import mean_attention, plot_attention
from facegraph.models.musica.study.cascade import macs_by_iterations, record, run_really
from facegraph.models.musica.study.quitting import Calibration, QuitPoint, RealRun, plot_quitting
from facegraph.models.musica.study.stages import (
    StageRecord,
    automatic_thresholds,
    chosen_thresholds,
    fixed_points,
    quit_point,
)
from facegraph.runs.compose import build_criterion, build_data
from facegraph.runs.configuration import read_config
from facegraph.runs.evaluate import OpenedRun
from facegraph.runs.folder import make_writable
from facegraph.training.task import CHECKPOINT_KEY

RESULT = "quit.json"
PRECISION = "32-true"


@dataclass(frozen=True, eq=False)
class QuitBench:
    """Result of one run.

    Attributes:
        points: by threshold, rising.
        fixed: after 1, ..., T iterations whatever is predicted.
        validation_dataset: whose validation faces these are, the run's own; None without any.
        precision, test_time_flip: of this measurement.
        run_precision, run_test_time_flip: of the run's own test, whose NME may differ for that.
        macs: (T,) multiply-adds of a face that quits after 1, ..., T iterations.
        real: thresholds really run.
    """

    run: str
    checkpoint: str
    dataset: str
    normaliser: str
    test_faces: int
    validation_dataset: str | None
    validation_faces: int
    run_precision: str
    run_test_time_flip: bool
    macs: tuple[int, ...]
    points: tuple[QuitPoint, ...]
    fixed: tuple[QuitPoint, ...]
    real: tuple[RealRun, ...]
    calibration: Calibration
    folder: Path
    precision: str = PRECISION
    test_time_flip: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For json: thresholds are null for never, and what is not a number is null."""
        plain = asdict(self)
        plain["folder"] = str(self.folder)
        for key in ("predicted", "own"):  # quit_faces.parquet has them
            del plain["calibration"][key]
        return plain

    def conditions(self) -> str:
        """How this was measured and in what the run's own test differs, in words."""
        own = [] if self.run_precision == PRECISION else [f"in {self.run_precision}"]
        own += ["over mirror images too"] if self.run_test_time_flip else []
        unlike = f"; the run's own test: {' and '.join(own)}" if own else ""
        return f"float32, each face as it is{unlike}"


def bench_quit(
    run: OpenedRun,
    thresholds: Sequence[float] | None = None,
    faces: int | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> QuitBench:
    """Record what the model says after each iteration, derive the result of every threshold, run some of them.

    In float32 on the CPU, without mirror images. Writes quitting.png, quitting.svg, attention.png (of the test faces;
    not without attention), quit_faces.parquet and, when all is done, quit.json.

    Args:
        run: a MuSiCa; its quit_threshold is left as it was.
        thresholds: predicted errors as fractions; None takes quantiles of those of the validation faces.
        faces: so many of test and of validation, evenly spread; None all.
        out: folder; None for <run>/quit.
        say: called with what is being done.

    Raises:
        ConfigError: another model or loss, thresholds or faces out of range, no validation faces to take thresholds
        from. RunError: the folder holds a quit.json, or cannot be written.
    """
    model, criterion = _cascade(run.model), _criterion(run)
    _check(thresholds, faces)
    out = out or run.folder / "quit"
    if (out / RESULT).exists():
        raise RunError(f"{out} holds a {RESULT} already; nothing is overwritten. Choose another --out.")
    validating = _validation_data(run, thresholds)
    make_writable(out, "--out")
    say("recording test faces")
    test = record(model, criterion, run.data, "test", faces)
    validation = None
    if validating is not None:
        say("recording validation faces")
        validation = record(model, criterion, validating, "validation", faces)
    wanted = _wanted(thresholds, validation)
    chosen = chosen_thresholds(validation, wanted) if validation is not None else {}
    real = run_really(model, run.data, test, _few(wanted, chosen), faces, say)
    macs = macs_by_iterations(model, run.data.input_size)
    points = [replace(quit_point(test, validation, macs, t), chosen=chosen.get(t, "")) for t in wanted]
    found = _result(run, validating, test, validation, macs, points, real, out)
    _write(found, test, validation, model, run)
    return found


def _result(
    run: OpenedRun,
    validating: FaceDataModule | None,
    test: StageRecord,
    validation: StageRecord | None,
    macs: tuple[int, ...],
    points: Sequence[QuitPoint],
    real: Sequence[RealRun],
    out: Path,
) -> QuitBench:
    dataset = run.data.dataset
    return QuitBench(
        run=str(run.folder),
        checkpoint=run.path.stem,
        dataset=dataset.name,
        normaliser=dataset.normalisers[0],
        test_faces=len(test.errors),
        validation_dataset=None if validating is None else validating.dataset.name,
        validation_faces=0 if validation is None else len(validation.errors),
        run_precision=str(run.cfg.trainer.precision),
        run_test_time_flip=bool(run.cfg.get("test_time_flip", False)),
        macs=macs,
        points=tuple(points),
        fixed=tuple(fixed_points(test, validation, macs)),
        real=tuple(real),
        calibration=calibrate(test, dataset.thresholds_of(dataset.normalisers[0])),
        folder=out,
    )


def _cascade(model: nn.Module) -> MuSiCa:
    if not isinstance(model, MuSiCa):
        raise ConfigError(
            f"the run's model is {type(model).__name__}, which cannot quit; only runs of model=musica can be measured. "
            "facegraph bench models compares the speed of all."
        )
    return model.eval()


def _criterion(run: OpenedRun) -> CascadeLoss:
    criterion = build_criterion(run.cfg, run.statistics)
    if not isinstance(criterion, CascadeLoss):
        raise ConfigError(
            f"the run was trained with {type(criterion).__name__}, which teaches no predicted error to quit by; "
            "measure a run of model=musica with loss=musica."
        )
    return criterion


def _check(thresholds: Sequence[float] | None, faces: int | None) -> None:
    if thresholds is not None and not (thresholds and all(0 < t < 1 for t in thresholds)):
        raise ConfigError(
            f"--thresholds is {list(thresholds)}; predicted errors between zero and one are needed, as fractions: 0.04 "
            "for 4 %."
        )
    if faces is not None and faces < 2:
        raise ConfigError(f"--faces is {faces}; at least 2 are needed, and a few hundred for numbers that mean much.")


def _validation_data(run: OpenedRun, thresholds: Sequence[float] | None) -> FaceDataModule | None:
    """The run's own data set, opened for validation; None where it kept no such faces.

    Thresholds are chosen on it also where the test is of another data set; thresholds that were given need it not.

    Raises:
        ConfigError: no validation faces, and no thresholds.
    """
    data = run.data
    if run.checkpoint[CHECKPOINT_KEY]["trained_on"] != data.dataset.name:
        if thresholds is not None:
            return None
        own = read_config(run.folder)
        own.data.num_workers = 0
        data = build_data(own)
    data.setup("validate")
    if len(data.val_table):
        return data
    if thresholds is None:
        raise ConfigError(
            "the run kept no validation faces (data.val_fraction=0), from which thresholds are taken; give "
            "--thresholds."
        )
    return None


def _wanted(thresholds: Sequence[float] | None, validation: StageRecord | None) -> list[float | None]:
    if thresholds is not None:
        return [NEVER, *sorted(set(thresholds))]
    assert validation is not None
    return automatic_thresholds(validation)


def _few(wanted: Sequence[float | None], chosen: Mapping[float | None, str]) -> list[float | None]:
    """Up to five thresholds to run really: never, the chosen ones, always; without these the middle one too."""
    picked = [NEVER, *(t for t in wanted if t in chosen), ALWAYS]
    if len(set(picked)) < 3:
        picked.insert(1, wanted[len(wanted) // 2])
    return list(dict.fromkeys(picked))


def calibrate(test: StageRecord, failures: Sequence[float]) -> Calibration:
    """How the predicted errors fit the true ones.

    Args:
        failures: NMEs by the first normaliser above which a face failed.
    """
    predicted, true = test.predicted[:, -1], test.errors[:, -1]
    ranks = [rank_correlation(test.predicted[:, k], test.errors[:, k]) for k in range(test.stages)]
    areas = {limit: failure_auroc(true, -predicted, limit) for limit in failures}
    return Calibration(predicted, test.own[:, -1], tuple(ranks), areas)


def _write(found: QuitBench, test: StageRecord, validation: StageRecord | None, model: MuSiCa, run: OpenedRun) -> None:
    """Pictures and faces first, quit.json last: a folder with a quit.json is whole."""
    out, scheme = found.folder, run.data.dataset.scheme
    try:
        plot_quitting(
            found.points, found.fixed, found.real, found.calibration, found.normaliser, out / "quitting"
        )  # fmt: skip
        if test.attention is not None:
            shape = model.mean_shape.numpy()
            patches = shape[model.patch_indices.numpy()]
            plot_attention(mean_attention(test.attention), patches, shape, scheme, out / "attention.png")
        frames = [_frame("test", test), *([] if validation is None else [_frame("validation", validation)])]
        write_atomically(out / "quit_faces.parquet", pd.concat(frames, ignore_index=True).to_parquet(index=False))
        write_atomically(out / RESULT, (plain_json.dump(found.to_dict()) + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error}. Choose another --out.") from error


def _frame(split: str, recorded: StageRecord) -> pd.DataFrame:
    """error_k, predicted_k and own_error_k of each face: see StageRecord."""
    columns: dict[str, Any] = {"split": split}
    for k in range(recorded.stages):
        columns |= {f"error_{k + 1}": recorded.errors[:, k], f"predicted_{k + 1}": recorded.predicted[:, k]}
        columns |= {f"own_error_{k + 1}": recorded.own[:, k]}
    return pd.DataFrame(columns, index=range(len(recorded.errors)))
