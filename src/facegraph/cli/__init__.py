"""The facegraph command: what train.py and eval.py do, and everything around it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from facegraph.machine.threads import limit_waiting

PROGRAMS = {
    "train": "Train, test and report: settings as for train.py, such as experiment=scc_wflw.",
    "eval": "Score a finished run: settings as for eval.py, such as run=<output folder>.",
}
"""Programs of Hydra, which reads their command lines itself: a module each in this package."""
COMMANDS = {
    "prepare": (
        "prepare",
        "Cut the faces of a benchmark out of its photographs and store them with their annotations.",
    ),
    "doctor": (
        "doctor",
        "Check a prepared store: counts, duplicates and leaks between splits, landmarks that cannot be right.",
    ),
    "inspect": (
        "inspect",
        "Contact sheets, figures and one HTML page: annotations, crops, augmentation, odd shapes, poses, boxes.",
    ),
    "convert": ("convert", "Turn weights that authors released into a run folder."),
    "bench": ("bench", "Measure speed and memory on this machine."),
    "report": (
        "report",
        "Print tables beside the paper's values and write them as Markdown, LaTeX, CSV and a page with figures.",
    ),
    "compare": ("compare", "Where one run is better than another: subsets, landmarks, faces."),
    "rescore": (
        "rescore",
        "Any metric again from predictions.parquet, without the model: by another normaliser, threshold or subset.",
    ),
    "dashboard": ("dashboard", "Log a sweep's report to wandb and lay out a dashboard of its rows."),
    "summary": ("models", "Parameters, multiply-adds and latency of the model that these overrides compose."),
    "graph": ("models", "Landmark graph of a file of landmarks or of a data set's training faces."),
}
"""Command -> its module in this package, and a line for the list of commands."""


class CommandsOnDemand(TyperGroup):
    """Imports a command when it is called: Lightning and timm take seconds, which prepare and doctor do not need."""

    # typer brings a click of its own, whose types have no public name: hence Any
    def list_commands(self, ctx: Any) -> list[str]:
        return [*PROGRAMS, *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list of commands shows; resolve_command gives the command itself."""
        told = {**PROGRAMS, **{name: help_text for name, (_, help_text) in COMMANDS.items()}}
        return TyperCommand(cmd_name, help=told[cmd_name]) if cmd_name in told else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest


def load(name: str) -> Any:
    """A command, from the module that defines it, which may import torch."""
    limit_waiting(os.environ)
    found = getattr(import_module(f"facegraph.cli.{COMMANDS[name][0]}"), name)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    alone = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(cls=CommandsOnDemand, add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)


@app.callback()
def facegraph() -> None:
    """Facial landmark detection: train and score, prepare and check data, look at models, report."""


def main() -> None:
    """The console command."""
    words = sys.argv[1:]
    if words and words[0] in PROGRAMS:
        # a program of its own, as which Lightning starts it again for further devices
        os.execv(sys.executable, [sys.executable, "-m", f"facegraph.cli.{words[0]}", *words[1:]])
    app()
