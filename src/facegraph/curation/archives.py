"""Unpacking the archives of a benchmark where they do no harm: beside the source, whole or not at all.

An archive is refused as a whole if any entry of it leads out of its folder, is a symbolic link, a device or a pipe, or
if it holds absurdly much. Python's own "data" filter for tar does part of this, but older versions of it follow chains
of symbolic links outwards (CVE-2025-4517), so that links are refused here; archives of benchmarks have none.

What an archive unpacks to is added up from what it states, and compared with its size, before any of it is written.
"""

from __future__ import annotations

import fnmatch
import gzip
import itertools
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from facegraph.data.benchmarks.source_tree import check_outside, check_source, list_folder
from facegraph.data.formats.files import shown
from facegraph.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

Progress = Callable[[str, int, int], None]

MAX_BYTES = 200 * 10**9
MAX_ENTRIES = 5_000_000
MAX_RATIO, FREE_BYTES = 100, 100 * 10**6
"""Unpacked over packed bytes, beyond bytes that any may hold: photographs hardly pack, lists of points to a third."""
MAX_DEPTH = 64
"""Folders in one another."""
_MOST_HEADER = 1_000_000
"""Bytes of a long name or other note before an entry, which is held in memory."""
_SOURCE_LINK = "source"
_REPORT_EVERY = 200
_PIECE = 1_000_000
_LOCAL_HEADER = 30
"""Bytes before an entry of a zip, without its name."""
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, OSError, ValueError, IndexError, NotImplementedError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip
"""What Python's readers raise at damaged archives, and the system at a full disk."""


def unpack_archives(source: Path, into: Path, names: Sequence[str], progress: Progress | None = None) -> Path:
    """A folder with everything of a source in it, its archives unpacked.

    That is the source itself where it has no archive of these names, or each one was unpacked beside itself already (a
    folder of the archive's name). Otherwise it is a folder below `into`, made from names, sizes and times of the
    archives: it has a folder per archive, and a link to the source for what lies there unpacked. Archives that an
    earlier call unpacked there are not unpacked again. They are looked for in the source and in the folders directly in
    it.

    Args:
        source: folder; nothing in it is changed.
        into: folder for what is unpacked, outside the source; made if needed.
        names: patterns of archive names without ending, such as "WFLW_images" or "COFW*"; case does not matter.
        progress: called with (archive, bytes read, bytes in all) now and then.

    Raises:
        DataError: the source is no folder, into lies in it, or an archive is damaged, unsafe, encrypted or too large.
    """
    source, into = Path(source).expanduser(), Path(into).expanduser()
    check_source(source)
    archives = find_archives(source, names)
    if not archives:
        return source
    check_outside(into, source)
    whole = into / f"unpacked-{_fingerprint(archives):08x}"
    try:
        whole.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            _unpack_whole(archive, whole / _stem(archive.name), progress)
        link = whole / _SOURCE_LINK
        if not link.is_symlink():
            link.symlink_to(source.resolve(), target_is_directory=True)
    except OSError as error:
        raise DataError(f"{whole} cannot be written: {error}. Choose a place that can.") from error
    except DataError:
        shutil.rmtree(whole, ignore_errors=True)
        raise
    return whole


def find_archives(source: Path, names: Sequence[str]) -> list[Path]:
    """Archives of these names in a folder and the folders in it, without those that lie unpacked beside themselves.

    Folders in it that cannot be listed are passed over.

    Raises:
        DataError: the source cannot be listed.
    """
    files: list[Path] = []
    for folder in (source, *(source / name for name, is_folder in list_folder(source) if is_folder)):
        try:
            files += [folder / name for name, _ in list_folder(folder) if os.path.isfile(folder / name)]
        except DataError:
            if folder == source:
                raise
    patterns = [name.casefold() for name in names]
    found = [p for p in files if any(p.name.casefold().endswith(ending) for ending in _UNPACKERS)]
    found = [p for p in found if any(fnmatch.fnmatchcase(_stem(p.name).casefold(), pattern) for pattern in patterns)]
    return [p for p in found if not os.path.isdir(p.parent / _stem(p.name))]


def _stem(name: str) -> str:
    ending = max((e for e in _UNPACKERS if name.casefold().endswith(e)), key=len)
    return name[: -len(ending)]


def _fingerprint(archives: Sequence[Path]) -> int:
    states = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in archives]
    return zlib.crc32(repr(states).encode())


def _unpack_whole(archive: Path, target: Path, progress: Progress | None) -> None:
    """To <target>.partial, which becomes target when it is whole: only one process unpacks to a place."""
    if target.is_dir():
        return
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    unpack = next(unpack for ending, unpack in _UNPACKERS.items() if archive.name.casefold().endswith(ending))
    try:
        unpack(archive, partial, progress)
        partial.rename(target)
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{archive} cannot be unpacked to {target.parent}: {type(error).__name__}: {error}. Download it again "
            "if it is damaged; check the free space of the disk."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Budget:
    """Counts entries and bytes of an archive before they are written."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._entries = self._bytes = 0
        self._size = archive.stat().st_size

    def take(self, size: int) -> int:
        """Room for one more entry; how many there are. Raises as `add`."""
        self._entries += 1
        self.add(size)
        return self._entries

    def add(self, size: int) -> None:
        """Raises DataError: more entries or bytes than any benchmark has, or more than so small an archive can have."""
        self._bytes += size
        if self._entries > MAX_ENTRIES or self._bytes > MAX_BYTES:
            raise DataError(
                f"{self._archive} holds more than {MAX_ENTRIES} entries or {MAX_BYTES / 1e9:g} GB, which no benchmark "
                "does. Check where it comes from; unpack it by hand if it is right."
            )
        if self._bytes > FREE_BYTES + MAX_RATIO * self._size:
            raise DataError(
                f"{self._archive} has {self._size} bytes and unpacks to {self._bytes / 1e6:,.0f} MB or more; at most "
                f"{MAX_RATIO} times its size and {FREE_BYTES / 1e6:g} MB are unpacked. Check where it comes from; "
                "unpack it by hand if it is right."
            )


def _refuse(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive}: entry {shown(name, 200)} {why}; nothing was unpacked. Download the archive from its "
        "publisher again."
    )


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise _refuse(archive, name, "leads out of the folder it is unpacked to")
    if len(path.parts) > MAX_DEPTH:
        raise _refuse(archive, name, f"lies {len(path.parts) - 1} folders deep, and at most {MAX_DEPTH} are made")


class _Member(tarfile.TarInfo):
    """An entry of a tar that ends where it says so, and whose notes are short."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Raises ReadError at an end without a marker, which Python takes for that of a whole archive."""
        if not buf:
            raise tarfile.ReadError("it ends without the marker of its end: it is cut off")
        member = super().frombuf(buf, encoding, errors)
        if not (member.isreg() or member.isdir()) and member.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a note of {member.size} bytes before an entry")
        return member


def _untar(archive: Path, target: Path, progress: Progress | None) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DataError("this Python cannot unpack tar archives safely; use 3.10.12, 3.11.4 or newer.")
    total, budget = archive.stat().st_size, _Budget(archive)
    with archive.open("rb") as stream, _opened(stream) as content:
        with tarfile.open(fileobj=content, mode="r|*", tarinfo=_Member) as tar:
            for member in tar:
                _check_name(archive, member.name)
                if not (member.isreg() or member.isdir()):
                    raise _refuse(archive, member.name, "is a link, device or pipe, neither file nor folder")
                count = budget.take(member.size)
                try:
                    tar.extract(member, target, filter="data")
                except tarfile.FilterError as error:
                    raise _refuse(archive, member.name, f"is unsafe ({error})") from error
                if progress is not None and count % _REPORT_EVERY == 0:
                    progress(archive.name, stream.tell(), total)
        while rest := content.read(_PIECE):  # to the checksum behind it
            budget.add(len(rest))
    if progress is not None:
        progress(archive.name, total, total)


def _opened(stream: IO[bytes]) -> IO[bytes]:
    """The tar in a file. Of gzip it is unpacked here: tarfile itself ignores its checksum and a missing end."""
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if packed else stream


def _unzip(archive: Path, target: Path, progress: Progress | None) -> None:
    with zipfile.ZipFile(archive) as packed:
        entries, budget = packed.infolist(), _Budget(archive)
        _check_apart(archive, entries)
        for entry in entries:
            _check_name(archive, entry.filename)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refuse(archive, entry.filename, "is a link, device or pipe, neither file nor folder")
            if entry.flag_bits & 1:
                raise _refuse(archive, entry.filename, "is encrypted, and no password is known; unpack it by hand")
            budget.take(entry.file_size)
        total, done = sum(entry.compress_size for entry in entries), 0
        for count, entry in enumerate(entries, start=1):
            packed.extract(entry, target)
            done += entry.compress_size
            if progress is not None and (count % _REPORT_EVERY == 0 or count == len(entries)):
                progress(archive.name, done, total)


def _check_apart(archive: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raise unless each entry has bytes of its own, as in all archives but those made to fill a disk."""
    placed = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, after in itertools.pairwise(placed):
        if entry.header_offset + _LOCAL_HEADER + entry.compress_size > after.header_offset:
            raise _refuse(archive, after.filename, f"overlaps the entry {shown(entry.filename, 200)}")


_UNPACKERS: dict[str, Callable[[Path, Path, Progress | None], None]] = {
    ".zip": _unzip,
    ".tar": _untar,
    ".tar.gz": _untar,
    ".tgz": _untar,
    ".tar.bz2": _untar,
    ".tar.xz": _untar,
}
