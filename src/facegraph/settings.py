"""What settings may be: checked when a configuration is composed, before data are read or a job is started.

Kinds follow from the annotations of the constructors that `_target_` names; RULES holds what these do not say.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from facegraph.errors import ConfigError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_SHORT_PRECISIONS = (32, "32", 16, "16", "bf16")  # as Lightning reads them, the 16 bits as mixed


@dataclass(frozen=True)
class Rule:
    """allows: whether a value can be used. needed: what can, in words, with an example or the reason."""

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


_BATCH = Rule(whole(1), "a whole number of faces, 1 or more")
_WORKERS = Rule(whole(0), "a whole number of processes, 0 or more")
_PART = Rule(share_or_count, "a number of batches, 1 or more, or a share of them, above 0.0 and at most 1.0")
_PRECISION = Rule(trains_so, f"one of {', '.join(PRECISIONS)}, which all models here compute in")

RULES: dict[str, Rule] = {
    "name": Rule(lambda value: value not in (None, ""), "a text, the first part of the output folder"),
    "seed": Rule(whole(0, 2**32 - 1), f"a whole number from 0 to {2**32 - 1}"),
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


def check(config: Mapping[str, Any], build: Callable[[str], Any]) -> None:
    """Check a configuration, plain values in which interpolations are texts.

    build: name of a `_target_` -> the class or function; ImportError or the like where there is none, which building it
    will say.

    Raises:
        ConfigError: a value out of range, of the wrong kind, or for a setting that does not exist.
    """
    for key, rule in RULES.items():
        given, value = _at(config, key)
        if given and not _open(value) and not rule.allows(value):
            raise ConfigError(f"{key}={_written(value)} cannot be used; it must be {rule.needed}.")
    for place, node in _targets(config):
        parameters = _parameters(node["_target_"], build)
        for name, value in node.items():
            if parameters is None or name.startswith("_") or _open(value):
                continue
            if name not in parameters:
                raise ConfigError(f"there is no setting '{place}.{name}'; '{place}' has: {', '.join(parameters)}.")
            kinds = parameters[name]
            if not any(_fits(value, kind) for kind in kinds):
                needed = " or ".join(dict.fromkeys(_words(kind) for kind in kinds))
                raise ConfigError(f"{place}.{name}={_written(value)} cannot be used; it must be {needed}.")


def _open(value: Any) -> bool:
    """Whether a value is known only later: an interpolation, or one that is still to be given."""
    return isinstance(value, str) and (value == "???" or "${" in value)


def _at(config: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False, None
        node = node[part]
    return True, node


def _targets(node: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield place, node
        for name, value in node.items():
            yield from _targets(value, f"{place}.{name}" if place else str(name))


def _parameters(target: str, build: Callable[[str], Any]) -> dict[str, tuple[Any, ...]] | None:
    """Name of each parameter -> the kinds it takes; None where the target takes any."""
    try:
        return _kinds(build(target))
    except (ImportError, AttributeError, TypeError, ValueError, NameError):
        return None


@cache
def _kinds(function: Any) -> dict[str, tuple[Any, ...]] | None:
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    return {name: tuple(_members(hints.get(name, Any))) for name in parameters}


def _members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _fits(value: Any, kind: Any) -> bool:
    """Whether a plain value can become an argument of a kind; a mapping may become any object."""
    if kind is Any or isinstance(value, Mapping):
        return True
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    kind = get_origin(kind) or kind
    if kind in (None, type(None)):
        return value is None
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind in (int, float):
        return isinstance(value, int) or (kind is float and isinstance(value, float))
    if kind in (str, Path):
        return isinstance(value, str | int | float)  # a name may be written in digits
    if inspect.isclass(kind) and isinstance(value, list) and issubclass(kind, Sequence):
        return True
    return not inspect.isclass(kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(str(value) for value in get_args(kind))
    kind = get_origin(kind) or kind
    known = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    if kind in known:
        return known[kind]
    if kind in (None, type(None)):
        return "null"
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        return "a list"
    return "settings of its own with a _target_"


def _written(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, list):
        return f"[{','.join(_written(part) for part in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
