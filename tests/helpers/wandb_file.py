"""What an offline run of wandb wrote: its transaction log, which `wandb sync` sends later, read back.

The file is a log of LevelDB's format with a header of 7 bytes: blocks of 32 KiB hold chunks of (checksum 4, length 2,
type 1) and data; a record lies in one chunk (type 1) or in a first (2), middle (3) and last (4) one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record

_HEADER, _BLOCK, _CHUNK = 7, 32768, struct.Struct("<IHB")
_FULL, _LAST = 1, 4


@dataclass
class OfflineRun:
    """run: id, group, job type, tags and so on. summary: nested. metrics: definitions by name or pattern."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    kinds: set[str] = field(default_factory=set)

    def values(self, key: str) -> list[Any]:
        """What was logged under a key, in order."""
        return [row[key] for row in self.history if key in row]


def offline_files(folder: Path) -> list[Path]:
    """Transaction logs below a folder, the oldest first."""
    return sorted(Path(folder).glob("wandb/offline-run-*/run-*.wandb"))


def finished_files(folder: Path) -> list[Path]:
    """The same once wandb's background process has ended; a run's finish may return before all is written."""
    wandb.teardown()
    return offline_files(folder)


def read_offline_run(path: Path) -> OfflineRun:
    found = OfflineRun()
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        found.kinds.add(kind)
        if kind == "run":
            found.run = record.run
            found.config |= _items(record.run.config.update)
        elif kind == "config":
            found.config |= _items(record.config.update)
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "summary":
            for item in record.summary.update:
                _put(found.summary, list(item.nested_key) or [item.key], json.loads(item.value_json))
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _records(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B", "no transaction log of wandb"
    place, parts = _HEADER, []
    while place + _CHUNK.size <= len(data):
        room = _BLOCK - place % _BLOCK
        if room < _CHUNK.size:  # the rest of a block that cannot hold a chunk's head is padding
            place += room
            continue
        _, length, kind = _CHUNK.unpack_from(data, place)
        if kind == 0:
            break
        place += _CHUNK.size
        parts.append(data[place : place + length])
        place += length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []


def _items(items: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in items:
        _put(values, list(item.nested_key) or [item.key], json.loads(item.value_json))
    return values


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    values[keys[-1]] = value
