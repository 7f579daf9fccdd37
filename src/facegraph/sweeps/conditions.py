"""Results of a job under conditions that have changed since: kept, but no longer taken for the condition's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from facegraph.records import RESULT_FILE
from facegraph.sweeps.status import DONE, PARTIAL, State, evaluation_folder, state


def outdated(folder: Path, conditions: Mapping[str, Sequence[str]]) -> list[str]:
    """Conditions whose result in a job's folder was made with other overrides, or cannot be read."""
    return [
        name
        for name, overrides in conditions.items()
        if (evaluation_folder(folder, name) / RESULT_FILE).exists() and _made_with(folder, name) != list(overrides)
    ]


def set_aside(folder: Path, name: str) -> Path:
    """Rename a condition's folder, so that it can be scored again; returns where it lies now."""
    old = evaluation_folder(folder, name)
    return old.rename(old.with_name(f"{name}.outdated-{time.time_ns()}"))


def state_of(folder: Path, conditions: Mapping[str, Sequence[str]]) -> State:
    """`status.state`, where a result under a condition that has changed does not count."""
    found = state(folder, conditions)
    return PARTIAL if found == DONE and outdated(folder, conditions) else found


def _made_with(folder: Path, name: str) -> list[str] | None:
    try:
        content = json.loads((evaluation_folder(folder, name) / RESULT_FILE).read_text(encoding="utf-8"))
        return list(content["provenance"]["overrides"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
