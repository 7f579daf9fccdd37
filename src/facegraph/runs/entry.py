"""What train.py and eval.py do around a run: errors as messages, mistyped settings, data of a finished run."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from facegraph.data.boxes import LANDMARKS, OFFICIAL, BoxPolicy, DetectorJitteredBox, LandmarkBox
from facegraph.errors import FacegraphError
from facegraph.records.overrides import for_shell, why_unreadable
from facegraph.runs.compose import compose
from facegraph.runs.folder import CONFIG_FILE, is_first_process, read_config
from facegraph.sweeps.failures import request_of

_LANDMARK_BOX = LandmarkBox.__name__


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


def refuse_mistyped(arguments: list[str], config_name: str) -> None:
    """Compose before Hydra does, because its own messages on a mistyped key or value do not say what to write."""
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            try:
                OverridesParser.create().parse_override(argument)
            except HydraException:
                sys.exit(f"error: {why_unreadable(argument)}")
    if any(argument.startswith(("-", "sweeps=")) for argument in arguments):
        return  # --help and the like, or a sweep, whose values are lists and whose jobs are composed one by one
    try:
        compose(arguments, config_name)
    except FacegraphError as error:
        sys.exit(f"error: {error}")


def offer_data_of_named_run(arguments: Sequence[str]) -> None:
    """`offer_data_of_run` of the run that a command line of eval.py names, with errors as messages."""
    run = next((_value(a) for a in arguments if a.startswith("run=")), None)
    try:
        offer_data_of_run(Path(run) if run else None)
    except FacegraphError as error:
        sys.exit(f"error: {error}")


def offer_data_of_run(run: Path | None) -> None:
    """Make data set and boxes of a run choices of their groups, so that their settings can be overridden one by one
    (dataset.root=...) or the whole replaced (dataset=...). None: choices without settings.

    of_the_run: as the run has them. box=of_the_run_moved: the run's own crop (margin, side, and which box it goes
    around), with the box moved by box.shift, box.width and box.height, which by themselves move nothing.

    Raises:
        FacegraphError: as facegraph.runs.folder.read_config, which checks what Hydra is about to see.
    """
    saved = {} if run is None else read_config(run)
    store = ConfigStore.instance()
    for group in ("dataset", "box"):
        store.store(group=group, name="of_the_run", node=saved.get(group, {}))
    store.store(group="box", name="of_the_run_moved", node=moved_box(saved.get("box") or {}))


def _value(argument: str) -> str:
    """Of key=value as Hydra reads it: without quotes, which a path with a comma or a space at its end needs, and
    without the backslash before a ${ that is no interpolation.
    """
    try:
        override = OverridesParser.create().parse_override(argument)
        if override.is_sweep_override() or override.value() is None:
            return ""
        return str(OmegaConf.create({"value": override.value()}).value)
    except (HydraException, OmegaConfBaseException):
        return ""  # Hydra says what is wrong with it


def moved_box(box: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration of the box that is moved, of the configuration of a box as a run has it.

    The draws are those of seed 0, the same for all runs. A run that trained on moved boxes is scored around the box it
    moved. A policy of another kind has a box of its own, and none to move: it is taken for one around the official box.
    """
    kind = str(box.get("_target_", _LANDMARK_BOX)).rsplit(".", 1)[-1]
    kept = {key: box[key] for key in ("margin", "side", "fallback", "around") if key in box}
    around = LANDMARKS if kind == _LANDMARK_BOX else OFFICIAL
    still = {"shift": 0.0, "width": [1.0, 1.0], "height": [1.0, 1.0], "probability": 1.0, "scored_too": True}
    unsaid = {"margin": BoxPolicy.margin, "side": BoxPolicy.side, "fallback": True, "around": around, "seed": 0}
    return {"_target_": f"{DetectorJitteredBox.__module__}.{DetectorJitteredBox.__name__}", **unsaid, **kept, **still}
