"""What makes two jobs the same job: a hash of all settings that can change its numbers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# where a run is written, watched or how it is loaded; none of these changes a trained weight
VOLATILE = (
    "name",
    "output_dir",
    "resume",
    "sweep",
    "sweep_dir",
    "rows",
    "partial_test",
    "plugins",
    "logger",
    "callbacks.progress",
    "callbacks.progress_file",
    "callbacks.learning_rate",
    "callbacks.throughput",
    "callbacks.last.every_n_epochs",
    "data.num_workers",
    "data.loader_timeout_seconds",
    "dataset.keep_images",
    "data.dataset.keep_images",
    "trainer.strategy.timeout_minutes",
    "trainer.log_every_n_steps",
    "trainer.enable_model_summary",
)
_LENGTH = 12
FOLDER_NAME = re.compile(r"[\w-]+", re.ASCII)
"""Of a job or of a condition; no name leads above or below."""


def identity(config: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of a resolved configuration (plain values): folder, wandb id and resume key of a job."""
    text = json.dumps(lasting(config), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can change a number; whole floats as whole numbers, since 1 and 1.0 are one setting."""
    return _without({str(key): value for key, value in config.items()}, VOLATILE)


def is_volatile(override: str) -> bool:
    """Whether an override of train.py only says where or how, so that jobs with and without it are the same."""
    key = override.split("=", 1)[0].lstrip("+~")
    return any(key == path or key.startswith(f"{path}.") for path in VOLATILE)


def _without(node: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key in paths:
            continue
        below = tuple(path.split(".", 1)[1] for path in paths if path.startswith(f"{key}."))
        kept[key] = _without(value, below) if isinstance(value, Mapping) else _plain(value)
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(v) if not isinstance(v, Mapping) else _without(v, ()) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
