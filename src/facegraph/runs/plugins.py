"""Packages of one's own that facegraph finds options and classes in: FACEGRAPH_PLUGINS=mylab or plugins=[mylab].

What is named has its conf/ on Hydra's search path, tables under conf/sweeps among it, and its classes may be built from
run folders. Only the user's command line and environment name it, never a file of a run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from facegraph.errors import ConfigError

VARIABLE = "FACEGRAPH_PLUGINS"
"""Names with commas between them: of packages, or of single classes."""
_KEY = "plugins"
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def named(environment: Mapping[str, str] | None = None) -> list[str]:
    """Plug-ins that an environment names, by default this process's."""
    text = (os.environ if environment is None else environment).get(VARIABLE, "")
    return [name for name in re.split(r"[,\s]+", text) if name]


def with_plugins(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """An environment that names further plug-ins."""
    return {**environment, VARIABLE: ",".join(dict.fromkeys((*named(environment), *names)))}


def enable(overrides: Iterable[str]) -> None:
    """Name the plug-ins of a command line in the environment, which processes started from here inherit.

    Raises:
        ConfigError: what is named is no package that can be imported.
    """
    given: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == _KEY and value != "null":
            given += [name for name in re.split(r"[\[\],\s'\"]+", value) if name]
    for name in (*named(), *given):
        folder_of(name)
    if given:
        os.environ.update(with_plugins(os.environ, given))


def trusts(target: str) -> bool:
    """Whether a name of a class or function is a plug-in, or lies in one."""
    return any(target == name or target.startswith(f"{name}.") for name in named())


def conf_folders() -> list[Path]:
    """conf/ of each plug-in that has one.

    Raises:
        ConfigError: as `folder_of`.
    """
    folders = [folder_of(name) for name in named()]
    return [folder / "conf" for folder in folders if folder is not None and (folder / "conf").is_dir()]


def folder_of(name: str) -> Path | None:
    """Folder of a package; None for a module or a class.

    Raises:
        ConfigError: no Python name, or its package cannot be imported.
    """
    top = name.split(".", 1)[0]
    if not _NAME.fullmatch(name) or find_spec(top) is None:
        raise ConfigError(
            f"{VARIABLE} or {_KEY}= names '{name}', which cannot be imported here. Install the package with "
            "pip install -e <its folder>, or put the folder above it into PYTHONPATH."
        )
    if name != top:
        return None
    places = find_spec(top).submodule_search_locations  # type: ignore[union-attr]
    return Path(next(iter(places))) if places else None
