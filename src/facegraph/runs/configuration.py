"""Configurations as conf/ and a command line make them, before anything is built: no torch, so that a mistyped key is
answered at once.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facegraph.data.boxes import LANDMARKS, OFFICIAL, BoxPolicy, DetectorJitteredBox, LandmarkBox
from facegraph.errors import ConfigError, FacegraphError, RunError
from facegraph.files import plain_yaml
from facegraph.records.overrides import why_ambiguous, why_unreadable
from facegraph.runs import plugins
from facegraph.runs.trust import check_trusted

CONFIG_FILE = "config.yaml"
_CARRIED = "_project"
"""Folder of an installed package that has what lies at the top of a checkout: conf/ and sweeps/."""
_LANDMARK_BOX = LandmarkBox.__name__


def project_root() -> Path:
    """Folder that holds conf/ and sweeps/: $FACEGRAPH_ROOT, the checkout of this package, or the installed package.

    Raises:
        ConfigError: none of them holds conf/train.yaml.
    """
    package = Path(__file__).resolve().parents[1]
    given = os.environ.get("FACEGRAPH_ROOT")
    places = [Path(given)] if given else [package.parents[1], package / _CARRIED]
    for root in places:
        if (root / "conf" / "train.yaml").is_file():
            return root
    raise ConfigError(
        f"no conf/train.yaml in {' or '.join(map(str, places))}; set FACEGRAPH_ROOT to a checkout of facegraph, or "
        "install facegraph again."
    )


def composed(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """What conf/ makes of overrides; whether its values can be used is another matter, see compose.compose.

    Raises:
        ConfigError: an override that fits nothing; the message lists what exists.
    """
    GlobalHydra.instance().clear()
    if not os.environ.get("FACEGRAPH_DATA"):  # set but empty would make conf/dataset look in the root folder
        os.environ.pop("FACEGRAPH_DATA", None)
    plugins.enable(overrides)
    root = project_root()
    os.environ.setdefault("FACEGRAPH_ROOT", str(root))  # conf/train.yaml finds sweeps/ by it
    try:
        with initialize_config_dir(str(root / "conf"), version_base="1.3"):
            return hydra_compose(config_name, overrides=list(overrides))
    except OverrideParseException as error:
        raise ConfigError(why_unreadable(error.override)) from error
    except HydraException as error:
        raise ConfigError(explain(error, overrides, config_name)) from error
    except ValueError as error:  # a group that is given as no text, such as null where one is needed
        raise ConfigError(
            f"{' '.join(overrides)}: {error}. A group of settings takes a name of its options; "
            "~group leaves it out where nothing takes it."
        ) from error


def explain(error: HydraException, overrides: Sequence[str], config_name: str) -> str:
    """Hydra's message on overrides that fit nothing, with the names that exist; Hydra lists them for groups only."""
    message = str(error).split("\nConfig search path")[0]
    several = re.match(r"Ambiguous value for argument '(.*)'$", message, re.MULTILINE)
    if several is not None:
        return why_ambiguous(several.group(1))
    if message.startswith("Error merging override") and error.__cause__ is not None:
        return f"{message}: {str(error.__cause__).splitlines()[0]}"
    unknown = re.match(r"Could not override '([^']+)'", message)
    if unknown is None:
        return message
    key = unknown.group(1)
    others = [override for override in overrides if override.split("=", 1)[0].lstrip("+~") != key]
    node: Any = composed(others, config_name)
    above: list[str] = []
    for part in key.split("."):
        if not (OmegaConf.is_dict(node) and part in node):
            break
        above.append(part)
        node = node[part]
    names = sorted(str(name) for name in node if str(name)[0] != "_") if OmegaConf.is_dict(node) else []
    near = difflib.get_close_matches(key.split(".")[len(above)], names, n=1) if len(above) < key.count(".") + 1 else []
    place = f"'{'.'.join(above)}' has" if above else "there are"
    hint = f" Did you mean '{'.'.join([*above, near[0]])}'?" if near else ""
    return f"there is no setting '{key}'; {place}: {', '.join(names) or 'no settings of its own'}.{hint}"


def refuse_mistyped(arguments: Sequence[str], config_name: str) -> None:
    """End the program where its command line names a setting or an option that does not exist.

    Hydra's own messages on a mistyped key or value do not say what to write.
    """
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            try:
                OverridesParser.create().parse_override(argument)
            except HydraException:
                sys.exit(f"error: {why_unreadable(argument)}")
    if not composes_alone(arguments):
        return
    try:
        composed(arguments, config_name)
    except FacegraphError as error:
        sys.exit(f"error: {error}")


def composes_alone(arguments: Sequence[str]) -> bool:
    """Whether arguments are one configuration: not --help and the like, not a sweep, whose values are lists and whose
    jobs are composed one by one."""
    return not any(argument.startswith(("-", "sweeps=")) for argument in arguments)


def read_config(
    folder: Path, at_hand: Iterable[str] = (), find: Callable[[str], Any] | None = get_object
) -> DictConfig:
    """Configuration of a run, checked before anything is built of it or shown to Hydra.

    Args:
        folder: of the run.
        at_hand: names of classes that the user's own command builds, which the configuration may build as well.
        find: name -> class or function; None: nothing is imported, where nothing is built either.

    Raises:
        RunError: no run lies there, or its configuration is none.
        ConfigError: as facegraph.runs.trust.check_trusted.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise RunError(
            f"{folder} holds no run: {CONFIG_FILE} is missing. Give the output folder that train.py printed at its end."
        )
    try:
        config = OmegaConf.create(plain_yaml.read(path))
    except (OSError, yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}. Restore it from a backup.") from error
    if not isinstance(config, DictConfig) or not config:
        raise RunError(f"{path} is no configuration of a run; restore it from a backup.")
    plain: Any = OmegaConf.to_container(config, resolve=False)
    check_trusted(plain, path, project_root(), find, at_hand)
    return config


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
        FacegraphError: as read_config, which checks what Hydra is about to see.
    """
    saved = {} if run is None else read_config(run, find=None)
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
