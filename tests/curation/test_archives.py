"""Archives are unpacked whole and beside the source, or not at all."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import tarfile
import tempfile
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facegraph.curation import archives
from facegraph.curation.archives import find_archives, unpack_archives
from facegraph.curation.prepare.datasets import BENCHMARKS
from facegraph.errors import DataError
from tests.helpers.trees import write_wflw


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def _files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


ABSOLUTE = Path(tempfile.gettempdir()) / f"facegraph_evil_{uuid.uuid4().hex}.txt"
EVIL_TARS: dict[str, tuple[tarfile.TarInfo, ...]] = {
    "parent": (_member("../evil.txt"),),
    "deep_parent": (_member("a/b/../../../evil.txt"),),
    "absolute": (_member(str(ABSOLUTE)),),
    "backslash": (_member("..\\evil.txt"),),
    "drive": (_member("C:/evil.txt"),),
    "symlink_out": (_member("link", tarfile.SYMTYPE, "../.."), _member("link/evil.txt")),
    "symlink_absolute": (_member("link", tarfile.SYMTYPE, "/etc/passwd"),),
    "hardlink_out": (_member("link", tarfile.LNKTYPE, "../../evil.txt"),),
    "device": (_member("null", tarfile.CHRTYPE),),
    "pipe": (_member("pipe", tarfile.FIFOTYPE),),
}


@pytest.mark.parametrize("name", EVIL_TARS)
def test_a_tar_that_leads_out_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "cache" / "into"
    source.mkdir()
    good = (_member("good.txt"), b"good")
    evil = tuple((member, b"evil" if member.isreg() else b"") for member in EVIL_TARS[name])
    _tar(source / "set.tar.gz", good, *evil)
    before = _files(tmp_path)
    with pytest.raises(DataError, match=r"set\.tar\.gz: entry .*nothing was unpacked"):
        unpack_archives(source, into, ["set"])
    assert _files(tmp_path) == before
    assert not ABSOLUTE.exists()


@pytest.mark.parametrize("name", ["../evil.txt", "/abs.txt", "a/../../evil.txt", "..\\evil.txt", "C:evil.txt"])
def test_a_zip_that_leads_out_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    with zipfile.ZipFile(source / "set.zip", "w") as packed:
        packed.writestr("good.txt", "good")
        packed.writestr(name, "evil")
    before = _files(tmp_path)
    with pytest.raises(DataError, match="leads out"):
        unpack_archives(source, into, ["set"])
    assert _files(tmp_path) == before


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(source / "set.zip", "w") as packed:
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="'link' is a link"):
        unpack_archives(source, tmp_path / "into", ["set"])


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 7), ("MAX_ENTRIES", 1)])
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_absurd_sizes_are_refused(
    limit: str, value: int, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    WRITERS[ending](source / f"set{ending}", {"a.txt": b"1234", "b.txt": b"5678"})
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(DataError, match="holds more than"):
        unpack_archives(source, tmp_path / "into", ["set"])


def _write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)


def _write_tar(path: Path, files: dict[str, bytes]) -> None:
    _tar(path, *((_member(name), content) for name, content in files.items()))


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], None]] = {".zip": _write_zip, ".tar.gz": _write_tar}


@pytest.mark.parametrize("ending", WRITERS)
def test_damaged_archives_leave_nothing(ending: str, tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    path = source / f"set{ending}"
    WRITERS[ending](path, {"a.txt": os.urandom(40_000), "b.txt": os.urandom(40_000)})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"set.*cannot be unpacked.*Download it again"):
        unpack_archives(source, into, ["set"])
    assert _files(into) == set()
    assert not list(into.rglob("*.partial"))


def _write_lzma_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        for name, content in files.items():
            packed.writestr(name, content)


def _write_xz(path: Path, files: dict[str, bytes]) -> None:
    _write_tar(path, files)
    path.write_bytes(lzma.compress(gzip.decompress(path.read_bytes())))


@pytest.fixture(scope="module")
def whole_archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, found = tmp_path_factory.mktemp("archives"), {}
    for ending, write in {**WRITERS, ".tar.xz": _write_xz, ".lzma.zip": _write_lzma_zip}.items():
        write(folder / f"set{ending}", {"a.txt": bytes(range(200)) * 3, "sub/b.txt": b"b" * 300})
        found[ending] = (folder / f"set{ending}").read_bytes()
    return found


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("ending", [".zip", ".lzma.zip", ".tar.gz", ".tar.xz"])
@given(
    edits=st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=3)), max_size=3), cut=st.integers(0)
)
def test_mutated_archives_are_unpacked_or_refused(
    whole_archives: dict[str, bytes], ending: str, edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    content = bytearray(whole_archives[ending])
    for place, new in edits:
        content[place % len(content)] = new[0]
    with tempfile.TemporaryDirectory() as folder:
        source, into = Path(folder) / "source", Path(folder) / "into"
        source.mkdir()
        (source / f"set{ending}").write_bytes(content[:cut])
        try:
            unpack_archives(source, into, ["set*"])
        except DataError as error:
            refused = str(error)
            assert not _files(into)
        else:
            refused = None
        assert refused is None or f"set{ending}" in refused
        assert {path.name for path in Path(folder).iterdir()} <= {"source", "into"}, "nothing leads out"


@pytest.mark.parametrize("ending", WRITERS)
def test_unpacked_once_reused_and_renewed(ending: str, tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    (source / "sub").mkdir(parents=True)
    path = source / "sub" / f"Set{ending}"
    WRITERS[ending](path, {"sub/a.txt": b"first", "ü name.txt": b"x"})
    before = {name: (source / name).read_bytes() for name in _files(source)}
    reported: list[tuple[str, int, int]] = []
    whole = unpack_archives(source, into, ["set*"], lambda *state: reported.append(state))
    assert (whole / "Set" / "sub" / "a.txt").read_bytes() == b"first"
    assert (whole / "Set" / "ü name.txt").is_file()
    assert reported[-1][1] == reported[-1][2] > 0
    assert {name: (source / name).read_bytes() for name in _files(source)} == before

    (whole / "Set" / "sub" / "a.txt").write_bytes(b"kept")
    assert unpack_archives(source, into, ["set*"]) == whole
    assert (whole / "Set" / "sub" / "a.txt").read_bytes() == b"kept"

    path.unlink()
    WRITERS[ending](path, {"sub/a.txt": b"second, longer"})
    renewed = unpack_archives(source, into, ["set*"])
    assert renewed != whole
    assert (renewed / "Set" / "sub" / "a.txt").read_bytes() == b"second, longer"


def test_what_a_killed_run_left_is_removed_and_no_result(tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    _write_zip(source / "set.zip", {"a.txt": b"whole"})
    whole = unpack_archives(source, into, ["set"])
    left = whole / "set.partial"
    os.rename(whole / "set", left)
    assert (unpack_archives(source, into, ["set"]) / "set" / "a.txt").read_bytes() == b"whole"
    assert not left.exists()


def test_nothing_to_unpack_gives_the_source(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "set").mkdir(parents=True)
    _write_zip(source / "set.zip", {"a.txt": b"1"})
    _write_zip(source / "other.zip", {"a.txt": b"1"})
    assert find_archives(source, ["set"]) == []
    assert unpack_archives(source, tmp_path / "into", ["set"]) == source
    assert not (tmp_path / "into").exists()


def test_the_source_is_not_unpacked_into(tmp_path: Path) -> None:
    _write_zip(tmp_path / "set.zip", {"a.txt": b"1"})
    with pytest.raises(DataError, match="lies inside the source"):
        unpack_archives(tmp_path, tmp_path / "into", ["set"])
    assert _files(tmp_path) == {"set.zip"}


def test_wflw_as_downloaded_gives_the_same_faces(tmp_path: Path) -> None:
    benchmark = BENCHMARKS["wflw"]
    folders, packed = write_wflw(tmp_path / "folders"), write_wflw(tmp_path / "packed", archives=True)
    assert sorted(p.name for p in packed.root.iterdir()) == ["WFLW_annotations.tar.gz", "WFLW_images.tar.gz"]
    index = benchmark.index(unpack_archives(packed.root, tmp_path / "into", benchmark.archives))
    assert [f.id for f in index.faces] == [f.id for f in benchmark.index(folders.root).faces]
    assert index.problems == ()


def test_one_part_as_archive_beside_the_other_as_folder(tmp_path: Path) -> None:
    benchmark = BENCHMARKS["wflw"]
    tree, other = write_wflw(tmp_path / "a"), write_wflw(tmp_path / "b", archives=True)
    (other.root / "WFLW_images.tar.gz").unlink()
    (tree.root / "WFLW_images").rename(other.root / "WFLW_images")
    index = benchmark.index(unpack_archives(other.root, tmp_path / "into", benchmark.archives))
    assert len(index.faces) == len(tree.faces)
    assert index.problems == ()
