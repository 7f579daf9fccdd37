"""Which files of a folder a report wrote, so that it replaces its own and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from facegraph.errors import RunError
from facegraph.files.atomic import write_atomically

LIST = ".report.json"


def owned_files(folder: Path) -> list[str]:
    """Relative paths with forward slashes, as the last report listed them; none without a list."""
    try:
        return [str(name) for name in json.loads((Path(folder) / LIST).read_text(encoding="utf-8"))["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def refuse_others(folder: Path, names: Iterable[str]) -> None:
    """Raises RunError: a file of that name lies in the folder and no report wrote it."""
    known = set(owned_files(folder))
    strange = [name for name in names if name not in known and (Path(folder) / name).exists()]
    if strange:
        raise RunError(
            f"{folder} holds {', '.join(strange)}, which no report lists as its own ({LIST}); nothing is overwritten. "
            "Move the files, or give another --out."
        )


def own(folder: Path, written: Iterable[Path], drawn: str | None = None) -> None:
    """List what a report wrote into a folder.

    Args:
        drawn: subfolder that was written anew; what an earlier report left there is removed. Other files that an
            earlier report listed stay listed while they are there.
    """
    folder = Path(folder)
    names = sorted({path.relative_to(folder).as_posix() for path in written})
    for name in owned_files(folder):
        if name in names or not (folder / name).is_file():
            continue
        if drawn is not None and name.startswith(f"{drawn}/") and ".." not in name:
            (folder / name).unlink()
        else:
            names.append(name)
    write_atomically(folder / LIST, (json.dumps({"files": names}, indent=2) + "\n").encode())
