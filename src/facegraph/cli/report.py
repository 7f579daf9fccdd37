"""facegraph report: tables of a sweep, or of runs, beside the published values."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from facegraph.cli.guard import guarded
from facegraph.errors import ConfigError, RunError
from facegraph.machine.screen import Screen
from facegraph.reports.table.cells import Report
from facegraph.reports.table.reading import runs_report, sweep_reports
from facegraph.reports.table.text import to_rich
from facegraph.reports.table.writing import REPORT_FOLDER, folder_name, write_indices, write_report
from facegraph.sweeps.manifest import TABLES_FOLDER, is_sweep

_NARROW, _WIDE = 80, 160


def report(
    folders: Annotated[list[Path], typer.Argument(help="A sweep (sweep_dir), or run folders, which make a table.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; default: <sweep>/report/<table>, outputs/report/<time>.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="One table of the sweep; default: all of them.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="last or best; default: the table's.")] = None,
    mix_protocols: Annotated[
        bool, typer.Option("--mix-protocols", help="Print rows of different protocols together, with footnotes.")
    ] = False,
    no_page: Annotated[bool, typer.Option("--no-page", help="Leave page and figures out.")] = False,
) -> None:
    """Print tables beside the paper's values and write them as Markdown, LaTeX, CSV and a page with figures.

    Reads a sweep at any time: rows that wait, run or failed are shown as such. Numbers have the spread over seeds, a
    95 % bootstrap interval over test faces and a paired test against the table's baseline.
    """
    guarded(lambda: _report(folders, out, table, checkpoint, mix_protocols, not no_page))


def _report(
    folders: Sequence[Path], out: Path | None, table: str | None, checkpoint: str | None, mix: bool, page: bool
) -> None:
    note = Screen(stderr=True)
    sweeps = [folder for folder in folders if is_sweep(folder)]
    if not sweeps:
        if table is not None:
            raise ConfigError(
                f"--table {table} chooses among the tables of a sweep; run folders make one of their own."
            )
        place = out or Path("outputs") / REPORT_FOLDER / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        _print_and_write([(runs_report(folders, checkpoint, mix), place)], page, note)
        return
    if len(folders) > 1:
        raise RunError(
            f"{len(folders)} folders were given, the sweep {sweeps[0]} among them; a report is of one sweep, or of run "
            "folders. Call it once for each sweep."
        )
    sweep = sweeps[0]
    with note.status(f"reading {sweep}"):
        reports = sweep_reports(sweep, table, checkpoint, mix)
    several = len(list((sweep / TABLES_FOLDER).glob("*.json"))) > 1
    above = out or sweep / REPORT_FOLDER
    places = [above / folder_name(r) if out is None or len(reports) > 1 else above for r in reports]
    _print_and_write(list(zip(reports, places, strict=True)), page, note)
    if several and table is None:
        for path in write_indices(reports, above, page):
            note.print(f"index in {path}", highlight=False, markup=False, soft_wrap=True)


def _print_and_write(entries: Sequence[tuple[Report, Path]], page: bool, note: Console) -> None:
    width = max(_NARROW, min(shutil.get_terminal_size((120, 24)).columns, _WIDE))
    console = Screen(width=width)
    for found, place in entries:
        console.print(to_rich(found, width))  # before its figures, which take seconds
        console.print()
        # a bar that runs while the table is printed would stand in its lines
        with Progress(console=note, transient=True) as progress:
            step = progress.add_task(found.table.name, total=None)
            paths = write_report(
                found,
                place,
                page,
                done=lambda what, name=found.table.name: progress.update(step, description=f"{name}: {what}"),  # type: ignore[misc]  # noqa: B023
            )
        names = ", ".join(path.name for path in paths)
        note.print(f"{names} in {place}", highlight=False, markup=False, soft_wrap=True)
