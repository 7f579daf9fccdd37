"""What settings may be: checked when a configuration is composed, before data are read or a job is started.

Kinds follow from the annotations of the constructors that `_target_` names; RULES holds what these do not say.
"""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from facegraph.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
FRAMES = ("procrustes", "box", "image")  # of facegraph.graph.correlation
_BEYOND = 2**63
_FILLED_IN = ("output_dir",)  # by train.py, where nothing is given
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_OPTION = "one of the group's options, or settings of its own with a _target_"
_SHORT_PRECISIONS = (32, "32", 16, "16", "bf16")  # as Lightning reads them, the 16 bits as mixed


@dataclass(frozen=True)
class Rule:
    """What a setting may be.

    Args:
        allows: whether a value can be used.
        needed: what can, in words, with an example or the reason.
    """

    allows: Callable[[Any], bool]
    needed: str


def whole(least: int, most: float = math.inf, null: bool = False) -> Callable[[Any], bool]:
    return lambda value: (value is None and null) or (_fits(value, int) and least <= value <= most)


def above_zero(value: Any) -> bool:
    return _fits(value, float) and value > 0


def at_least_zero(value: Any) -> bool:
    return value is None or (_fits(value, float) and value >= 0)


def share_or_count(value: Any) -> bool:
    return value is None or (above_zero(value) and (isinstance(value, int) or value <= 1))


def is_devices(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(whole(0)(index) for index in value)
    return value == "auto" or (_fits(value, int) and value != 0 and value >= -1)


def trains_so(value: Any) -> bool:
    return value in (*PRECISIONS, *_SHORT_PRECISIONS) and not isinstance(value, bool | float)


def is_path(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


_PATH = Rule(is_path, "null or a path; one in digits is written in quotes")
_BATCH = Rule(whole(1), "a whole number of faces, 1 or more")
_WORKERS = Rule(whole(0, 1024), "a whole number of processes, 0 or more and at most 1024")
_THRESHOLD = Rule(lambda value: value == "never" or at_least_zero(value), "null, never, or a number, 0 or more")
_PART = Rule(share_or_count, "a number of batches, 1 or more, or a share of them, above 0.0 and at most 1.0")
_PRECISION = Rule(trains_so, f"one of {', '.join(PRECISIONS)}, which all models here compute in")

RULES: dict[str, Rule] = {
    "name": Rule(lambda value: value not in (None, ""), "a text, the first part of the output folder"),
    "seed": Rule(whole(0, 2**32 - 1), f"a whole number from 0 to {2**32 - 1}"),
    "init_from": _PATH,
    "resume": _PATH,
    "output_dir": _PATH,
    "sweep_dir": _PATH,
    "run": Rule(lambda value: value is not None and is_path(value), "the folder of a finished run"),
    "checkpoint": Rule(lambda value: value in ("last", "best"), "last or best"),
    "model.quit_threshold": _THRESHOLD,
    "model.fail_threshold": _THRESHOLD,
    "graph.frame": Rule(lambda value: value in FRAMES, f"one of {', '.join(FRAMES)}"),
    "test_time_flip": Rule(lambda value: value is None or isinstance(value, bool), "true or false"),
    "input_size": Rule(whole(1), "one whole number: the side in px of the crop, which is a square"),
    "eval_batch_size": _BATCH,
    "num_workers": _WORKERS,
    "precision": Rule(lambda value: value is None or trains_so(value), f"null, or {_PRECISION.needed}"),
    "data.batch_size": _BATCH,
    "data.eval_batch_size": _BATCH,
    "data.num_workers": _WORKERS,
    "trainer.max_epochs": Rule(whole(1), "a whole number, 1 or more: the schedule of the learning rate ends with it"),
    "trainer.max_steps": Rule(lambda value: whole(-1)(value) and value != 0, "1 or more, or -1 for no limit"),
    "trainer.devices": Rule(is_devices, "a number of devices, 1 or more, -1 for all, a list of GPUs, or auto"),
    "trainer.precision": _PRECISION,
    "trainer.accumulate_grad_batches": Rule(whole(1), "a whole number of batches, 1 or more"),
    "trainer.gradient_clip_val": Rule(at_least_zero, "null or a number, 0 or more"),
    "trainer.check_val_every_n_epoch": Rule(whole(1, null=True), "a whole number of epochs, 1 or more"),
    "trainer.val_check_interval": _PART,
    "trainer.limit_train_batches": _PART,
    "trainer.limit_test_batches": _PART,
    "optimizer.lr": Rule(lambda value: value is not None and at_least_zero(value), "a number, 0 or more"),
    "optimizer.weight_decay": Rule(at_least_zero, "a number, 0 or more"),
    "optimizer.momentum": Rule(at_least_zero, "a number, 0 or more"),
}


_FACES = ("dataset", "box", "trainer")
NEEDED = {
    "train": (*_FACES, "augment", "normalise", "model", "loss", "optimizer", "scheduler", "logger", "callbacks"),
    "eval": _FACES,
}
"""Groups of each entry that something has to be chosen of; others are asked for by those that take them."""


def check(config: Mapping[str, Any], build: Callable[[str], Any], needed: Sequence[str] = ()) -> None:
    """Check a configuration, plain values in which interpolations are texts.

    Args:
        config: of train.py or eval.py.
        build: name of a `_target_` -> the class or function; ImportError or the like where there is none, which
            building it will say.
        needed: groups that must be there, see NEEDED.

    Raises:
        ConfigError: a value out of range, of the wrong kind, or for a setting that does not exist; a setting or a group
            that is needed and not there.
    """
    for group in needed:
        value, _ = setting_at(config, group)
        # eval.py without run=, which it asks for itself, has empty groups
        if not isinstance(value, Mapping) or not (value or "run" in config):
            raise _unusable(group, value, _OPTION)
    for key, value in _numbers(config):
        if not (math.isfinite(value) and abs(value) < _BEYOND):
            raise _unusable(key, value, "a finite number, below 2^63")
    for key, rule in RULES.items():
        value, given = setting_at(config, key)
        if given and not _open(value) and not rule.allows(value):
            raise _unusable(key, value, rule.needed)
    for place, node in _targets(config):
        parameters = _parameters(node["_target_"], build)
        if parameters is not None:
            _check_arguments(config, place, node, parameters)


def setting_at(config: Mapping[str, Any], key: str) -> tuple[Any, bool]:
    """Value under a dotted key, and whether there is one."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None, False
        node = node[part]
    return node, True


def _check_arguments(config: Mapping[str, Any], place: str, node: Mapping[str, Any], parameters: _Parameters) -> None:
    for name, written in node.items():
        if name.startswith("_"):
            continue
        if name not in parameters.by_name and parameters.more:
            continue
        if name not in parameters.by_name:
            raise ConfigError(f"there is no setting '{place}.{name}'; '{place}' has: {', '.join(parameters.by_name)}.")
        key, value = _followed(config, f"{place}.{name}", written)
        kinds = parameters.by_name[name].kinds
        later = value is None and key in _FILLED_IN
        if not (later or _open(value) or _fits_any(value, kinds)):
            raise _unusable(key, value, " or ".join(dict.fromkeys(_words(kind) for kind in kinds)))
    for name, parameter in parameters.by_name.items():
        if parameter.required and name not in node and not node.get("_partial_"):
            needed = " or ".join(dict.fromkeys(_words(kind) for kind in parameter.kinds))
            raise ConfigError(f"{place}.{name} is not given and has no default; it must be {needed}.")


def _unusable(key: str, value: Any, needed: str) -> ConfigError:
    return ConfigError(f"{key}={_written(value)} cannot be used; it must be {needed}.")


def _followed(config: Mapping[str, Any], key: str, value: Any) -> tuple[str, Any]:
    """Key and value of what a plain interpolation stands for, itself another one or not.

    Raises:
        ConfigError: nothing is there.
    """
    seen: set[str] = set()
    while isinstance(value, str) and (found := _REFERENCE.fullmatch(value)) and found[1] not in seen:
        seen.add(found[1])
        taken_by, key = key, found[1]
        value, given = setting_at(config, key)
        if not given:
            raise ConfigError(f"{key}=null cannot be used, because {taken_by} takes it; it must be {_OPTION}.")
    return key, value


def _open(value: Any) -> bool:
    """Whether a value is known only later: an interpolation, or one that is still to be given."""
    return isinstance(value, str) and (value == "???" or "${" in value)


def _numbers(node: Any, place: str = "") -> Iterator[tuple[str, int | float]]:
    """Key and value of every number."""
    if isinstance(node, Mapping | list):
        for name, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _numbers(value, f"{place}.{name}" if place else str(name))
    elif isinstance(node, int | float):
        yield place, node


def _targets(node: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key and settings of every part that is built, rows of lists included."""
    if isinstance(node, Mapping) and isinstance(node.get("_target_"), str):
        yield place, node
    if isinstance(node, Mapping | list):
        for name, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _targets(value, f"{place}.{name}" if place else str(name))


def _parameters(target: str, build: Callable[[str], Any]) -> _Parameters | None:
    """None where there is no such target or it does not say what it takes."""
    try:
        return _signature(build(target))
    except (ImportError, AttributeError, TypeError, ValueError, NameError):
        return None


@dataclass(frozen=True)
class _Parameter:
    """kinds: those of its annotation. required: whether it has no default."""

    kinds: tuple[Any, ...]
    required: bool


@dataclass(frozen=True)
class _Parameters:
    """by_name: those with a name. more: whether any other keyword is taken too."""

    by_name: Mapping[str, _Parameter]
    more: bool


@cache
def _signature(function: Any) -> _Parameters:
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    return _Parameters(
        {
            name: _Parameter(tuple(_members(hints.get(name, Any))), parameter.default is parameter.empty)
            for name, parameter in parameters.items()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        },
        more=any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()),
    )


def _members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _fits_any(value: Any, kinds: Iterable[Any]) -> bool:
    kinds = tuple(kinds)
    if Path in kinds and isinstance(value, int | float):  # where a path is meant, nobody makes a text of a number
        return False
    return any(_fits(value, kind) for kind in kinds)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value can become an argument of a kind."""
    if kind is Any or _open(value) or (isinstance(value, Mapping) and "_target_" in value):
        return True
    if get_origin(kind) is Literal:
        return any(value == known and type(value) is type(known) for known in get_args(kind))
    parts, kind = get_args(kind), get_origin(kind) or kind
    if kind in (None, type(None)):
        return value is None
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind in (int, float):
        return isinstance(value, int) or (kind is float and isinstance(value, float))
    if kind in (str, Path):
        return isinstance(value, str | int | float)  # a name may be written in digits
    if not inspect.isclass(kind):
        return True
    if isinstance(value, Mapping):
        # rows of an annotation, or of something that makes its own of them
        return issubclass(kind, Mapping) and all(
            _fits_any(part, _members(parts[1])) for part in value.values() if parts
        )
    return isinstance(value, list) and issubclass(kind, Sequence) and _parts_fit(value, kind, parts)


def _parts_fit(value: list[Any], kind: type, parts: tuple[Any, ...]) -> bool:
    if not parts:
        return True
    if kind is tuple and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(
            _fits_any(part, _members(hint)) for part, hint in zip(value, parts, strict=True)
        )
    return all(_fits_any(part, _members(parts[0])) for part in value)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(str(value) for value in get_args(kind))
    parts, kind = get_args(kind), get_origin(kind) or kind
    known = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path (one in digits in quotes)",
    }
    if kind in known:
        return known[kind]
    if kind in (None, type(None)):
        return "null"
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "settings by name"
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        number = f"of {len(parts)}, " if kind is tuple and parts and parts[-1] is not Ellipsis else ""
        each = " or ".join(dict.fromkeys(_words(member) for member in _members(parts[0]))) if parts else ""
        return f"a list{' ' + number if number else ', '}each {each}" if each else "a list"
    return "settings of its own with a _target_"


def _written(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, list):
        return f"[{','.join(_written(part) for part in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_written(part)}' for name, part in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
