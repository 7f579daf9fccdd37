"""The report and the dashboard of a sweep on wandb."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from facegraph.errors import RunError
from facegraph.files.atomic import write_atomically
from facegraph.records.owned import LIST, owned_files
from facegraph.sweeps.manifest import read_sweep
from facegraph.sweeps.table import Table
from facegraph.tracking.names import REPORT
from facegraph.tracking.session import LONGEST_TAG, group_of, quiet, staged_in

if TYPE_CHECKING:
    import wandb

VIEW_FILE = "dashboard.url"
_OFFLINE = ("offline", "dryrun")
_DISABLED = "disabled"


def publish(
    sweep: Path, report: Path, project: str, entity: str | None, offline: bool, say: Callable[[str], None]
) -> None:
    """Log a sweep's report as an artifact, page and tables of a run of the sweep's group; online, lay out a dashboard.

    Offline, everything lies below <sweep>/wandb until `wandb sync` sends it. The dashboard is a saved view, made once:
    its address is kept in <sweep>/dashboard.url, and what was changed in it by hand stays.

    Args:
        report: folder that facegraph report wrote.
        project, entity: as the runs were logged with.
        say: told what was done and what was left out, line by line.

    Raises:
        RunError: no sweep or no report lies there, or wandb cannot be reached.
    """
    import wandb

    tables, sweep = [entry.table for entry in read_sweep(sweep)], Path(os.path.abspath(sweep))
    files = _files(report)
    shown = {_key(path, report): path for path in files if path.suffix in _SHOWN}
    if os.environ.get("WANDB_MODE") == _DISABLED:
        raise RunError(
            f"WANDB_MODE={_DISABLED} keeps wandb from logging anything, so there is no dashboard to make. Unset it, or "
            "set WANDB_MODE=offline."
        )
    offline = offline or os.environ.get("WANDB_MODE") in _OFFLINE
    try:
        run = _start(sweep, [table.name for table in tables], project, entity, offline)
        with run, staged_in(sweep):
            _log(run, report, files, shown)
        if offline:
            say(f"Logged {len(files)} files of the report. To send them: wandb sync {Path(run.dir).parent}")
            say("Left the dashboard out, because it needs wandb's server; run this again without --offline.")
        else:
            say(f"Logged {len(files)} files of the report: {run.url}")
            lay_out(sweep, shown, run, tables, say)
    except (wandb.errors.Error, OSError) as error:
        raise RunError(
            f"wandb did not take the report of {sweep}: {str(error).rstrip('.')}. Log in (wandb login), check "
            "--project and --entity, or give --offline."
        ) from error


def _start(sweep: Path, tables: Sequence[str], project: str, entity: str | None, offline: bool) -> wandb.Run:
    import wandb

    group = group_of(sweep)
    return wandb.init(
        project=project,
        entity=entity,
        id=f"{REPORT}.{group}",
        name=f"{REPORT} {group}",
        group=group,
        job_type=REPORT,
        tags=[name[:LONGEST_TAG] for name in tables],
        dir=sweep,
        mode="offline" if offline else "online",
        resume="allow",
        settings=quiet(offline),
    )


def _log(run: wandb.Run, report: Path, files: Sequence[Path], shown: Mapping[str, Path]) -> None:
    import wandb

    artifact = wandb.Artifact(f"{REPORT}-{run.group}", type=REPORT)
    for path in files:
        artifact.add_file(str(path), name=path.relative_to(report).as_posix())
    run.log_artifact(artifact)
    run.log({key: _SHOWN[path.suffix](path) for key, path in shown.items()})


def _page(path: Path) -> object:
    import wandb

    return wandb.Html(str(path), inject=False)


def _table(path: Path) -> object:
    import wandb

    frame = pd.read_csv(path).astype(object)
    rows: list[Iterable[Any]] = [*frame.where(frame.notna(), None).values.tolist()]
    return wandb.Table(columns=list(frame.columns), data=rows)


_SHOWN: dict[str, Callable[[Path], object]] = {".html": _page, ".csv": _table}


def _key(path: Path, report: Path) -> str:
    """Name under which a file of the report is shown; a dot would make a panel look for a nested value."""
    return f"{REPORT}/" + re.sub(r"[^\w/-]", "_", path.relative_to(report).as_posix())


def _files(report: Path) -> list[Path]:
    """The files that facegraph report lists as its own, those at the top first; others that lie there stay here."""
    folders = [path.parent for path in Path(report).rglob(LIST)]
    listed = {folder / name for folder in folders for name in owned_files(folder)}
    found = sorted((path for path in listed if path.is_file()), key=lambda p: (len(p.parts), p))
    if not any(path.suffix == ".html" for path in found):
        raise RunError(
            f"{report} holds no report with a page. Write it first, without --no-page: facegraph report <sweep folder>."
        )
    return found


def lay_out(
    sweep: Path, shown: Mapping[str, Path], run: wandb.Run, tables: Sequence[Table], say: Callable[[str], None]
) -> None:
    """Save a workspace for the tables of a logged report, once per sweep.

    Args:
        sweep: folder of the sweep, which keeps the workspace's address.
        shown: name under which a page was logged -> its file.
        run: that the report was logged to.
        tables: of the sweep.
        say: called with where the workspace is, or why there is none.
    """
    known = sweep / VIEW_FILE
    if known.exists():
        say(f"The dashboard is at {known.read_text().strip()}. For a new one delete {known}.")
        return
    try:
        from facegraph.tracking.layout import workspace
    except ImportError:
        say("Left the dashboard out: it needs wandb-workspaces. pip install 'facegraph[dashboards]'")
        return
    view = workspace(group_of(sweep), tables, list(shown), run.entity, run.project).save()
    write_atomically(known, f"{view.url}\n".encode())
    say(f"Laid out the dashboard: {view.url}")
