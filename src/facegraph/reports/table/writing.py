"""The files of a report: table.md, table.tex, table.csv, its page with figures, and an index of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from facegraph.errors import RunError
from facegraph.files.atomic import write_atomically
from facegraph.files.plain_csv import to_csv
from facegraph.records.owned import own, refuse_others
from facegraph.reports.table.cells import Report
from facegraph.reports.table.csv_file import to_frame
from facegraph.reports.table.layout import unfinished
from facegraph.reports.table.text import markdown, subtitle, to_latex, to_markdown

MARKDOWN, LATEX, CSV, INDEX = "table.md", "table.tex", "table.csv", "index.md"
PAGE, INDEX_PAGE = "report.html", "index.html"
REPORT_FOLDER = "report"


def folder_name(report: Report) -> str:
    """Of a table within a folder of several: its name with dots."""
    return report.table.name.replace("/", ".")


def write_report(
    report: Report, folder: Path, page: bool = True, done: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Write a report into a folder; files of an earlier report are replaced, figures that only it had removed.

    Args:
        page: write the page with its figures too, which takes seconds.
        done: called with what was written.

    Returns:
        the tables that were written and the page, which is last.

    Raises:
        RunError: a damaged file of predictions, files in the way that no report wrote, a folder that cannot be written.
    """
    folder = Path(folder)
    contents = {
        MARKDOWN: to_markdown(report),
        LATEX: to_latex(report),
        CSV: to_csv(to_frame(report)),
    }
    refuse_others(folder, [*contents, *([PAGE] if page else [])])
    with _writing(folder):
        for name, text in contents.items():
            write_atomically(folder / name, text.encode())
            done(name)
        paths = [folder / name for name in contents]
        own(folder, paths)
        if page:
            # matplotlib takes a second to import
            from facegraph.reports.table.page import FIGURES, write_sweep_page

            *drawn, written = write_sweep_page(report, folder, done)
            own(folder, [*paths, *drawn, written], FIGURES)
            paths.append(written)
    return paths


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A disk that does not take files as an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write the report to {folder}: {error}. Give another --out, or free space.") from error


def write_indices(reports: Sequence[Report], folder: Path, page: bool = True) -> list[Path]:
    """index.md, and index.html of the pages, of reports that lie below a folder under their `folder_name`.

    Raises:
        RunError: files in the way that no report wrote, a folder that cannot be written.
    """
    folder = Path(folder)
    refuse_others(folder, [INDEX, *([INDEX_PAGE] if page else [])])
    lines = ["# Tables", "", "| table | name | | not done |", "|---|---|---|---:|"]
    for report in reports:
        place = folder_name(report)
        link = f"[{markdown(report.table.title)}]({place}/{MARKDOWN})"
        told = (link, markdown(report.table.name), markdown(subtitle(report)), str(len(unfinished(report))))
        lines.append(f"| {' | '.join(told)} |")
    paths = [folder / INDEX]
    with _writing(folder):
        write_atomically(folder / INDEX, ("\n".join(lines) + "\n").encode())
        if page:
            from facegraph.reports.table.page import write_index

            pages = [(report, folder / folder_name(report) / PAGE) for report in reports]
            paths.append(write_index([entry for entry in pages if entry[1].is_file()], folder))
        own(folder, paths)
    return paths
