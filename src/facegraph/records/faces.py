"""faces.json: which faces a run is trained, validated and tested on, so that it never goes on with others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from facegraph.errors import DataError, RunError
from facegraph.files import plain_json
from facegraph.files.atomic import write_atomically

FACES_FILE = "faces.json"


@dataclass(frozen=True)
class SplitFaces:
    """The faces of a split.

    Args:
        count: of faces.
        annotations: fingerprint of their ids and landmarks.
        images: of what their images are stored as; empty where they follow from the settings.
    """

    count: int
    annotations: str
    images: str


def write_faces(folder: Path, splits: Mapping[str, SplitFaces]) -> None:
    content = {name: asdict(faces) for name, faces in splits.items()}
    write_atomically(folder / FACES_FILE, (json.dumps(content, indent=2) + "\n").encode())


def check_faces(folder: Path, splits: Mapping[str, SplitFaces]) -> bool:
    """Compare with the faces that a run started with; returns whether the run says which these were.

    Raises:
        DataError: they are others. RunError: the file is not facegraph's.
    """
    path = folder / FACES_FILE
    if not path.is_file():
        return False
    try:
        known = plain_json.as_type(plain_json.load(path), dict[str, SplitFaces], "faces")
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}. Restore it, or delete it to go on without the check."
        ) from None
    changes = [
        f"{name}: {_change(known[name], faces)}"
        for name, faces in splits.items()
        if name in known and known[name] != faces
    ]
    if changes:
        raise DataError(
            f"the data set has changed since the run in {folder} started ({'; '.join(changes)}). Put the data back as "
            "they were to go on with the run, or start a new one in another folder, from its weights with "
            f"init_from={folder}."
        )
    return True


def _change(then: SplitFaces, now: SplitFaces) -> str:
    if then.count != now.count:
        return f"{then.count} faces then, {now.count} now"
    if then.annotations != now.annotations:
        return (
            f"{now.count} faces then and now, with other ids or landmarks ({then.annotations}, now {now.annotations})"
        )
    return f"the same {now.count} faces with other images ({then.images}, now {now.images})"
