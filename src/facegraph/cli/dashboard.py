"""facegraph dashboard: a sweep's report and panels on wandb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facegraph.cli.guard import guarded
from facegraph.tracking.dashboard import publish


def dashboard(
    sweep: Annotated[Path, typer.Argument(help="Folder of a sweep whose jobs were logged with logger=wandb.")],
    report: Annotated[
        Path | None, typer.Option(help="Folder that facegraph report wrote; default: <sweep>/report.")
    ] = None,
    project: Annotated[str, typer.Option(help="As logger.wandb.project.")] = "facegraph",
    entity: Annotated[str | None, typer.Option(help="User or team; default: the account's own.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Write files only; wandb sync sends them later.")] = False,
) -> None:
    """Log a sweep's report to wandb and lay out a dashboard of its rows: curves, bars, faces, report."""
    guarded(lambda: publish(sweep, report or sweep / "report", project, entity, offline, print))
