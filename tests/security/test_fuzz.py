"""Each reader of tests/fuzz.py takes or refuses damaged files; `make fuzz` tries more of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fuzz import Found, Reader, attempt, fuzz, readers

TITLES = (
    ".pts", "lists of WFLW", ".mat of 300W-LP", ".mat of points", ".mat of COFW-68", ".mat of its boxes",
    ".mat of iBUG's boxes", "HDF5 of COFW", "COCO json", "csv", "scheme yaml", "archives", "store.json",
    "annotations.parquet", "shards", "predictions.parquet", "result.json", "config.yaml", "checkpoints",
    "weights of FAN", "weights of DPR",
)  # fmt: skip


@pytest.fixture(scope="module")
def by_title(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Reader]:
    return {reader.title: reader for reader in readers(tmp_path_factory.mktemp("whole"))}


def test_all_readers_are_tried(by_title: Mapping[str, Reader]) -> None:
    assert tuple(by_title) == TITLES


@pytest.mark.parametrize("title", TITLES)
def test_damaged_files_are_taken_or_refused(by_title: Mapping[str, Reader], title: str) -> None:
    found = fuzz(by_title[title], cases=15, seed=0)
    assert found.counts["taken"] + found.counts["refused"] == 15, found.kept
    assert found.counts["refused"] > 0


def test_what_is_neither_is_counted_and_kept(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        raise KeyError("state_dict")

    found = Found()
    assert attempt(Reader("a", "a", [b""], (), read), b"", tmp_path, found)
    assert found.counts["foreign"] == 1
    assert "KeyError: 'state_dict'" in found.kept[0]
