"""facegraph doctor: what is wrong with a prepared store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from facegraph.cli.guard import guarded
from facegraph.data.store.reader import FaceStore
from facegraph.doctor.checks import examine
from facegraph.doctor.examination import Examination
from facegraph.doctor.findings import ERROR, Finding, count_levels
from facegraph.doctor.report import to_dict, write_report

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def doctor(
    store: Annotated[Path, typer.Argument(help="Folder of a prepared store.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the report [outputs/doctor/<data set>].")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read crops; 0 for one per core.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Leave the content hash out.")] = False,
) -> None:
    """Check a prepared store: counts, duplicates and leaks between splits, landmarks that cannot be right.

    Ends with exit code 1 where a finding is an error, else with 0.
    """
    guarded(lambda: _doctor(store, as_json, out, workers, quick))


def _doctor(path: Path, as_json: bool, out: Path | None, workers: int, quick: bool) -> None:
    store = FaceStore(path)
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading crops", total=len(store))
        examination = Examination(store, workers, quick, advance=lambda count: progress.advance(task, count))
        findings = examine(examination)
        progress.update(task, description="drawing", completed=len(store))
        folder = write_report(
            examination, findings, out or Path("outputs/doctor") / store.info.dataset.replace("/", "_")
        )
    levels = count_levels(findings)
    if as_json:
        print(json.dumps({**to_dict(examination, findings), "report": str(folder)}, indent=2, ensure_ascii=False))
    else:
        console = Console()
        console.print(_table(findings, f"{store.info.dataset}, {len(store):,} faces, {path}"))
        summary = ", ".join(f"{count} {level}s" for level, count in levels.items() if level != "info")
        console.print(f"{summary}; report, csv and pictures in {folder}", soft_wrap=True, highlight=False, markup=False)
    if levels[ERROR]:
        raise typer.Exit(1)


def _table(findings: list[Finding], title: str) -> Table:
    table = Table(title=escape(title), show_lines=False)
    table.add_column("level", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for finding in findings:
        style = _STYLES[finding.level]
        table.add_row(f"[{style}]{finding.level}[/]", escape(finding.check), escape(finding.message))
    return table
