"""What a store is made from: compared before anything that lies on the disk is taken for a part of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.store.layout import FORMAT_VERSION, CropPolicy
from facegraph.data.store.shards import FACES_PER_SHARD
from facegraph.landmarks import LandmarkScheme

Plan = dict[str, str]
"""What was asked for, each part as a short text; annotations and photographs as hashes."""


def plan_settings(
    dataset: str, version: str, scheme: LandmarkScheme, attributes: Sequence[str], crop: CropPolicy
) -> Plan:
    """The part of a plan that is known before the source is read."""
    policy = {f"crop.{name}": str(value) for name, value in asdict(crop).items()}
    return {
        "format": f"{FORMAT_VERSION}, {FACES_PER_SHARD} faces per shard",
        "data set": dataset,
        "version": version,
        "scheme": f"{scheme.name} {_short(json.dumps(asdict(scheme), sort_keys=True).encode())}",
        "attributes": ", ".join(attributes),
        **policy,
    }


def plan_faces(faces: Sequence[FaceEntry]) -> Plan:
    """The part of a plan that the source decides. Photographs enter with names and file sizes, not with content."""
    return {
        "annotations": f"{len(faces)} faces {_short(*(part for face in faces for part in _annotation(face)))}",
        "photographs": _photographs(faces),
    }


def differences(old: Plan, new: Plan) -> list[str]:
    """What changed, in words, of the parts that the new plan has."""
    return [f"{n} ({old.get(n, 'unknown')} then, {part} now)" for n, part in new.items() if old.get(n) != part]


def read_plan(path: Path) -> Plan | None:
    """A plan from its file; None if it is not there or cannot be read."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _annotation(face: FaceEntry) -> tuple[bytes, ...]:
    """Everything of a face but the place of its files on this machine."""
    box = face.box if face.box is not None else np.full(4, np.nan)
    facts = [face.id, face.image.name, face.photo, face.split, sorted(face.attributes.items())]
    values = [(name, float(value)) for name, value in sorted(face.values.items())]
    hidden = b"" if face.hidden is None else np.asarray(face.hidden, dtype=np.uint8).tobytes()
    return (
        json.dumps([*facts, values]).encode(),
        np.asarray(face.landmarks, dtype="<f8").tobytes(),
        np.asarray(box, dtype="<f8").tobytes(),
        hidden,
    )


def _photographs(faces: Sequence[FaceEntry]) -> str:
    sizes: dict[str, int] = {}
    for face in faces:
        image = face.image
        if image.name not in sizes:
            sizes[image.name] = (
                image.path.stat().st_size if isinstance(image, FileImage) and image.path.exists() else -1
            )
    return f"{len(sizes)} files {_short(json.dumps(sorted(sizes.items())).encode())}"


def _short(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:".encode() + part)
    return total.hexdigest()[:16]
