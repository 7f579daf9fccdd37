"""What train.py and eval.py do around a run: errors as messages, values that cannot be used."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from facegraph.errors import FacegraphError
from facegraph.records.overrides import for_shell
from facegraph.runs.compose import compose
from facegraph.runs.configuration import CONFIG_FILE, composes_alone
from facegraph.runs.folder import is_first_process
from facegraph.sweeps.failures import request_of


def guarded(entry: Callable[[DictConfig], Any], cfg: DictConfig) -> None:
    """Run an entry point; an error that the user can act on is printed as one message, without a traceback.

    A run that is asked to end (Ctrl-C, SIGTERM) says how to go on and ends with 128 + the signal, as shells have it.
    """
    try:
        entry(cfg)
    except FacegraphError as error:
        # a loader process passes its traceback on as the message
        sys.exit(f"error: {str(error).rsplit('facegraph.errors.', 1)[-1]}")
    except (OmegaConfBaseException, MisconfigurationException) as error:
        sys.exit(f"error: {str(error).strip()}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or cfg.get("output_dir") or "the output folder"
        sys.exit(f"error: {error.strerror}: {where}. Make room there. {_how_to_go_on(cfg)}")
    except (KeyboardInterrupt, SystemExit) as error:
        asked = request_of(error)
        if asked is None:
            raise
        if is_first_process():
            print(f"\nended by {asked.name}. {_how_to_go_on(cfg)}", file=sys.stderr)
        sys.exit(128 + asked)


def _how_to_go_on(cfg: DictConfig) -> str:
    if cfg.get("run"):
        return "The same command scores the run again."
    folder = cfg.get("resume") or cfg.get("output_dir")
    if not folder or not (Path(folder) / CONFIG_FILE).is_file():
        return "Nothing was trained yet: the same command starts again."
    if cfg.get("sweep") and cfg.sweep.identity is not None:
        return "The sweep's command again goes on with it."
    return f"It goes on from its last whole checkpoint with: python train.py {for_shell('resume', str(folder))}"


def refuse_unusable(arguments: Sequence[str], config_name: str) -> None:
    """End the program where a value of its command line cannot be used; names were checked before torch was there."""
    if not composes_alone(arguments):
        return
    try:
        compose(arguments, config_name)
    except FacegraphError as error:
        sys.exit(f"error: {error}")
