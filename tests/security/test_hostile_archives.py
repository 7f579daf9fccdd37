"""Archives made to fill a disk, to be taken for whole, or to break what unpacks them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from facegraph.curation import archives
from facegraph.curation.archives import MAX_DEPTH, unpack_archives
from facegraph.errors import DataError


def refused(tmp_path: Path, name: str, content: bytes, message: str) -> str:
    """The message; nothing of the archive stays on the disk."""
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    (source / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        unpack_archives(source, into, ["set"])
    assert not [path for path in into.rglob("*") if path.is_file()]
    assert str(caught.value).isprintable()
    return str(caught.value)


def tar_of(*sizes: int, name: str = "{}.jpg") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number, size in enumerate(sizes):
            member = tarfile.TarInfo(name.format(number))
            member.size = size
            tar.addfile(member, io.BytesIO(b"x" * size))
    return stream.getvalue()


def overlapping_zip(count: int, size: int) -> bytes:
    """Entries that all are the same packed bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = b"\0" * size
    packed = packer.compress(raw) + packer.flush()
    fields = (zlib.crc32(raw), len(packed), size)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, *fields, 5, 0) + b"00000" + packed
    central = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, *fields, 5, 0, 0, 0, 0, 0, 0) + f"{i:05d}".encode()
        for i in range(count)
    )
    return local + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(central), len(local), 0)


def test_a_zip_of_overlapping_entries_is_refused(tmp_path: Path) -> None:
    content = overlapping_zip(500, 10_000_000)
    assert len(content) < 60_000
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert sum(entry.file_size for entry in packed.infolist()) == 5 * 10**9
    refused(tmp_path, "set.zip", content, r"set\.zip: entry '0\d+' overlaps the entry '0\d+'")


def zip_of(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jpg", content)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    content = zip_of(b"\0" * 3_000_000) if name.endswith("zip") else gzip.compress(tar_of(3_000_000))
    refused(tmp_path, name, content, r"unpacks to 3 MB or more; at most 100 times its size and 0\.1 MB")


def test_what_follows_a_tar_is_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    refused(tmp_path, "set.tar.gz", gzip.compress(tar_of(10) + b"\0" * 5_000_000), "at most 100 times")


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz"])
def test_a_tar_cut_off_between_entries_is_refused(name: str, tmp_path: Path) -> None:
    whole = tar_of(100, 100, 100)
    entry = 512 + 512  # header and content
    packed = gzip.compress if name.endswith("gz") else bytes
    refused(tmp_path, name, packed(whole[: 2 * entry]), "cut off")


def test_a_tar_whose_gzip_is_cut_off_or_damaged_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(tar_of(1000))
    for number, content in enumerate((whole[:-8], whole[:-9], whole[:-8] + bytes(8))):
        (tmp_path / str(number)).mkdir()
        refused(tmp_path / str(number), "set.tar.gz", content, "cannot be unpacked")


@pytest.mark.parametrize("name", ["set.tar", "set.zip"])
def test_folders_without_end_are_refused(name: str, tmp_path: Path) -> None:
    deep = "a/" * 3000 + "b.jpg"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(deep, "x")
    content = stream.getvalue() if name.endswith("zip") else tar_of(1, name=deep)
    message = refused(tmp_path, name, content, f"lies 3000 folders deep, and at most {MAX_DEPTH}")
    assert len(message) < 1000


def test_folders_in_folders_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "set.tar").write_bytes(tar_of(1, name="a/" * 20 + "b.jpg"))
    whole = unpack_archives(tmp_path / "source", tmp_path / "into", ["set"])
    assert (whole / "set" / ("a/" * 20 + "b.jpg")).read_text() == "x"


def test_a_long_note_before_an_entry_is_refused(tmp_path: Path) -> None:
    note = tarfile.TarInfo("././@LongLink")
    note.type, note.size = tarfile.GNUTYPE_LONGNAME, 2_000_000
    content = note.tobuf(tarfile.GNU_FORMAT) + b"a" * 2_000_384 + tar_of(1)
    refused(tmp_path, "set.tar", content, "a note of 2000000 bytes")


def test_notes_on_notes_are_refused(tmp_path: Path) -> None:
    note = tarfile.TarInfo("././@LongLink")
    note.type, note.size = tarfile.GNUTYPE_LONGNAME, 2
    refused(tmp_path, "set.tar", (note.tobuf(tarfile.GNU_FORMAT) + b"a\0" + bytes(510)) * 3000, "cannot be unpacked")


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    refused(tmp_path, "set.tar", tar_of(1, name="../\x1b]0;title\x07\x1b[31m.jpg"), r"entry '\.\./\\x1b\]0;title\\x07")
