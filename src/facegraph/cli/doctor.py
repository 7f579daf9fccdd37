"""facegraph doctor: what is wrong with a prepared store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from facegraph.cli.guard import guarded
from facegraph.curation.doctor.checks import CHECKS, examine
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import ERROR, Finding, count_levels
from facegraph.curation.doctor.report import new_folder, to_dict, write_report
from facegraph.data.store.layout import file_name
from facegraph.data.store.reader import FaceStore
from facegraph.files import plain_json
from facegraph.machine.screen import Screen
from facegraph.machine.slots import cores

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def doctor(
    store: Annotated[Path, typer.Argument(help="Folder of a prepared store.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: outputs/doctor/<data set>.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read crops; 0 for one per core.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Leave the content hash out.")] = False,
) -> None:
    """Check a prepared store: counts, duplicates and leaks between splits, landmarks that cannot be right.

    Ends with exit code 0, or 1 where a finding is an error, or 2 where nothing could be checked.
    """
    guarded(lambda: _doctor(store, as_json, out, workers, quick), exit_code=2)


def _doctor(path: Path, as_json: bool, out: Path | None, workers: int, quick: bool) -> None:
    store = FaceStore(path)
    workers = workers or cores()
    folder = new_folder(out or Path("outputs/doctor") / file_name(store.info.dataset))
    with Progress(console=Screen(stderr=True), transient=True) as progress:
        steps = progress.add_task("", total=len(CHECKS) + 1, completed=-1)
        crops = progress.add_task("reading crops", total=len(store), visible=False)
        examination = Examination(
            store, workers, quick, advance=lambda count: progress.update(crops, advance=count, visible=True)
        )
        findings = examine(examination, begin=lambda name: progress.update(steps, advance=1, description=name))
        progress.update(steps, advance=1, description="drawing")
        write_report(examination, findings, folder)
    levels = count_levels(findings)
    if as_json:
        print(plain_json.dump({**to_dict(examination, findings), "report": str(folder)}))
    else:
        console = Screen()
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
