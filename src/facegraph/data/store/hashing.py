"""One hash over everything a store says and shows, the same on every machine that computes the same pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.data.store.layout import IMAGE_FOLDER, TABLE_FILE
from facegraph.errors import DataError

_BLOCK = 1 << 20


def content_hash(frame: pd.DataFrame, shards: Sequence[str]) -> str:
    """sha256 in hex of the columns of annotations.parquet, in its order, and the sha256 of each shard, in order.

    The column source is left out: where an annotation stood depends on how the source was unpacked.
    Numbers enter as little-endian int64 or float64 (every NaN the same), flags as bytes, texts with their length, so
    that neither the parquet writer nor the version of pandas matters.
    """
    total = hashlib.sha256()
    for name in frame.columns.drop("source", errors="ignore"):
        total.update(f"column {name} {len(frame)}\n".encode())
        total.update(_canonical(frame[name]))
    for shard in shards:
        total.update(f"shard {shard}\n".encode())
    return total.hexdigest()


def stored_hash(store: Path, frame: pd.DataFrame | None = None, known: Mapping[str, str] | None = None) -> str:
    """The content hash of a store, recomputed from its files; equals store.json's unless something was damaged.

    Args:
        frame: its annotations, where they were read already.
        known: name of a shard's file -> its file_hash, where that was computed already.

    Raises:
        DataError: a file that is gone or unreadable.
    """
    try:
        frame = pd.read_parquet(store / TABLE_FILE) if frame is None else frame
        shards = sorted((store / IMAGE_FOLDER).iterdir())
        return content_hash(frame, [(known or {}).get(path.name) or file_hash(path) for path in shards])
    except (OSError, ValueError) as error:
        raise DataError(f"{store} cannot be read: {error}. Prepare the set again.") from error


def file_hash(path: Path) -> str:
    """sha256 in hex of a file."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def _canonical(column: pd.Series) -> bytes:
    if pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.uint8).tobytes()
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype="<i8").tobytes()
    if pd.api.types.is_float_dtype(column):
        values = column.to_numpy(dtype="<f8")
        return np.where(np.isnan(values), np.float64("nan"), values).astype("<f8").tobytes()
    return b"".join(_text_or_flags(value) for value in column)


def _text_or_flags(value: object) -> bytes:
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
    elif value is None or (isinstance(value, float) and np.isnan(value)):
        return b"null\n"
    else:
        raw = np.asarray(value, dtype=np.uint8).tobytes()
    return f"{len(raw)}:".encode() + raw
