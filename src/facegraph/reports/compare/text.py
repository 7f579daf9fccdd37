"""A comparison of two runs on screen, and as a folder of csv and faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from facegraph.files.plain_csv import to_csv
from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.metrics.bootstrap import FEWEST_FACES
from facegraph.reports.compare.comparison import (
    TIE,
    Comparison,
    Difference,
    difference_table,
    face_table,
    landmark_table,
)
from facegraph.reports.plots.drawing import of_normaliser
from facegraph.reports.table.layout import p_text

FACES, LANDMARKS, SUBSETS = "faces.csv", "landmarks.csv", "subsets.csv"
SHEET = "faces.png"
COVERAGE = (
    "Intervals are 95 % percentile intervals of the difference over resampled test faces, p is the paired two-sided "
    "bootstrap test on the same faces. Both say how far the choice of test faces could have made the difference; "
    "another seed of the training is not covered, so a difference between two single trainings may also be luck of "
    "their seeds. The p of subsets are not corrected for there being several. Fewer than "
    f"{FEWEST_FACES} faces are too few for either."
)


def scheme_of(comparison: Comparison) -> LandmarkScheme:
    """The scheme that the runs' card names; for one of the user's own, a scheme of as many points without lines."""
    card = comparison.a.result.protocol
    bare = LandmarkScheme(card.scheme, tuple(range(card.num_landmarks)), {})
    return SCHEMES.get(card.scheme, bare)


def verdict(comparison: Comparison) -> str:
    """The result over all faces in one sentence."""
    d = comparison.differences[0]
    a, b = comparison.a.label, comparison.b.label
    if not np.isfinite(d.difference):
        return f"Some face has no finite error under one of the runs, so the mean errors of {a} and {b} do not compare."
    if np.isnan(d.p):
        finding = f"{_untested(d)}, so A ({a}) and B ({b}) are not tested"
    elif d.p >= 0.05:
        finding = f"No difference between A ({a}) and B ({b}) beyond the choice of test faces"
    else:
        finding = f"B ({b}) is {'better' if d.difference < 0 else 'worse'} than A ({a})"
    return (
        f"{finding}: mean error {100 * d.a:.2f} % and {100 * d.b:.2f} %, difference {100 * d.difference:+.2f}"
        f"{'' if np.isnan(d.p) else f' {_interval(d)}, p {p_text(d.p)}'}. Of {d.count} faces B is better on "
        f"{d.b_better}, A on {d.a_better}, {d.ties} are ties (within {100 * TIE:g} %)."
    )


def _untested(d: Difference) -> str:
    if d.count < FEWEST_FACES:
        return f"{d.count} faces are too few for an interval or a test (below {FEWEST_FACES})"
    return "All faces differ by the same"


def _interval(d: Difference) -> str:
    return "-" if np.isnan(d.low) else f"[{100 * d.low:+.2f}, {100 * d.high:+.2f}]"


def differences_table(comparison: Comparison) -> Table:
    """Subsets for the terminal, errors in per cent; fits 80 columns."""
    table = Table(
        title=f"A: {escape(comparison.a.label)}   B: {escape(comparison.b.label)}",
        caption=f"errors in {of_normaliser(comparison.a.normaliser)}; a negative difference is in B's favour; "
        "B/tie/A: faces on which B wins, neither, A wins",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("faces", overflow="fold")
    for name in ("count", "A", "B", "B - A, 95 % interval", "p", "B/tie/A"):
        table.add_column(name, justify="right", no_wrap=True)
    for d in comparison.differences:
        style = "" if not d.p < 0.05 else "green" if d.difference < 0 else "red"
        change = f"{100 * d.difference:+.2f} {_interval(d)}"
        numbers = (str(d.count), f"{100 * d.a:.2f}", f"{100 * d.b:.2f}", change)
        wins = f"{d.b_better}/{d.ties}/{d.a_better}"
        table.add_row(escape(d.name), *numbers, p_text(d.p if np.isfinite(d.p) else None), wins, style=style)
    return table


def captions_of(comparison: Comparison, rows: np.ndarray) -> list[str]:
    """Two lines for each of some faces: both errors, and the id."""
    a, b, ids = comparison.a.errors, comparison.b.errors, comparison.a.faces.ids
    return [f"A {100 * a[i]:.2f} %   B {100 * b[i]:.2f} %\n{ids[i]}" for i in rows]


def write_comparison(
    comparison: Comparison, folder: Path, draw_faces: Callable[[Path], tuple[Path, str]]
) -> tuple[Path, str]:
    """Write three csv and the sheet of faces; files of the same names are replaced, others stay.

    Args:
        folder: made if missing.
        draw_faces: writes the sheet of faces to a path and returns it with a note on where the images came from.

    Returns:
        the folder, and that note.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in ((FACES, face_table), (LANDMARKS, landmark_table), (SUBSETS, difference_table)):
        (folder / name).write_text(to_csv(table(comparison)), encoding="utf-8", newline="")
    return folder, draw_faces(folder / SHEET)[1]


def card_lines(comparison: Comparison) -> list[str]:
    """The fields of the protocol cards in which the runs differ, a line each."""
    return [f"{name}: A {a}, B {b}" for name, (a, b) in comparison.cards.items()]
