"""Settings of the cascade that lie out of range, refused with their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facegraph.errors import ConfigError, check_multiple

MAX_LEVEL = 4
NEVER: float | None = None
ALWAYS = 1e9
"""A threshold above every predicted error: each face quits after its first iteration."""


def check_whole(name: str, value: Any, published: int) -> None:
    """Raises ConfigError unless a value is a whole number from 1 up."""
    if not _is_whole(value) or value < 1:
        raise ConfigError(f"model.{name}={value!r} is no whole number from 1 up; the released code has {published}.")


def check_dropout(value: Any) -> None:
    """Raises ConfigError unless a value is a share in [0, 1)."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ConfigError(f"model.dropout={value!r} is out of range; it is the share dropped, from 0 to below 1.")


def check_threshold(name: str, value: Any) -> None:
    """Raises ConfigError unless a value is None or a number above zero."""
    if value is not None and not (_is_number(value) and value > 0):
        raise ConfigError(
            f"model.{name}={value!r} is no predicted error; give a fraction above zero, such as 0.05, or null for none."
        )


def checked_levels(levels: Sequence[int], input_size: int) -> tuple[int, ...]:
    """The pyramid level of each iteration.

    Raises:
        ConfigError: no level, one that is no whole number of 0..MAX_LEVEL, an input size that does not halve so often.
    """
    given = tuple(levels)
    if not given or not all(_is_whole(level) and 0 <= level <= MAX_LEVEL for level in given):
        raise ConfigError(
            f"model.levels={list(given)} cannot be used; one level of 0..{MAX_LEVEL} for each iteration is needed, "
            "such as [2, 1, 0] (paper)."
        )
    step = 2 ** max(given)
    check_multiple("input_size", input_size, step, f"which level {max(given)} of the pyramid needs")
    return given


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
