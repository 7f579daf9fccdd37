"""The facegraph command: everything around training that is not train.py or eval.py."""

from __future__ import annotations

import typer

from facegraph.cli.bench import bench
from facegraph.cli.doctor import doctor
from facegraph.cli.inspect import inspect
from facegraph.cli.models import graph, summary
from facegraph.cli.prepare import prepare

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)


@app.callback()
def facegraph() -> None:
    """Facial landmark detection: prepare and check data, look at models. train.py trains, eval.py scores."""


for command in (prepare, doctor, inspect, summary, graph):
    app.command()(command)
app.add_typer(bench, name="bench", help="Measure speed on this machine.")
