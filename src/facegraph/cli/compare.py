"""facegraph compare: where one run beats another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from facegraph.cli.guard import guarded
from facegraph.errors import ConfigError
from facegraph.machine.screen import Screen
from facegraph.reports.compare.comparison import compare as compare_scores
from facegraph.reports.compare.comparison import read_scores
from facegraph.reports.compare.run_labels import labels_of
from facegraph.reports.compare.text import COVERAGE, card_lines, differences_table, verdict, write_comparison

_NORM = "inter_ocular, inter_pupil, box, or two landmarks: 60,72. Default: the runs' own."


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of a finished run, or one that eval.py wrote.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of the other run, scored on the same faces.")],
    out: Annotated[
        Path | None, typer.Option(help="New or empty folder; default: outputs/compare/<A>_<B>, numbered if taken.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="last or best.")] = "last",
    norm: Annotated[str | None, typer.Option(help=_NORM)] = None,
) -> None:
    """Where one run is better than another: subsets, landmarks, faces.

    Prints differences with intervals and paired tests; writes csv of subsets, landmarks and faces, and a picture of
    those whose errors differ most, into a new folder.
    """
    guarded(lambda: _compare(run_a, run_b, out, checkpoint, norm))


def _compare(run_a: Path, run_b: Path, out: Path | None, checkpoint: str, norm: str | None) -> None:
    if run_a.resolve() == run_b.resolve():
        raise ConfigError(f"{run_a} is named twice; name two different runs.")
    labels = labels_of(run_a, run_b)
    first, second = (read_scores(r, checkpoint, norm, label) for r, label in zip((run_a, run_b), labels, strict=True))
    comparison = compare_scores(first, second)
    console = Screen()
    console.print(differences_table(comparison))
    console.print(verdict(comparison), markup=False, highlight=False)
    # torch and the data sets take seconds to import, which a refused pair of runs need not wait for
    from facegraph.cli.faces_of_run import draw_pairs
    from facegraph.curation.doctor.report import new_folder

    default = Path("outputs/compare") / "_".join(re.sub(r"[^\w.-]+", "-", label) for label in labels)
    folder = new_folder(out or default)
    with Screen(stderr=True).status("drawing"):
        written, note = write_comparison(comparison, folder, lambda path: draw_pairs(comparison, path))
    for line in (COVERAGE, *card_lines(comparison), note):
        console.print(line, markup=False, highlight=False)
    console.print(f"faces.png and csv: {written}", soft_wrap=True, markup=False, highlight=False)
