"""JSON that anybody may have written: plain values, and dataclasses whose fields have the types they state.

What cannot be read raises an OSError (not there, no file) or a ValueError (anything else), whatever bytes it holds;
callers say what the file is and what to do.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from facegraph.files.plain_files import check_file

MAX_BYTES = 256_000_000
Made = TypeVar("Made")


def load(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The value that a UTF-8 file holds.

    Raises:
        OSError: not there, not readable, no file. ValueError: larger than max_bytes, or as `parse`.
    """
    check_file(path, max_bytes)
    return parse(path.read_bytes())


def parse(content: bytes, strict: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        strict: refuse NaN and Infinity, which JSON lacks and Python writes.

    Raises:
        ValueError: no UTF-8, no JSON, nested too deeply, or a number of too many digits.
    """
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant if strict else None)
    except RecursionError:
        raise ValueError("the values are nested too deeply") from None


def dump(value: Any) -> str:
    """Strict JSON text: NaN and infinities, which JSON lacks, become null, numpy numbers and arrays plain ones."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def build(kind: type[Made], data: Any) -> Made:
    """A dataclass from the object that `dataclasses.asdict` makes of it in JSON.

    Fields that have a default may be missing. Lists become the tuples, and objects the dataclasses, that fields state.

    Raises:
        ValueError: a field is missing, unknown or of another type, or the dataclass refuses its value.
    """
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    needed = {
        name
        for name, f in known.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if not isinstance(data, Mapping):
        raise ValueError(f"{kind.__name__} is {shortened(data)}; an object is needed")
    given = set(data)
    if not needed <= given <= set(known):
        lacks, unknown = sorted(needed - given), sorted(given - set(known))
        raise ValueError(
            f"{kind.__name__} lacks the fields {shortened(lacks)} and has the unknown ones {shortened(unknown)}"
        )
    hints = get_type_hints(kind)
    return kind(**{name: as_type(value, hints[name], f"{kind.__name__}.{name}") for name, value in data.items()})


def as_type(value: Any, hint: Any, where: str) -> Any:
    """A value of JSON as a type: None, bool, int, float, str, list, dict with texts as keys, tuple, dataclass, Any.

    Args:
        where: what the value is, for the message.

    Raises:
        ValueError: it is of another type.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first_fitting(value, inner, hint, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value)
    if origin in (list, tuple) and isinstance(value, list):
        if origin is list or inner[-1] is Ellipsis:
            return origin(as_type(item, inner[0], where) for item in value)
        if len(value) == len(inner):
            return tuple(as_type(item, part, where) for item, part in zip(value, inner, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: as_type(item, inner[1], f"{where}[{key!r}]") for key, item in value.items()}
    plain = types.NoneType if hint is None else hint
    accepted = (int, float) if plain is float else plain
    if isinstance(plain, type) and isinstance(value, accepted) and (plain is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where} is {shortened(value)}; {getattr(hint, '__name__', hint)} is needed")


def _first_fitting(value: Any, hints: tuple[Any, ...], whole: Any, where: str) -> Any:
    for hint in hints:
        try:
            return as_type(value, hint, where)
        except ValueError:
            continue
    raise ValueError(f"{where} is {shortened(value)}; {whole} is needed")
