"""What makes two jobs the same job: a hash of all settings that can change its numbers."""

from __future__ import annotations

import hashlib
import json
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
    "logger",
    "callbacks.progress",
    "callbacks.progress_file",
    "callbacks.learning_rate",
    "callbacks.clock",
    "callbacks.throughput",
    "callbacks.last.every_n_epochs",
    "data.num_workers",
    "trainer.log_every_n_steps",
    "trainer.enable_model_summary",
)
_LENGTH = 12


def identity(config: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of a resolved configuration (plain values): folder, wandb id and resume key of a job."""
    kept = _without({str(key): value for key, value in config.items()}, VOLATILE)
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _without(node: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key in paths:
            continue
        below = tuple(path.split(".", 1)[1] for path in paths if path.startswith(f"{key}."))
        kept[key] = _without(value, below) if isinstance(value, Mapping) else value
    return kept
