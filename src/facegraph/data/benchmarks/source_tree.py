"""Finding files in folders that users unpacked one way or another: shallow search, case as a fallback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from facegraph.errors import DataError

SEARCH_DEPTH = 4
_MOST_FOLDERS = 3000


class SourceTree:
    """A source folder; every folder in it is listed at most once.

    Raises:
        DataError: the source is no folder, or a folder cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            near = next((p for p in self.root.absolute().parents if p.is_dir()), Path("/"))
            raise DataError(f"source {root} is no folder; the path exists up to {near}. Correct --source.")
        self._files: dict[Path, dict[str, Path]] = {}
        self._folders: dict[Path, dict[str, Path]] = {}
        self._caseless: dict[Path, dict[str, Path]] = {}

    def files(self, folder: Path) -> dict[str, Path]:
        """Name -> file of a folder, sorted by name."""
        self._list(folder)
        return self._files[folder]

    def folders(self, folder: Path) -> dict[str, Path]:
        """Name -> folder in a folder, sorted by name."""
        self._list(folder)
        return self._folders[folder]

    def child(self, folder: Path, name: str) -> Path | None:
        """The file or folder of that name; if there is none, one that differs in upper and lower case only."""
        self._list(folder)
        exact = self._files[folder].get(name) or self._folders[folder].get(name)
        return exact or self._caseless[folder].get(name.casefold())

    def inside(self, folder: Path, relative: str) -> Path | None:
        """The file or folder at a relative path with '/', each part looked up by child. See relative_name."""
        found: Path | None = folder
        for part in PurePosixPath(relative).parts:
            if found is None or not self._is_listed_folder(found):
                return None
            found = self.child(found, part)
        return found

    def search(self, *relatives: str) -> Path | None:
        """The first of these relative paths that exists below the root or a folder in it; the shallowest wins.

        Of a folder that holds one of its own name, as unpacking programs make them (afw/afw), it is the inner one.
        At most 4 folders down and 3,000 folders in all, so that a wrong --source does not read a whole disk.
        """
        for folder in self.by_depth():
            for relative in relatives:
                found = self.inside(folder, relative)
                if found is not None:
                    return self._innermost(found)
        return None

    def _innermost(self, path: Path) -> Path:
        while self._is_listed_folder(path):
            inner = next((p for name, p in self.folders(path).items() if name.casefold() == path.name.casefold()), None)
            if inner is None:
                break
            path = inner
        return path

    def holds(self) -> str:
        """The first few names in the root, for messages."""
        names = sorted([*self.files(self.root), *(f"{name}/" for name in self.folders(self.root))])
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return (", ".join(names[:8]) + more) if names else "nothing"

    def by_depth(self) -> Iterator[Path]:
        """The root and the folders in it, shallow ones first; see search for how many."""
        level, seen = [self.root], 0
        for _ in range(SEARCH_DEPTH + 1):
            yield from level
            seen += len(level)
            below = [child for folder in level for child in self.folders(folder).values()]
            level = below[: _MOST_FOLDERS - seen]

    def _is_listed_folder(self, path: Path) -> bool:
        return path == self.root or path in self._folders or path.name in self._folders.get(path.parent, {})

    def _list(self, folder: Path) -> None:
        if folder in self._files:
            return
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError as error:
            raise DataError(
                f"folder {folder} cannot be listed: {error.strerror}. Correct its access rights."
            ) from error
        self._folders[folder] = {name: folder / name for name, is_folder in found if is_folder}
        self._files[folder] = {name: folder / name for name, is_folder in found if not is_folder}
        self._caseless[folder] = {name.casefold(): folder / name for name, _ in reversed(found)}


def relative_name(name: str) -> str | None:
    """An image name from an annotation as a relative path with '/'; None if it leads out of its folder.

    Backslashes count as '/'; absolute paths, drives and '..' are refused.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or parts[0] == "" or ":" in parts[0] or ".." in parts:
        return None
    return "/".join(part for part in parts if part not in ("", ".")) or None
