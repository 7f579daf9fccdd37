"""A store holds what went in, is whole or not there, and is the same however it came about."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from facegraph.curation.prepare.build import prepare
from facegraph.curation.prepare.datasets import BENCHMARKS
from facegraph.data.entries import FaceEntry, FileImage, Problem
from facegraph.data.store import shards, writer
from facegraph.data.store.hashing import content_hash, stored_hash
from facegraph.data.store.layout import CropPolicy, read_info
from facegraph.data.store.place import locked
from facegraph.data.store.reader import FaceStore
from facegraph.data.store.writer import write_store
from facegraph.errors import DataError
from tests.helpers.quad_stores import SMALL_CROP, quad_content, quad_store
from tests.helpers.trees import write_wflw


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "FACES_PER_SHARD", 4)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 10, tests=3, faces_per_photo=2)
    info = write_store(content, tmp_path / "store", SMALL_CROP)
    store = FaceStore(tmp_path / "store")
    assert (info.counts, len(store)) == ({"train": 7, "train/odd": 3, "test": 3, "test/odd": 2}, 10)
    assert info.photographs == {"read": 5}
    for row, face in enumerate(content.faces):
        found = store.frame.iloc[row]
        assert np.array_equal(store.landmarks[row], face.landmarks)
        assert (found["id"], found["photo"], found["image"]) == (face.id, face.photo, face.image.name)
        assert (found["split"], found["source"]) == (face.split, face.where)
        assert (found["attr_odd"], found["value_number"]) == (face.attributes["odd"], face.values["number"])
        assert (found["width"], found["height"]) == (128, 64)
        assert np.isnan(store.boxes[row]).all()
        assert found["norm_inter_ocular"] == np.linalg.norm(face.landmarks[0] - face.landmarks[1])
        hidden = found["hidden"]
        assert (hidden is None) if face.hidden is None else list(hidden) == face.hidden.tolist()
    assert store.source(store.rows("test")).image(0).shape == (64, 64, 3)


def test_jpeg_crops_differ_from_raw_ones_by_little(tmp_path: Path) -> None:
    raw = quad_store(tmp_path / "a")
    jpeg = quad_store(tmp_path / "b", crop=CropPolicy(side=64, image_format="jpeg", quality=95))
    for row in range(len(raw)):
        pair = [store.source(np.array([row])).image(0).astype(int) for store in (raw, jpeg)]
        assert np.abs(pair[0] - pair[1]).mean() < 2
    sizes = [sum(len(b) for n, b in files(s.path).items() if "images" in n) for s in (raw, jpeg)]
    assert sizes[0] > 4 * sizes[1] > 0


def test_chroma_is_kept_at_full_resolution(tmp_path: Path) -> None:
    """A red line one px wide on grey survives; with subsampled chroma it would lose half of its colour."""
    image = np.full((64, 64, 3), 127, np.uint8)
    image[:, 31] = (255, 0, 0)
    jpeg = shards._encode(image, 95)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)[32, 31, 0].astype(int) - 255 > -30


def test_the_hash_is_of_the_content_alone(tmp_path: Path, small_shards: None) -> None:
    content = quad_content(tmp_path / "photos", 14, tests=4, faces_per_photo=3)
    info = write_store(content, tmp_path / "a", SMALL_CROP)
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "photos", moved)
    faces = [replace(f, image=replace(f.image, path=moved / f.image.name)) for f in content.faces]  # type: ignore[type-var]
    other = write_store(replace(content, faces=faces, source="elsewhere"), tmp_path / "b", SMALL_CROP)
    assert other.content_hash == info.content_hash == stored_hash(tmp_path / "a") == stored_hash(tmp_path / "b")
    assert len(list((tmp_path / "a" / "images").iterdir())) > 3, "several shards"


@pytest.mark.parametrize("column", ["x0", "split", "attr_odd", "hidden", "shard", "box_x0"])
def test_the_hash_covers_every_kind_of_column(tmp_path: Path, column: str) -> None:
    store = quad_store(tmp_path)
    frame = store.frame.copy()
    assert content_hash(frame, ["a"]) == content_hash(store.frame, ["a"]) != content_hash(frame, ["b"])
    changed: dict[str, object] = {"split": "other", "attr_odd": True, "hidden": np.ones(4, bool), "shard": 7}
    values = list(frame[column])
    values[0] = changed.get(column, 1.5)
    frame[column] = pd.Series(values, dtype=None if column == "hidden" else frame[column].dtype)
    assert content_hash(frame, ["a"]) != content_hash(store.frame, ["a"])


def test_a_changed_pixel_changes_the_hash(tmp_path: Path) -> None:
    store = quad_store(tmp_path)
    shard = store.path / "images" / "00000.bin"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    assert stored_hash(store.path) != store.info.content_hash


def test_workers_change_nothing(tmp_path: Path, small_shards: None) -> None:
    content = quad_content(tmp_path / "photos", 14, tests=4, faces_per_photo=2)
    for workers in (1, 2):
        write_store(content, tmp_path / str(workers), SMALL_CROP, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_a_photograph_is_read_once_and_many_faces_are_split(small_shards: None) -> None:
    image = FileImage(Path("crowd.png"), "crowd.png", "list")
    alone = [FileImage(Path(f"{k}.png"), f"{k}.png", "list") for k in range(6)]
    order = [alone[0], *[image] * 5, alone[1], image, *alone[2:], alone[0]]
    faces = [FaceEntry(str(k), ref, ref.name, "train", np.zeros((4, 2)), "list") for k, ref in enumerate(order)]
    tasks = shards.plan_shards(faces, Path("out"), SMALL_CROP)
    assert [len(task.faces) for task in tasks] == [2, 4, 4, 3]
    assert sorted(k for task in tasks for k, _ in task.faces) == list(range(len(faces)))
    assert {task.number for task in tasks for _, f in task.faces if f.image is alone[0]} == {0}


def test_bad_faces_and_photographs_are_named_and_the_rest_is_prepared(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 12, tests=2, faces_per_photo=2)
    faces = list(content.faces)
    names = [face.image.name for face in faces]
    (tmp_path / "photos" / names[0]).unlink()
    (tmp_path / "photos" / names[2]).write_bytes(b"")
    (tmp_path / "photos" / names[4]).write_bytes((tmp_path / "photos" / names[4]).read_bytes()[:-200])
    faces[6] = replace(faces[6], landmarks=np.full((4, 2), np.nan))
    faces[7] = replace(faces[7], landmarks=faces[7].landmarks + 5000)
    faces[8] = replace(faces[8], box=np.array([3.0, 3.0, 3.0, 9.0]))
    before = Problem("missing part", "test", "list_b.txt", "not there")
    info = write_store(replace(content, faces=faces, problems=(before,)), tmp_path / "store", SMALL_CROP)
    assert info.counts["train"] + info.counts["test"] == len(FaceStore(tmp_path / "store")) == 4
    kinds = [(p["kind"], p["name"]) for p in info.problems]
    assert kinds == [
        ("missing part", "list_b.txt"),
        ("bad annotation", faces[6].id),
        ("bad box", faces[8].id),
        *(("unreadable image", names[i]) for i in (0, 2, 4)),
        ("bad annotation", faces[7].id),
    ]
    assert all("2 face(s)" in p["message"] for p in info.problems if p["kind"] == "unreadable image")
    table = pd.read_csv(tmp_path / "store" / "problems.csv")
    assert list(zip(table["kind"], table["name"], strict=True)) == kinds
    assert read_info(tmp_path / "store").problems == info.problems


def test_strict_refuses_before_and_after_writing(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 4)
    official = replace(content, official_counts={"train": 5, "train/odd": 2})
    with pytest.raises(DataError, match=r"1 count.*train: 4 of 5"):
        write_store(official, tmp_path / "a", SMALL_CROP, strict=True)
    assert not (tmp_path / "a.partial").exists(), "known before anything is written"
    (tmp_path / "photos" / content.faces[0].image.name).write_bytes(b"")
    with pytest.raises(DataError, match=r"1 problem.*unreadable image 'photo_0000\.png'"):
        write_store(content, tmp_path / "b", SMALL_CROP, strict=True)
    assert not (tmp_path / "b").exists()
    assert write_store(content, tmp_path / "b", SMALL_CROP).counts["train"] == 3
    assert not (tmp_path / "b.partial").exists()
    with pytest.raises(DataError, match="--strict"):
        write_store(content, tmp_path / "b", SMALL_CROP, strict=True)


def test_strict_passes_over_what_is_optional(tmp_path: Path) -> None:
    note = Problem("missing part", "private", "boxes", "not there", optional=True)
    official = {"train": 3, "test": 1, "private": 2, "private/odd": 1}
    content = quad_content(tmp_path / "photos", 4, tests=1)
    content = replace(content, problems=(note,), official_counts=official, optional_splits=frozenset({"private"}))
    for _ in range(2):  # the second time the store is there
        info = write_store(content, tmp_path / "store", SMALL_CROP, strict=True)
        assert [Problem(**p) for p in info.problems] == [note]
    with pytest.raises(DataError, match=r"--strict: 0 problem.* 2 count.*private: 0 of 2"):
        write_store(replace(content, optional_splits=frozenset()), tmp_path / "a", SMALL_CROP, strict=True)
    part = (*content.faces[:3], replace(content.faces[3], split="private"))
    with pytest.raises(DataError, match="private: 1 of 2"):  # absent or whole
        write_store(replace(content, faces=part), tmp_path / "b", SMALL_CROP, strict=True)
    with pytest.raises(DataError, match=r"1 problem.*'boxes'"):
        write_store(
            replace(content, problems=(replace(note, optional=False),)), tmp_path / "c", SMALL_CROP, strict=True
        )


def test_a_box_without_size_in_a_list_costs_the_box_only(tmp_path: Path) -> None:
    write_wflw(tmp_path / "source", train=3, test=2)
    path = tmp_path / "source/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    lines[1][198] = lines[1][196]
    path.write_text("\n".join(map(" ".join, lines)))
    info = prepare(BENCHMARKS["wflw"], tmp_path / "source", tmp_path / "store", SMALL_CROP)
    assert (info.counts["train"], info.counts["test"]) == (3, 2)
    assert np.isnan(FaceStore(tmp_path / "store").boxes).any(axis=1).tolist() == [False, True, False, False, False]
    (problem,) = info.problems
    assert problem["kind"] == "bad box"
    assert f"{path.name}, line 2: " in problem["message"]
    assert "has no size" in problem["message"]


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 2)
    with pytest.raises(DataError, match="describes no faces"):
        write_store(replace(content, faces=()), tmp_path / "store", SMALL_CROP)
    with pytest.raises(DataError, match=r"ids occur more than once, first 'photo_0000\.png#0'"):
        write_store(replace(content, faces=[content.faces[0]] * 2), tmp_path / "store", SMALL_CROP)
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(DataError, match="no face could be cut out"):
        write_store(content, tmp_path / "store", SMALL_CROP)
    assert not (tmp_path / "store").exists()


def test_a_whole_store_is_left_alone(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 4)
    info = write_store(content, tmp_path / "store", SMALL_CROP)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*")}
    assert write_store(content, tmp_path / "store", SMALL_CROP) == info
    for other, named in (
        ((content, CropPolicy(side=32)), "crop.side (64 then, 32 now)"),
        ((replace(content, version="2"), SMALL_CROP), "version (1 then, 2 now)"),
        ((replace(content, attributes=()), SMALL_CROP), "attributes (odd then,  now)"),
        ((replace(content, scheme=replace(content.scheme, flip=(0, 1, 2, 3))), SMALL_CROP), "scheme (quad4"),
        ((replace(content, missing="mask"), SMALL_CROP), "faces without some landmarks (leave_out then, mask now)"),
        ((replace(content, options={"seed": "3"}), SMALL_CROP), "seed (unknown then, 3 now)"),
    ):
        with pytest.raises(DataError, match="Nothing is overwritten") as caught:
            write_store(other[0], tmp_path / "store", other[1])
        assert named in str(caught.value)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*")} == stamps


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 2)
    for name in ("store", "store.partial"):
        mine = tmp_path / name / "thesis.txt"
        mine.parent.mkdir()
        mine.write_text("mine")
        with pytest.raises(DataError, match=r"no prepared store|not made by prepare"):
            write_store(content, tmp_path / "store", SMALL_CROP)
        assert mine.read_text() == "mine"
        shutil.rmtree(mine.parent)
    (tmp_path / "store").mkdir()
    assert write_store(content, tmp_path / "store", SMALL_CROP).counts["train"] == 2, (
        "an empty folder is in nobody's way"
    )


@pytest.mark.parametrize("stopped_at", ["write_shards", "content_hash", "publish"])
def test_a_run_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None, stopped_at: str
) -> None:
    content = quad_content(tmp_path / "photos", 12, tests=4)
    real = shards.write_shards

    def stop(*arguments: object) -> object:
        if stopped_at == "write_shards":
            yield next(real(*arguments))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    replacement = stop if stopped_at == "write_shards" else lambda *a: next(stop(*a))  # type: ignore[call-overload]
    with monkeypatch.context() as patch:
        patch.setattr(writer, stopped_at, replacement)
        with pytest.raises(KeyboardInterrupt):
            write_store(content, tmp_path / "store", SMALL_CROP)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
    assert write_store(content, tmp_path / "store", SMALL_CROP).counts["train"] == 8


def test_what_a_killed_run_left_is_made_anew(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 4)
    whole = write_store(content, tmp_path / "whole", SMALL_CROP)
    shutil.copytree(tmp_path / "whole", tmp_path / "store.partial")
    for name in ("images/00000.bin", "annotations.parquet", "store.json"):
        (tmp_path / "store.partial" / name).write_bytes(b"cut short by a crash")
    (tmp_path / "store.partial" / "images" / "00001.bin").write_bytes(b"of other settings")
    assert write_store(content, tmp_path / "store", SMALL_CROP) == whole
    assert files(tmp_path / "store") == files(tmp_path / "whole")
    assert not (tmp_path / "store.partial").exists()


def test_one_writer_at_a_time_and_stale_locks_hinder_nobody(tmp_path: Path) -> None:
    content = quad_content(tmp_path / "photos", 2)
    lock = tmp_path / "store.lock"
    with locked(tmp_path / "store"), pytest.raises(DataError, match=rf"process {os.getpid()}\) is writing"):
        write_store(content, tmp_path / "store", SMALL_CROP)
    assert not lock.exists()
    lock.write_text("4711")  # what a killed process leaves behind
    assert write_store(content, tmp_path / "store", SMALL_CROP).counts["train"] == 2
    assert not lock.exists()


def test_a_full_disk_is_told_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = quad_content(tmp_path / "photos", 4)
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 64 * 64 * 3)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="--format jpeg"):
        write_store(content, tmp_path / "store", SMALL_CROP)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "write_shard", lambda t: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(DataError, match=r"full.*run the same command again"):
        write_store(content, tmp_path / "store", SMALL_CROP)
    assert not (tmp_path / "store.partial").exists()


def test_progress_counts_up_to_all_faces(tmp_path: Path, small_shards: None) -> None:
    seen: list[tuple[str, int, int]] = []
    write_store(
        quad_content(tmp_path / "photos", 10), tmp_path / "store", SMALL_CROP, progress=lambda *a: seen.append(a)
    )
    assert seen == [(writer.CUTTING, done, 10) for done in (0, 4, 8, 10)]


def test_a_store_of_another_format_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    store = quad_store(tmp_path, count=3, tests=0)
    path = store.path / "store.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "format_version": 99}))
    with pytest.raises(DataError, match="format version 99; this facegraph reads"):
        read_info(store.path)
    for text in ("", "[1, 2]", json.dumps({**fields, "crop": {"side": "wide"}})):
        path.write_text(text)
        with pytest.raises(DataError, match=r"store\.json cannot be read"):
            read_info(store.path)
