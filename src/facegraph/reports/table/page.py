"""A swept table as one self-contained HTML page, and an index of several."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from facegraph.metrics.bootstrap import LEVEL, RESAMPLES
from facegraph.records import ProtocolCard, RunResult
from facegraph.reports.html import Cell, HtmlTable, Link, Page, Picture, Section, write_page
from facegraph.reports.table.cells import Report, ReportRow
from facegraph.reports.table.figures import Drawn, draw_figures
from facegraph.reports.table.layout import Words, blocks, command_text, interval_text, p_text, unfinished, value_text
from facegraph.reports.table.units import heading
from facegraph.reports.table.writing import INDEX_PAGE, PAGE
from facegraph.sweeps.status import DONE, LOG_FILE
from facegraph.sweeps.table import Column

FIGURES = "figures"
COVERAGE = (
    f"Intervals are {100 * LEVEL:g} % percentile intervals over {RESAMPLES:,} resamples of the test faces, of the mean "
    "over seeds: how far the choice of test faces could have moved it. The spread over seeds is the standard deviation "
    "(n - 1). p is the paired two-sided bootstrap test of the difference to the baseline row on the same faces; with "
    "two or more seeds in common it covers the choice of seeds too, with one it does not. p-values are not corrected "
    "for the number of rows."
)


def write_sweep_page(report: Report, folder: Path, done: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Write report.html and its figures (PNG and SVG) into a folder; existing ones are replaced, other files stay.

    Args:
        done: called with the name of each figure's kind when it is drawn.

    Returns:
        what was written, the page last.

    Raises:
        RunError: a damaged file of predictions.
    """
    folder = Path(folder)
    figures = draw_figures(report, folder / FIGURES, done)
    table = report.table
    sections = [
        _overview(report),
        Section("Values", _values_text(report), tables=_value_tables(report)),
        *([_figures(figures)] if figures else []),
        Section(
            "Statistics", COVERAGE, tables=[_statistics(report, c) for c in report.columns if _measured(report, c)]
        ),
        *_unfinished(report),
        Section("Notes", "\n\n".join(f"{n.mark} {n.text}".strip() for n in report.notes) or "None."),
        _protocol(report),
        _provenance(report),
    ]
    scale = f"scale={report.scale}, " if report.scale else ""
    page = Page(table.title, sections, f"{table.name}: {scale}checkpoint {report.checkpoint}, {_progress(report)}")
    drawn = [path for figure in figures for path in (figure.path, figure.svg)]
    return [*drawn, write_page(page, folder / PAGE)]


def write_index(pages: Sequence[tuple[Report, Path]], folder: Path) -> Path:
    """Write index.html with a line per table and a link to its page, which must lie below the folder.

    Returns:
        path of the index.
    """
    rows: list[list[Cell]] = []
    for report, path in pages:
        column = next(
            (c for c in report.columns if any(r.cells[c.name].mean is not None for r in report.trained)), None
        )
        best = report.best(column) if column else None
        cell = report.cell(best, column.name) if best and column else None
        rows.append(
            [
                Link(report.table.title, path.relative_to(folder).as_posix()),
                report.table.name,
                report.scale or "-",
                _progress(report),
                f"{report.row(best).row.label}: {value_text(cell, report.unit(column))}"
                if best and column and cell
                else None,
                report.table.source,
            ]
        )
    header = ["table", "name", "scale", "rows", "best row", "source"]
    text = "At a scale other than paper another recipe was trained, so published values do not compare."
    sections = [Section("Tables", text, tables=[HtmlTable("", header, rows)])]
    return write_page(Page("Tables", sections, f"{len(pages)} tables"), folder / INDEX_PAGE)


def _progress(report: Report) -> str:
    finished = sum(row.state == DONE for row in report.trained)
    return f"{finished} of {len(report.trained)} rows finished"


def _overview(report: Report) -> Section:
    table = report.table
    facts: list[list[Cell]] = [
        ["source of the published values", table.source],
        ["cost at scale=paper", table.cost],
        ["scale", report.scale or "run folders, without a sweep"],
        ["checkpoint", report.checkpoint],
        ["baseline of the tests", report.row(table.baseline).row.label if table.baseline else None],
        ["seeds", ", ".join(str(s) for s in sorted({t.seed for r in report.trained for t in r.trainings})) or None],
        ["rows", _progress(report)],
    ]
    return Section("Overview", tables=[HtmlTable("", ["", ""], facts)], code=command_text(report))


def _values_text(report: Report) -> str:
    text = "Mean and standard deviation (n - 1) over seeds. * marks the best trained row."
    if report.scale not in ("", "paper"):
        text += f" At scale={report.scale} another recipe was trained: published values are shown, not reproduced."
    return text


def _value_tables(report: Report) -> list[HtmlTable]:
    """As the terminal has them; no-break spaces keep the indent of lines that belong to the row above."""

    def text(words: Words) -> str:
        indent = len(words.text) - len(words.text.lstrip())
        mark = f" [{words.mark}]" if words.mark else ""
        return "\N{NO-BREAK SPACE}" * 2 * indent + words.text.lstrip() + (" *" if words.best else "") + mark

    return [HtmlTable(b.title, b.header, [[text(words) for words in row] for row in b.rows]) for b in blocks(report)]


def _measured(report: Report, column: Column) -> bool:
    return any(row.cells[column.name].interval is not None for row in report.trained)


def _statistics(report: Report, column: Column) -> HtmlTable:
    """All numbers of a column, a line per trained row."""
    unit = report.unit(column)
    rows: list[list[Cell]] = []
    for row in report.trained:
        v = row.cells[column.name]
        if v.mean is None:
            continue
        against = v.against
        rows.append(
            [
                row.row.label,
                unit.text(v.mean),
                unit.text(v.std),
                ", ".join(f"{seed}: {unit.text(value)}" for seed, value in sorted(v.values.items())),
                interval_text(v.interval, unit),
                unit.text(v.paper),
                unit.signed(v.difference),
                unit.text(v.counted),
                unit.signed(against.difference) if against else None,
                f"[{unit.signed(against.low)}, {unit.signed(against.high)}]" if against else None,
                p_text(against.p) if against else None,
                v.faces,
            ]
        )
    header = [
        "row", "mean", "std over seeds", "by seed", "95 % interval", "published", "ours - published", "counted",
        "difference to the baseline", "its 95 % interval", "p", "faces",
    ]  # fmt: skip
    return HtmlTable(heading(column), header, rows)


def _figures(figures: Sequence[Drawn]) -> Section:
    text = "Each is also in the folder figures, as PNG and as SVG."
    return Section("Figures", text, [Picture.of_file(f.path, f.caption) for f in figures])


def _unfinished(report: Report) -> list[Section]:
    """Trainings without a result, with the reason and where the log lies."""
    rows: list[list[Cell]] = [
        [e.label, e.seed, e.state, e.why, None if e.folder is None else str(e.folder / LOG_FILE)]
        for e in unfinished(report)
    ]
    if not rows:
        return []
    header = ["row", "seed", "state", "why", "log"]
    text = "Run the command of this table again: what is done is skipped, the rest goes on from its last checkpoint."
    return [Section("Unfinished and failed", text, tables=[HtmlTable("", header, rows)])]


def _results(row: ReportRow) -> list[RunResult]:
    return [result for t in row.trainings if (result := t.result()) is not None]


def _protocol(report: Report) -> Section:
    """Fields of the protocol cards: once where all rows agree, by row where they differ."""
    cards = {r.row.label: _results(r)[0].protocol for r in report.trained if _results(r)}
    if not cards:
        return Section("Protocol", "No row is finished yet.")
    first = next(iter(cards.values()))
    differing = {name for card in cards.values() for name in first.differences(card)} - {"seed"}
    names = [f.name for f in fields(ProtocolCard) if f.name not in differing | {"seed"}]
    tables = [HtmlTable("The same for all rows", ["field", "value"], [[n, str(getattr(first, n))] for n in names])]
    if differing:
        order = [f.name for f in fields(ProtocolCard) if f.name in differing]
        rows: list[list[Cell]] = [[label, *(str(getattr(card, n)) for n in order)] for label, card in cards.items()]
        tables.append(HtmlTable("Differs between rows", ["row", *order], rows))
    return Section("Protocol", "What must be equal before two numbers may stand in one column.", tables=tables)


def _provenance(report: Report) -> Section:
    rows: list[list[Cell]] = []
    for row in report.trained:
        for t in row.trainings:
            result = t.result()
            if result is None:
                continue
            made = result.provenance
            commit = (made.commit or "unknown")[:12] + (" with uncommitted changes" if made.dirty else "")
            minutes = f"{made.train_seconds / 60:.1f}" if made.train_seconds is not None else None
            versions = f"torch {made.versions.get('torch', '-')}, Python {made.python}"
            rows.append([row.row.label, t.seed, t.folder.name, commit, made.device, made.started_at, minutes, versions])
    header = ["row", "seed", "folder", "commit", "device", "started", "training [min]", "versions"]
    commands = "\n".join(
        f"# {row.row.label}, seed {t.seed}\npython train.py {shlex.join(t.overrides)}"
        for row in report.trained
        for t in row.trainings
        if t.overrides
    )
    text = f"Folders lie in {report.folder}. The commands below train single rows again."
    return Section("Provenance", text, tables=[HtmlTable("", header, rows)], code=commands)
