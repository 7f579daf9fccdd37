"""facegraph rescore: metrics again from the predictions of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from facegraph.cli.guard import guarded
from facegraph.cli.output import show
from facegraph.errors import ConfigError, RunError
from facegraph.reports.compare import rescoring
from facegraph.reports.compare.rescoring import Rescored
from facegraph.reports.table.marks import percent
from facegraph.reports.table.units import measure_text
from facegraph.sweeps.manifest import is_sweep, read_sweep
from facegraph.sweeps.status import DONE, state

_RUNS = "Run folders, folders of eval.py, files of predictions, or sweeps (all of their finished jobs)."
_NORM = (
    "Name of a normaliser in the file (inter_ocular, inter_pupil, box), or two landmarks: 60,72. Default: the run's."
)


def rescore(
    runs: Annotated[list[Path], typer.Argument(help=_RUNS)],
    norm: Annotated[str | None, typer.Option(help=_NORM)] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Of failure rate and AUC, as a fraction; may be given several times.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Only the faces with this attribute.")] = None,
    checkpoint: Annotated[str, typer.Option(help="last or best.")] = "last",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, fractions in full precision.")] = False,
) -> None:
    """Any metric again from predictions.parquet, without the model: by another normaliser, threshold or subset.

    Each value has its 95 % bootstrap interval over test faces.
    """

    def command() -> None:
        _check(threshold or ())
        places = [place for run in runs for place in _places(run)]
        found = [
            (label, rescoring.rescore(place, norm, threshold or (), subset, checkpoint)) for label, place in places
        ]
        if not found:
            raise RunError(f"{', '.join(map(str, runs))}: no job is finished yet; rescore needs predictions.")
        show(
            as_json,
            lambda: [_plain(label, scored) for label, scored in found],
            lambda console: console.print(_table(found)),
        )

    guarded(command)


def _places(run: Path) -> list[tuple[str, Path]]:
    """(label, folder) of a run, or of all finished jobs of a sweep; a job that tables share once."""
    if not is_sweep(run):
        return [(str(run), run)]
    places: dict[Path, str] = {}
    for swept in read_sweep(run):
        for job in swept.jobs:
            if state(job.folder(run)) == DONE:
                places.setdefault(job.folder(run), f"{swept.table.name} {job.row}, seed {job.seed}")
    return [(label, place) for place, label in places.items()]


def _plain(label: str, scored: Rescored) -> dict[str, object]:
    return {
        "run": label,
        "folder": str(scored.folder),
        "checkpoint": scored.checkpoint,
        "normaliser": scored.normaliser,
        "subset": scored.subset,
        "faces": scored.faces,
        **scored.measures,
        "intervals": {name: list(ends) if ends else None for name, ends in scored.intervals.items()},
    }


def _table(found: Sequence[tuple[str, Rescored]]) -> Table:
    """A line per run and metric, which fits any terminal however many thresholds there are."""
    first = found[0][1]
    alike = len({(scored.normaliser, scored.faces) for _, scored in found}) == 1
    words = [f"by {first.normaliser}, {first.faces} faces"] if alike else []
    words += [f"subset {first.subset}"] if first.subset else []
    table = Table(title="; ".join([f"Metrics in %, checkpoint {first.checkpoint}", *words]))
    table.add_column("run", overflow="fold")
    names = (*(() if alike else ("normaliser", "faces")), "metric", "value", "95 % over faces")
    for name in names:
        table.add_column(name, justify="left" if name in ("normaliser", "metric") else "right", no_wrap=True)
    for label, scored in found:
        about = [] if alike else [escape(scored.normaliser), str(scored.faces)]
        for i, (metric, value) in enumerate(scored.measures.items()):
            shown = [escape(label), *about] if i == 0 else [""] * (1 + len(about))
            last = i == len(scored.measures) - 1
            table.add_row(*shown, measure_text(metric), percent(value), _ends(scored, metric), end_section=last)
    return table


def _ends(scored: Rescored, metric: str) -> str:
    ends = scored.intervals[metric]
    return "-" if ends is None else escape(f"[{percent(ends.low)}, {percent(ends.high)}]")


def _check(thresholds: Sequence[float]) -> None:
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise ConfigError(
                f"--threshold is {threshold:g}; give a fraction of the normaliser above 0 and at most 1: 0.08 is 8 %."
            )
