"""A comparison of two runs on screen and as a folder: page, figures, csv."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.metrics.bootstrap import FEWEST_FACES
from facegraph.plain_csv import to_csv
from facegraph.reports.comparison import (
    TIE,
    Comparison,
    Difference,
    Scores,
    difference_table,
    face_table,
    landmark_table,
)
from facegraph.reports.curves import plot_ceds
from facegraph.reports.drawing import mean_face, of_normaliser
from facegraph.reports.html import Cell, HtmlTable, Page, Picture, Section, write_page
from facegraph.reports.landmark_maps import plot_landmark_maps
from facegraph.reports.layout import p_text
from facegraph.reports.scatter import plot_pairs

PAGE = "compare.html"
FACES, LANDMARKS, SUBSETS = "faces.csv", "landmarks.csv", "subsets.csv"
SHEET = "faces.png"
_SHORTEST_AXIS = 0.08
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
    _, rows = _subset_rows(comparison)
    for d, (name, count, a, b, change, interval, p, *wins) in zip(comparison.differences, rows, strict=True):
        style = "" if not d.p < 0.05 else "green" if d.difference < 0 else "red"
        table.add_row(name, count, a, b, f"{change} {interval}", p, "/".join(wins), style=style)
    return table


def _subset_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    header = ["faces", "count", "A", "B", "B - A", "95 % interval", "p", "B wins", "tie", "A wins"]

    def row(d: Difference) -> list[str]:
        numbers = [f"{100 * d.a:.2f}", f"{100 * d.b:.2f}", f"{100 * d.difference:+.2f}"]
        return [
            d.name,
            str(d.count),
            *numbers,
            _interval(d),
            p_text(d.p if np.isfinite(d.p) else None),
            str(d.b_better),
            str(d.ties),
            str(d.a_better),
        ]

    return header, [row(d) for d in comparison.differences]


def captions_of(comparison: Comparison, rows: np.ndarray) -> list[str]:
    """Two lines for each of some faces: both errors, and the id."""
    a, b, ids = comparison.a.errors, comparison.b.errors, comparison.a.faces.ids
    return [f"A {100 * a[i]:.2f} %   B {100 * b[i]:.2f} %\n{ids[i]}" for i in rows]


def write_comparison(
    comparison: Comparison,
    folder: Path,
    command: str,
    draw_faces: Callable[[Path], tuple[Path, str]],
    done: Callable[[str], None] = lambda part: None,
) -> Path:
    """Write page, figures (PNG and SVG) and csv; files of the same names are replaced, others stay.

    Args:
        folder: made if missing. command: shown on the page. draw_faces: writes the sheet of faces to a path and
            returns it with a note on where the images came from. done: called with the name of each part.

    Returns:
        path of the page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tables = ((FACES, face_table), (LANDMARKS, landmark_table), (SUBSETS, difference_table))
    for name, table in tables:
        (folder / name).write_text(to_csv(table(comparison)), encoding="utf-8", newline="")
    done("csv")
    figures = _figures(comparison, folder)
    done("figures")
    sheet, note = draw_faces(folder / SHEET)
    done("faces")
    title = f"{comparison.b.label} against {comparison.a.label}"
    sections = _sections(comparison, figures, Picture.of_file(sheet, note), command)
    page = Page(title, sections, f"facegraph compare: A is {comparison.a.folder}, B is {comparison.b.folder}")
    return write_page(page, folder / PAGE)


def _figures(comparison: Comparison, folder: Path) -> dict[str, Picture]:
    a, b = comparison.a, comparison.b
    names = (f"A: {a.label}", f"B: {b.label}")
    limit = max(_SHORTEST_AXIS, *a.result.protocol.thresholds.get(a.normaliser, (0.10,)))
    by_landmark = {name: scores.landmark_errors for name, scores in zip(names, (a, b), strict=True)}
    face = mean_face(a.faces.truth)
    scheme = scheme_of(comparison)
    written = {
        "pairs": plot_pairs(a.errors, b.errors, names, a.normaliser, folder / "pairs"),
        "ced": plot_ceds(dict(zip(names, (a.errors, b.errors), strict=True)), limit, folder / "ced", a.normaliser),
        "difference": plot_landmark_maps(
            by_landmark, face, scheme, folder / "landmark_difference", a.normaliser, names[0]
        ),
        "landmarks": plot_landmark_maps(by_landmark, face, scheme, folder / "landmarks", a.normaliser),
    }
    captions = {
        "pairs": "Each face's error under A and under B; below the line B is better.",
        "ced": "Share of faces up to an error; AUC and FR in per cent.",
        "difference": "Mean error of each landmark under B less that under A, on the mean face; blue is in B's favour.",
        "landmarks": "Mean error of each landmark; numbers mark the largest.",
    }
    return {name: Picture.of_file(path, captions[name]) for name, path in written.items()}


def _sections(comparison: Comparison, figures: dict[str, Picture], sheet: Picture, command: str) -> list[Section]:
    header, rows = _subset_rows(comparison)
    unit = of_normaliser(comparison.a.normaliser)
    subsets = HtmlTable(f"Errors in {unit}; a negative difference is in B's favour", header, rows)
    cards: list[list[Cell]] = [[name, str(x), str(y)] for name, (x, y) in comparison.cards.items()]
    protocols = HtmlTable("Fields of the protocol cards that differ", ["field", "A", "B"], cards)
    return [
        Section("Result", f"{verdict(comparison)}\n\n{COVERAGE}", tables=[subsets]),
        Section("Faces", "", [sheet]),
        Section("By landmark", "", [figures["difference"], figures["landmarks"]], [_parts(comparison)]),
        Section("By face", f"Every face with both errors is in {FACES}.", [figures["pairs"], figures["ced"]]),
        Section(
            "Protocol",
            "Both runs were scored on the same faces with the same annotations (test_hash). "
            + ("Their cards differ where the table says." if cards else "Their cards are equal."),
            tables=[protocols] if cards else [],
        ),
        Section("Provenance", tables=[_provenance(comparison)], code=command),
    ]


def _parts(comparison: Comparison) -> HtmlTable:
    """Mean errors over the landmarks of each line of the face."""
    a, b = (100 * s.landmark_errors for s in (comparison.a, comparison.b))
    rows: list[list[Cell]] = []
    for contour in scheme_of(comparison).contours:
        x, y = (float(errors[list(contour.indices)].mean()) for errors in (a, b))
        rows.append([contour.name.replace("_", " "), len(contour.indices), f"{x:.2f}", f"{y:.2f}", f"{y - x:+.2f}"])
    caption = f"Mean error over the landmarks of a part, {of_normaliser(comparison.a.normaliser)}"
    return HtmlTable(caption, ["part", "landmarks", "A", "B", "B - A"], rows)


def _provenance(comparison: Comparison) -> HtmlTable:
    def column(scores: Scores) -> dict[str, str]:
        made = scores.result.provenance
        return {
            "folder": str(scores.folder),
            "checkpoint": scores.faces.checkpoint,
            "commit": f"{made.commit or 'unknown'}{' with uncommitted changes' if made.dirty else ''}",
            "started": made.started_at,
            "device": made.device,
            "parameters": f"{made.params:,}",
            "settings": " ".join(made.overrides) or "-",
        }

    a, b = column(comparison.a), column(comparison.b)
    rows: list[list[Cell]] = [[name, a[name], b[name]] for name in a]
    return HtmlTable("Where the numbers come from", ["", "A", "B"], rows)
