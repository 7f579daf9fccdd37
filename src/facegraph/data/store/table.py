"""annotations.parquet of a store, from entries and from where their crops lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from facegraph.data.entries import FaceEntry
from facegraph.data.source import box_size
from facegraph.data.store.layout import ALL
from facegraph.data.store.shards import Row
from facegraph.landmarks import BOX, LandmarkScheme


def annotation_frame(
    faces: Sequence[FaceEntry], rows: Sequence[Row], shards: Sequence[int], scheme: LandmarkScheme, names: Sequence[str]
) -> pd.DataFrame:
    """The columns that layout lists, M rows.

    Args:
        faces: M entries. rows: M places. shards: M numbers of shards. names: attributes.
    """
    landmarks = np.stack([face.landmarks for face in faces]).astype(np.float64)
    boxes = np.stack([np.full(4, np.nan) if face.box is None else face.box for face in faces]).astype(np.float64)
    columns: dict[str, object] = {
        "id": [face.id for face in faces],
        "photo": [face.photo for face in faces],
        "image": [face.image.name for face in faces],
        "split": [face.split for face in faces],
        "source": [face.where for face in faces],
    }
    flat = landmarks.reshape(len(faces), -1)
    columns |= {f"{axis}{i}": flat[:, 2 * i + j] for i in range(scheme.num_landmarks) for j, axis in enumerate("xy")}
    columns |= {f"box_{corner}": boxes[:, i] for i, corner in enumerate(("x0", "y0", "x1", "y1"))}
    columns |= {f"attr_{name}": np.array([bool(f.attributes.get(name, False)) for f in faces]) for name in names}
    for name in sorted({name for face in faces for name in face.values}):
        columns[f"value_{name}"] = np.array([float(face.values.get(name, np.nan)) for face in faces])
    columns["hidden"] = [None if f.hidden is None else np.asarray(f.hidden, dtype=bool).tolist() for f in faces]
    columns |= {f"norm_{name}": scheme.distance(name, landmarks) for name in scheme.normalisers}
    columns[f"norm_{BOX}"] = box_size(landmarks)
    for name in ("width", "height", "scale", "shift_x", "shift_y"):
        columns[name] = np.array([getattr(row, name) for row in rows])
    columns["shard"] = np.array(shards, dtype=np.int64)
    for name in ("offset", "length"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=np.int64)
    return pd.DataFrame(columns)


def count_faces(
    faces: Sequence[FaceEntry], names: Sequence[str], official: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Faces per split and per "split/attribute" where there are any, splits in the order of their first face.

    official: published counts; all faces are counted as well if these have a number for them.
    """
    counts: dict[str, int] = {ALL: len(faces)} if ALL in (official or {}) else {}
    for split in dict.fromkeys(face.split for face in faces):
        members = [face for face in faces if face.split == split]
        counts[split] = len(members)
        flagged = {f"{split}/{name}": sum(bool(f.attributes.get(name, False)) for f in members) for name in names}
        counts |= {key: count for key, count in flagged.items() if count}
    return counts
