"""What a configuration that lies in a run folder may build: the folder may come from somebody else.

Whoever wrote it chooses the names of what is built and its arguments. So the names are those that conf/ and sweeps/ of
this checkout build, compared letter by letter, and those that the user names: on the command line, or in the
environment. Nothing in the folder can add to them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from facegraph.errors import ConfigError
from facegraph.runs import plugins

TARGET = "_target_"
_OF_INSTANTIATE = (TARGET, "_partial_", "_convert_")
# Hydra composes by the first and configures itself by the second: a saved configuration is composed already
_OF_COMPOSING = ("defaults", "hydra")
_IN_FILES = re.compile(r"_target_\s*[:=]\s*[\"']?([A-Za-z_][\w.]*)")
_INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*\$\{")


@cache
def known_targets(root: Path) -> frozenset[str]:
    """Names that the files of conf/ and sweeps/ in a checkout build, or say in a comment that they could.

    What configures Hydra itself is not among them.
    """
    files = [path for name in ("conf", "sweeps") for path in (root / name).rglob("*.yaml")]
    ours = [path for path in files if root / "conf" / "hydra" not in path.parents]
    return frozenset(name for path in ours for name in _IN_FILES.findall(path.read_text(encoding="utf-8")))


def targets_of(config: Any) -> Iterator[str]:
    """Names of all that plain values of a configuration build."""
    for key, _, value in _walk(config):
        if key == TARGET:
            yield str(value)


def check_trusted(
    config: Mapping[str, Any],
    where: Path,
    root: Path,
    find: Callable[[str], Any] | None,
    at_hand: Iterable[str] = (),
) -> None:
    """Check a saved configuration before anything sees it.

    Args:
        config: its plain values.
        where: its file, for the message.
        root: the checkout that says what can be built.
        find: name -> what has it; called for known names only. None: nothing is imported.
        at_hand: names that the user's own command builds.

    Raises:
        ConfigError: it builds something that is not known, or anything but a class or a function of a module; it has a
        value that would be read from the environment or another setting, or a key that Hydra composes by.
    """
    allowed = known_targets(root) | frozenset(at_hand)
    for key, place, value in _walk(config):
        if key in _OF_COMPOSING or (key.startswith("_") and key not in _OF_INSTANTIATE):
            raise ConfigError(f"{where} has the key '{place}', which no configuration of a run has. Remove it.")
        if isinstance(value, str) and _INTERPOLATION.search(value):
            raise ConfigError(
                f"{where} has {place}: {value}, which is taken from elsewhere, but a run keeps values. Write the value "
                "itself."
            )
        if key == TARGET:
            if not isinstance(value, str) or not (value in allowed or plugins.trusts(value)):
                raise ConfigError(
                    f"{where} wants to build '{value}' ({place}), which conf/ builds nowhere. If it is your own, "
                    f"or you trust whoever the folder comes from, name it or its package: {plugins.VARIABLE}={value}"
                )
            if find is not None:
                _check_kind(find, value, f"{where} wants to build '{value}' ({place})")


def _check_kind(find: Callable[[str], Any], target: str, what: str) -> None:
    try:
        found = find(target)
    except Exception as error:  # whatever importing a module raises
        raise ConfigError(f"{what}, which cannot be imported: {error}. Correct the name, or install it.") from error
    if not (inspect.isclass(found) or (inspect.isfunction(found) and "." not in found.__qualname__)):
        raise ConfigError(f"{what}, which is neither a class nor a function of a module. Remove it.")


def _walk(node: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """(key, all keys above it and it with dots between, value) of each value, mappings and lists among them."""
    if isinstance(node, Mapping):
        inner: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, list):
        inner = enumerate(node)
    else:
        return
    for key, value in inner:
        below = f"{place}.{key}" if place else str(key)
        yield str(key), below, value
        yield from _walk(value, below)
