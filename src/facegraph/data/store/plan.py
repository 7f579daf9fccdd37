"""What a store is made from: compared before anything that lies on the disk is taken for a part of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.store.hashing import file_hash
from facegraph.data.store.layout import FORMAT_VERSION, CropPolicy
from facegraph.data.store.shards import FACES_PER_SHARD
from facegraph.files import plain_json
from facegraph.landmarks import LandmarkScheme

Plan = dict[str, str]
"""What was asked for, each part as a short text; annotations and photographs as hashes."""

EXIF = "crop.exif"
"""The part that tells whether photographs were turned upright."""
ORIGIN = "archives"
"""The part that tells the archives that a store was unpacked from. The same faces may come from others, so that it is
never a difference."""


def plan_settings(
    dataset: str, version: str, scheme: LandmarkScheme, attributes: Sequence[str], crop: CropPolicy, missing: str
) -> Plan:
    """The part of a plan that is known before the source is read."""
    policy = {f"crop.{name}": str(value) for name, value in asdict(crop).items()}
    return {
        "format": f"{FORMAT_VERSION}, {FACES_PER_SHARD} faces per shard",
        "data set": dataset,
        "version": version,
        "scheme": f"{scheme.name} {_short(json.dumps(asdict(scheme), sort_keys=True).encode())}",
        "attributes": ", ".join(attributes),
        "faces without some landmarks": missing,
        **policy,
    }


def plan_faces(faces: Sequence[FaceEntry]) -> Plan:
    """The part of a plan that the source decides. Photographs enter with names and file sizes, not with content;
    a file that holds several of them enters with its content."""
    return {
        "annotations": f"{len(faces)} faces {_short(*(part for face in faces for part in _annotation(face)))}",
        "photographs": _photographs(faces),
    }


def differences(old: Plan, new: Plan) -> list[str]:
    """What changed, in words, of the parts that the new plan has."""
    changed = {name: part for name, part in new.items() if name != ORIGIN and old.get(name) != part}
    return [f"{name} ({old.get(name, 'unknown')} then, {part} now)" for name, part in changed.items()]


def read_plan(path: Path) -> Plan | None:
    """A plan from its file; None if it is not there or cannot be read."""
    try:
        found = plain_json.load(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _annotation(face: FaceEntry) -> tuple[bytes, ...]:
    """Everything of a face but the place of its files on this machine."""
    box = face.box if face.box is not None else np.full(4, np.nan)
    facts = [face.id, face.image.name, face.photo, face.split, sorted(face.attributes.items())]
    size = [] if face.marked_size is None else [[float(side) for side in face.marked_size]]  # no fact, no new hash
    values = [(name, float(value)) for name, value in sorted(face.values.items())]
    hidden = b"" if face.hidden is None else np.asarray(face.hidden, dtype=np.uint8).tobytes()
    return (
        json.dumps([*facts, *size, values]).encode(),
        np.asarray(face.landmarks, dtype="<f8").tobytes(),
        np.asarray(box, dtype="<f8").tobytes(),
        hidden,
    )


def _photographs(faces: Sequence[FaceEntry]) -> str:
    images = {face.image.name: face.image for face in faces}
    states: dict[Path, str | int] = {}
    found = []
    for name, image in images.items():
        path: Path | None = getattr(image, "path", None)
        if path is not None and path not in states:
            states[path] = _state(path, os.path.getsize if isinstance(image, FileImage) else file_hash)
        found.append((name, -1 if path is None else states[path]))
    return f"{len(found)} files {_short(json.dumps(sorted(found)).encode())}"


def _state(path: Path, measure: Callable[[Path], str | int]) -> str | int:
    try:
        return measure(path)
    except OSError:
        return -1


def _short(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:".encode() + part)
    return total.hexdigest()[:16]
