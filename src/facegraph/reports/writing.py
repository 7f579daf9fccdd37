"""The files of a report: table.md, table.tex, table.csv, its page with figures, and an index of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from facegraph.records.files import write_atomically
from facegraph.reports.cells import Report
from facegraph.reports.layout import unfinished
from facegraph.reports.table_csv import to_frame
from facegraph.reports.table_text import subtitle, to_latex, to_markdown

MARKDOWN, LATEX, CSV, INDEX = "table.md", "table.tex", "table.csv", "index.md"
REPORT_FOLDER = "report"


def folder_name(report: Report) -> str:
    """Of a table within a folder of several: its name with dots."""
    return report.table.name.replace("/", ".")


def write_report(
    report: Report, folder: Path, page: bool = True, done: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Write a report into a folder; files of an earlier report are replaced, others stay.

    Args:
        page: write the page with its figures too, which takes seconds. done: called with what was written.

    Returns:
        what was written, the page last.

    Raises:
        RunError: a damaged result or file of predictions.
    """
    folder = Path(folder)
    contents = {
        MARKDOWN: to_markdown(report),
        LATEX: to_latex(report),
        CSV: to_frame(report).to_csv(index=False, lineterminator="\n"),
    }
    for name, text in contents.items():
        write_atomically(folder / name, text.encode())
        done(name)
    paths = [folder / name for name in contents]
    if page:
        # matplotlib takes a second to import
        from facegraph.reports.sweep_page import write_sweep_page

        paths.append(write_sweep_page(report, folder, done))
    return paths


def write_indices(reports: Sequence[Report], folder: Path, page: bool = True) -> list[Path]:
    """index.md, and index.html of the pages, of reports that lie below a folder under their `folder_name`."""
    folder = Path(folder)
    lines = ["# Tables", "", "| table | name | | not done |", "|---|---|---|---:|"]
    for report in reports:
        place = folder_name(report)
        link = f"[{report.table.title}]({place}/{MARKDOWN})"
        lines.append(f"| {link} | {report.table.name} | {subtitle(report)} | {len(unfinished(report))} |")
    write_atomically(folder / INDEX, ("\n".join(lines) + "\n").encode())
    paths = [folder / INDEX]
    if page:
        from facegraph.reports.sweep_page import PAGE, write_index

        pages = [(report, folder / folder_name(report) / PAGE) for report in reports]
        paths.append(write_index([entry for entry in pages if entry[1].is_file()], folder))
    return paths
