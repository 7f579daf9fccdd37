"""Finding files in folders that users unpacked one way or another: shallow search, case as a fallback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from facegraph.data.formats.files import shown
from facegraph.errors import DataError

SEARCH_DEPTH = 4
_RESOURCE_FORK, _RESOURCE_FOLDER = "._", "__MACOSX"
_MOST_FOLDERS = 3000


class SourceTree:
    """A source folder; every folder in it is listed at most once.

    What a Mac leaves beside files, ._<name> and __MACOSX/, is passed over.

    unlisted: folders that a search passed over because they cannot be listed, with the reasons.

    Raises:
        DataError: the source is no folder, or it or a folder that was asked for cannot be listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).expanduser()
        check_source(self.root)
        self.unlisted: dict[Path, DataError] = {}
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
        """The root and the folders in it that can be listed, shallow ones first; see search for how many."""
        self._list(self.root)
        level, seen = [self.root], 0
        for _ in range(SEARCH_DEPTH + 1):
            level = [folder for folder in level if self._can_list(folder)]
            yield from level
            seen += len(level)
            below = [child for folder in level for child in self.folders(folder).values()]
            level = below[: _MOST_FOLDERS - seen]

    def _can_list(self, folder: Path) -> bool:
        try:
            self._list(folder)
        except DataError as error:
            self.unlisted[folder] = error
        return folder not in self.unlisted

    def _is_listed_folder(self, path: Path) -> bool:
        return path == self.root or path in self._folders or path.name in self._folders.get(path.parent, {})

    def _list(self, folder: Path) -> None:
        if folder in self._files:
            return
        found = [entry for entry in list_folder(folder) if not _is_left_by_mac(entry[0])]
        self._folders[folder] = {name: folder / name for name, is_folder in found if is_folder}
        self._files[folder] = {name: folder / name for name, is_folder in found if not is_folder}
        self._caseless[folder] = {name.casefold(): folder / name for name, _ in reversed(found)}


def _is_left_by_mac(name: str) -> bool:
    return name.startswith(_RESOURCE_FORK) or name == _RESOURCE_FOLDER


def list_folder(folder: Path) -> list[tuple[str, bool]]:
    """(name, whether it is a folder) of what lies in a folder, sorted by name.

    Raises:
        DataError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be listed: {error.strerror}. Correct its access rights.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where nobody may look
        return False


def check_source(source: Path, layout: str = "") -> None:
    """Raise if a source is no folder.

    Args:
        layout: what it should look like, for the message.

    Raises:
        DataError: it is none.
    """
    if os.path.isdir(source):
        return
    near = next((p for p in source.absolute().parents if os.path.isdir(p)), Path("/"))
    raise DataError(
        f"source {source} is no folder (the path exists up to {near}). Give the folder that holds the files as "
        "downloaded" + (f":\n{layout}" if layout else ".")
    )


def check_outside(place: Path, source: Path) -> None:
    """Raise if a place lies in a source.

    Raises:
        DataError: it does.
    """
    if place.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{place} lies inside the source {source}, in which nothing is written. Choose a folder beside it."
        )


def relative_name(name: str) -> str | None:
    """An image name from an annotation as a relative path with '/'; None if it leads out of its folder.

    Backslashes count as '/'; absolute paths, drives and '..' are refused.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or parts[0] == "" or ":" in parts[0] or ".." in parts:
        return None
    return "/".join(part for part in parts if part not in ("", ".")) or None


def name_below(name: str, root: Path, folder: Path) -> str:
    """An image name as its annotations write it, as a path from root on if it is absolute or has '..', and leads there.

    Any other name, and one that leads out, is given back as it is.

    Args:
        root: of the data set.
        folder: of the annotations, from which '..' is counted.
    """
    written = name.replace("\\", "/")
    if "\0" in written or not (written.startswith("/") or ".." in written.split("/")):
        return name
    place = os.path.normpath(folder.absolute() / written)
    for base in (root.absolute(), Path(os.path.realpath(root))):
        for path in (Path(place), Path(os.path.realpath(place))):
            if path.is_relative_to(base) and path != base:
                return path.relative_to(base).as_posix()
    return name


def leads_out(name: str, root: Path, folder: Path) -> str:
    """What is wrong with a name that relative_name refuses, in words. See name_below."""
    written = name.replace("\\", "/")
    place = written if ":" in written.split("/")[0] else os.path.normpath(folder.absolute() / written)
    return f"image {shown(name)} leads to {shown(place, 200)}, out of {root}"
