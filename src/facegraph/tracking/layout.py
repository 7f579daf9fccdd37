"""The panels of a sweep's dashboard on wandb, in order; needs the extra facegraph[dashboards]."""

from __future__ import annotations

from collections.abc import Sequence

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as views
from wandb_workspaces import expr

from facegraph.metrics.names import NME
from facegraph.sweeps.table import Column, Table
from facegraph.tracking.names import FACES, OF_PROVENANCE, PICTURES, STEP, score_name
from facegraph.training.task import TRAIN_LOSS, VAL_NME
from facegraph.training.throughput import THROUGHPUT

ROW = "JobType"  # a job's type is its row
_SHOWN = ("ced", "per_landmark", "graph", "samples", "worst")
_RUNS = 60  # shown in one panel


def workspace(
    group: str, tables: Sequence[Table], reported: Sequence[str], entity: str, project: str
) -> views.Workspace:
    """A saved view of the project that shows one sweep; nothing is sent before its `save`.

    Curves by row, bars of every column per table, pictures and sample faces of every run, the report.

    Args:
        group: of the sweep's runs.
        tables: its tables, at least one.
        reported: names under which pages (..._html) and tables (..._csv) of the report are logged.
        entity: user or team of the runs.
        project: of the runs.
    """
    best = score_name(NME, tables[0].checkpoint)
    return views.Workspace(
        entity=entity,
        project=project,
        name=f"Sweep {group}",
        sections=[_report(reported), *(_columns(table) for table in tables), _curves(), _pictures()],
        settings=views.WorkspaceSettings(x_axis=STEP, max_runs=_RUNS),
        runset_settings=views.RunsetSettings(
            filters=[expr.Metric("Group") == group],
            groupby=[expr.Metric(ROW)],
            order=[expr.Ordering(expr.Summary(best), ascending=True)],
            pinned_columns=["run:displayName", "run:state", f"summary:{best}", f"summary:{VAL_NME}.min"],
        ),
    )


def metric_of(column: Column, checkpoint: str) -> str | None:
    """Name of a column's value in a run's summary; None for another condition, which only the report shows."""
    if column.evaluation is not None:
        return None
    if column.metric in OF_PROVENANCE:
        return column.metric
    return score_name(column.metric, checkpoint, column.subset or column.normaliser)


def _columns(table: Table) -> views.Section:
    shown = [(column, metric_of(column, table.checkpoint)) for column in table.columns]
    return views.Section(
        name=f"{table.name}: {table.title}",
        panels=[
            panels.BarPlot(
                title=column.label,
                metrics=[panels.SummaryMetric(metric)],
                groupby=ROW,
                groupby_aggfunc="mean",
                groupby_rangefunc="stddev",
                max_bars_to_show=_RUNS,
            )
            for column, metric in shown
            if metric is not None
        ],
        is_open=True,
    )


def _curves() -> views.Section:
    return views.Section(
        name="Training",
        panels=[
            _by_row("Validation NME", VAL_NME),
            _by_row("Training loss", TRAIN_LOSS),
            _by_row("Training faces per second", THROUGHPUT),
            panels.LinePlot(title="Learning rate", x=STEP, metric_regex="^lr-", max_runs_to_show=_RUNS),
        ],
        is_open=True,
    )


def _by_row(title: str, metric: str) -> panels.LinePlot:
    return panels.LinePlot(
        title=title,
        x=STEP,
        y=[metric],
        groupby=ROW,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_RUNS,
    )


def _pictures() -> views.Section:
    browsers = [panels.MediaBrowser(title=name, media_keys=[f"{PICTURES}/{name}"], num_columns=3) for name in _SHOWN]
    return views.Section(name="Faces", panels=[*browsers, panels.WeavePanelSummaryTable(table_name=FACES)])


def _report(reported: Sequence[str]) -> views.Section:
    pages = [panels.MediaBrowser(title=name, media_keys=[name], num_columns=1) for name in _ending(reported, "_html")]
    tables = [panels.WeavePanelSummaryTable(table_name=name) for name in _ending(reported, "_csv")]
    return views.Section(name="Report", panels=[*pages, *tables], is_open=True)


def _ending(names: Sequence[str], end: str) -> list[str]:
    return [name for name in names if name.endswith(end)]
