"""What a check of a store found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "info"]
ERROR: Level = "error"
WARNING: Level = "warning"
INFO: Level = "info"
LEVELS: tuple[Level, ...] = (ERROR, WARNING, INFO)


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        level: "error" (a score on this store means nothing), "warning" (look at it, or part of it is missing), "info".
        check: name of the check.
        message: what is so, and for errors and warnings what to do.
        ids: faces it is about, the clearest case first; of pairs both faces, one after the other.
        values: numbers and names by key, plain Python.
        measured: one number per id, what the check measured; empty where there is none.
    """

    level: Level
    check: str
    message: str
    ids: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    measured: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def count_levels(findings: Iterable[Finding]) -> dict[str, int]:
    """Findings per level, all three levels."""
    found = [finding.level for finding in findings]
    return {level: found.count(level) for level in LEVELS}


def some(names: Iterable[object], most: int = 5) -> str:
    """The first few names for a message."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
