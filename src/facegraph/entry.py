"""What train.py and eval.py do around a run: errors as messages, mistyped settings, data of a finished run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from facegraph.checkpoint import read_config
from facegraph.compose import compose
from facegraph.errors import FacegraphError


def guarded(entry: Callable[[DictConfig], Any], cfg: DictConfig, keep_raising: bool = False) -> None:
    """Run an entry point; an error that the user can act on is printed as one message, without a traceback.

    keep_raising: leave errors to the caller, who runs several entries in one process.
    """
    if keep_raising:
        entry(cfg)
        return
    try:
        entry(cfg)
    except FacegraphError as error:
        # a loader process passes its traceback on as the message
        sys.exit(f"error: {str(error).rsplit('facegraph.errors.', 1)[-1]}")
    except OmegaConfBaseException as error:
        sys.exit(f"error: {str(error).strip()}")


def refuse_mistyped(arguments: list[str], config_name: str) -> None:
    """Compose before Hydra does, because its own message on a mistyped key does not list what exists."""
    if any(argument.startswith(("-", "sweeps=")) for argument in arguments):
        return  # --help and the like, or a sweep, whose values are lists and whose jobs are composed one by one
    try:
        compose(arguments, config_name)
    except FacegraphError as error:
        sys.exit(f"error: {error}")


def offer_data_of_run(arguments: list[str]) -> None:
    """Make data set and boxes of the run named on the command line choices of their groups, so that their settings can
    be overridden one by one (dataset.root=...) or the whole replaced (dataset=...)."""
    run = next((a.split("=", 1)[1] for a in arguments if a.startswith("run=")), None)
    try:
        saved = read_config(Path(run)) if run else {}
        for group in ("dataset", "box"):
            ConfigStore.instance().store(group=group, name="of_the_run", node=saved.get(group, {}))
    except FacegraphError as error:
        sys.exit(f"error: {error}")
