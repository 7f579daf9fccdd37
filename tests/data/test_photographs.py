"""The same photograph is found under another name, through a link and as a copy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from facegraph.data.splits import find_shared, name_photographs, tell_shared
from facegraph.errors import DataError


def written(folder: Path, **contents: bytes) -> dict[str, Path]:
    files = {name: folder / name for name in contents}
    for name, content in contents.items():
        files[name].write_bytes(content)
    return files


def test_one_photograph_under_several_names(tmp_path: Path) -> None:
    long = bytes(20_000)
    files = written(tmp_path, a=long + b"1", b=long + b"1", c=long + b"2", d=b"x", e=b"y", f=b"")
    os.symlink(files["d"], tmp_path / "link")
    os.link(files["e"], tmp_path / "hard")
    paths = [*files.values(), tmp_path / "link", tmp_path / "hard", None, tmp_path / "gone"]
    names = name_photographs(paths, ["a", "b", "c", "d", "e", "f", "link", "hard", "none", "gone"])
    assert names.tolist() == ["a", "a", "c", "d", "e", "f", "d", "e", "none", "gone"]


def test_names_that_copies_join_are_one(tmp_path: Path) -> None:
    """Faces of photograph p and of q, one file of each being a copy of the other, and q's other file one of r's."""
    files = written(tmp_path, a=b"1", b=b"1", c=b"2", d=b"2", e=b"3")
    paths = [files[n] for n in "abcde"]
    assert name_photographs(paths, ["q", "p", "q", "r", "s"]).tolist() == ["p", "p", "p", "p", "s"]
    turned = name_photographs(paths[::-1], ["s", "r", "q", "p", "q"])
    assert turned.tolist() == ["s", "p", "p", "p", "p"], "the order of rows changes nothing"


def test_only_files_of_equal_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path, a=b"1", b=b"22", c=b"33", d=bytes(9000) + b"4", e=bytes(9000) + b"5")
    opened: list[str] = []
    kept = Path.open

    def open_counted(self: Path, *arguments: object, **named: object) -> object:
        opened.append(self.name)
        return kept(self, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_counted)
    name_photographs(list(files.values()), list(files))
    assert "a" not in opened
    assert opened.count("b") == 1, "a sample tells them apart"


def test_shared_photographs_are_told_by_split() -> None:
    photos = np.array(["p", "q", "p", "r", "r", "q"], dtype=object)
    splits = np.array(["train", "train", "test", "test", "val", "other"], dtype=object)
    shared = find_shared(photos, splits, ["train", "val", "test"])
    assert shared == [{"train": 0, "test": 2}, {"test": 3, "val": 4}]
    assert find_shared(photos, splits, ["train", "val"]) == []
    with pytest.raises(DataError, match=r"faces\.csv: 2 photograph\(s\) .*\(train: row 0 and test: row 2; test: row 3"):
        tell_shared(shared, "faces.csv", lambda row: f"row {row}", allowed=False)
    with pytest.warns(UserWarning, match=r"2 photograph\(s\) are in more than one split"):
        tell_shared(shared, "faces.csv", lambda row: f"row {row}", allowed=True)
    tell_shared([], "faces.csv", lambda row: f"row {row}", allowed=False)
