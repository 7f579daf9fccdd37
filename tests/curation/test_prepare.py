"""facegraph prepare as a user runs it: fake official trees in, stores out; killed and begun anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.curation.prepare.build import prepare
from facegraph.curation.prepare.report import next_command
from facegraph.data.benchmarks.wflw import WflwBenchmark
from facegraph.data.store.hashing import stored_hash
from facegraph.data.store.layout import CropPolicy, StoreInfo, read_info
from facegraph.data.store.reader import FaceStore
from facegraph.files.locking import holder
from facegraph.landmarks import COFW29, IBUG68, WFLW98
from tests.helpers.faces import QUAD, annotation_frame, write_faces
from tests.helpers.processes import PATIENCE, wait_for
from tests.helpers.trees import Tree, write_300w, write_300wlp, write_coco, write_cofw, write_cofw68, write_wflw

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def call(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["prepare", *(str(a) for a in arguments)])


def told(done: Result) -> str:
    return " ".join((done.output + str(done.exception or "")).split())


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


TREES = {
    "wflw": (write_wflw, WFLW98, 20),
    "300w": (write_300w, IBUG68, 16),
    "300wlp": (write_300wlp, IBUG68, None),
    "cofw": (write_cofw, COFW29, None),
    "cofw68": (write_cofw68, IBUG68, None),
}


@pytest.mark.parametrize("name", TREES)
def test_every_benchmark_is_prepared_from_its_official_files(tmp_path: Path, name: str) -> None:
    write, scheme, count = TREES[name]
    tree: Tree = write(tmp_path / "source")  # type: ignore[operator]
    before = snapshot(tmp_path / "source")
    done = call(name, "--source", tmp_path / "source", "--out", tmp_path / "out", "--side", 64, "--workers", 1)
    assert done.exit_code == 0, told(done)
    assert snapshot(tmp_path / "source") == before, "nothing in the source is changed"
    store = FaceStore(tmp_path / "out")
    assert (store.info.dataset, store.info.scheme) == (name, scheme)
    assert len(store) == len(tree.faces) == (count or len(tree.faces))
    truth = np.stack([face.landmarks for face in tree.faces])
    distance = np.abs(store.landmarks[:, None] - truth[None]).max(axis=(2, 3))
    assert distance.min(axis=0).max() < 0.01, "each face of the tree is in the store"
    assert distance.min(axis=1).max() < 0.01
    assert store.source(np.arange(len(store))).image(0).std() > 5, "there is a picture in it"
    for part in ("official", "difference", "photographs read", f"facegraph doctor {tmp_path / 'out'}", "dataset.root="):
        assert part in told(done), part


def test_pixels_of_every_benchmark_show_the_face(tmp_path: Path) -> None:
    """A crop of twice the box shows the photograph's pixels at the landmarks, not those of a neighbour."""
    import cv2

    tree = write_wflw(tmp_path / "source", train=6, test=2)
    info = prepare(WflwBenchmark(), tmp_path / "source", tmp_path / "out", CropPolicy(side=256))
    assert info.counts["train"] == 6
    store = FaceStore(tmp_path / "out")
    source = store.source(np.arange(len(store)))
    for row, name in enumerate(store.frame["image"]):
        photograph = cv2.imread(str(next((tmp_path / "source").rglob(Path(name).name))), cv2.IMREAD_COLOR_RGB)
        points = np.rint(store.landmarks[row]).astype(int)
        inside = ((points >= 0) & (points < [photograph.shape[1], photograph.shape[0]])).all(axis=1)
        matrix = source.image_to_stored(row)
        at = np.rint(points * matrix[0, 0] + matrix[:2, 2]).astype(int)[inside]
        seen = source.image(row)[at[:, 1], at[:, 0]].astype(int)
        truth = photograph[points[inside][:, 1], points[inside][:, 0]].astype(int)
        assert np.abs(seen - truth).mean() < 8
    assert len(tree.faces) == len(store)


def test_archives_give_the_same_store_and_are_cleaned_up(tmp_path: Path) -> None:
    write_wflw(tmp_path / "folders", train=4, test=4)
    write_wflw(tmp_path / "packed", train=4, test=4, archives=True)
    hashes = []
    for name, kept in (("folders", ()), ("packed", ()), ("packed", ("--keep-unpacked",))):
        out = tmp_path / f"{name}{len(kept)}"
        done = call("wflw", "--source", tmp_path / name, "--out", out, "--side", 64, *kept)
        assert done.exit_code == 0, told(done)
        hashes.append(read_info(out).content_hash)
        assert out.with_name(f"{out.name}.unpacked").exists() == bool(kept)
        assert not out.with_name(f"{out.name}.lock").exists()
    assert len(set(hashes)) == 1


def test_damaged_and_unusual_photographs_are_reported(tmp_path: Path) -> None:
    kinds = {0: "truncated", 1: "empty", 2: "missing", 3: "cmyk", 4: "grey", 5: "exif"}
    write_wflw(tmp_path / "source", train=12, test=8, kinds=kinds)
    arguments = ("wflw", "--source", tmp_path / "source", "--out", tmp_path / "out", "--side", 64)
    strict = call(*arguments, "--strict")
    assert strict.exit_code == 1
    assert "--strict" in told(strict)
    assert "train: 10 of 7500" in told(strict)
    assert not (tmp_path / "out").exists()
    done = call(*arguments)
    assert done.exit_code == 0, told(done)
    info = read_info(tmp_path / "out")
    assert {key: info.counts[key] for key in ("train", "test")} == {"train": 6, "test": 8}
    problems = (tmp_path / "out" / "problems.csv").read_text()
    for part in ("unreadable image", "missing image", "0 bytes", "truncated"):
        assert part in problems, part
    for part in ("1 rotated in EXIF", "1 grey", "1 CMYK", "--exif apply", "problems.csv"):
        assert part in told(done), part


def test_exif_apply_turns_the_image_alone(tmp_path: Path) -> None:
    write_wflw(tmp_path / "source", train=2, test=2, kinds={0: "exif"})
    stores = {}
    for choice in ("ignore", "apply"):
        done = call("wflw", "--source", tmp_path / "source", "--out", tmp_path / choice, "--side", 64, "--exif", choice)
        assert done.exit_code == 0, told(done)
        stores[choice] = FaceStore(tmp_path / choice)
    ignored, applied = stores["ignore"], stores["apply"]
    assert np.array_equal(ignored.landmarks, applied.landmarks)
    sizes = [tuple(store.frame[["width", "height"]].iloc[0]) for store in (ignored, applied)]
    assert sizes[0] == sizes[1][::-1], "a quarter turn"
    images = [store.source(np.array([0])).image(0) for store in (ignored, applied)]
    assert not np.array_equal(*images)


def test_the_second_call_says_it_is_done_and_changes_nothing(tmp_path: Path) -> None:
    write_300w(tmp_path / "source")
    arguments = ("300w", "--source", tmp_path / "source", "--out", tmp_path / "out", "--side", 64)
    assert call(*arguments).exit_code == 0
    before = snapshot(tmp_path / "out")
    again = call(*arguments)
    assert again.exit_code == 0
    assert "is prepared already" in told(again)
    other = call(*arguments, "--scale", 1.5)
    assert other.exit_code == 1
    assert "crop.scale (2.0 then, 1.5 now)" in told(other)
    assert snapshot(tmp_path / "out") == before


def test_own_faces_from_a_csv_and_from_coco(tmp_path: Path) -> None:
    scheme = tmp_path / "quad.yaml"
    scheme.write_text(
        "name: quad4\nnum_landmarks: 4\nflip: [1, 0, 3, 2]\nnormalisers: {inter_ocular: [[0], [1]]}\n", encoding="utf-8"
    )
    frame = annotation_frame(6, tests=2).assign(dark=[0, 1, 0, 1, 0, 1])
    write_faces(tmp_path / "crops", frame)
    done = call(
        "crops", "--source", tmp_path / "crops", "--out", tmp_path / "a", "--scheme", scheme, "--attributes", "dark"
    )
    assert done.exit_code == 0, told(done)
    info = read_info(tmp_path / "a")
    assert (info.scheme.flip, info.counts["train"], info.counts["test/dark"]) == (QUAD.flip, 4, 1)
    write_coco(tmp_path / "coco")
    done = call("coco", "--source", tmp_path / "coco", "--out", tmp_path / "b", "--scheme", "ibug68", "--side", 64)
    assert done.exit_code == 0, told(done)
    assert "experiment=crops dataset=prepared dataset.root=" in told(done)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["wlfw"], ["'wlfw' is unknown", "wflw, 300w", "coco"]),
        (["wflw", "--source", "nowhere/at/all"], ["no folder", "the path exists up to", "WFLW_images"]),
        (["wflw", "--source", "empty"], ["WFLW"]),
        (["wflw", "--out", "empty/store", "--source", "empty"], ["inside the source", "beside it"]),
        (["wflw", "--scheme", "ibug68"], ["--scheme is not for wflw; it is for coco and crops"]),
        (["wflw", "--flipped"], ["--flipped is not for wflw; it is for 300wlp"]),
        (["coco"], ["--scheme is missing", "wflw98", "YAML"]),
        (["300wlp", "--points", "3d"], ["3d", "pts_2d"]),
        (["wflw", "--side", "4"], ["side is 4", "16 to 4096"]),
        (["wflw", "--format", "jpeg", "--quality", "0"], ["quality is 0", "1 to 100"]),
        (["wflw", "--quality", "90"], ["--quality 90 is for --format jpeg"]),
        (["wflw", "--out", "."], ["--out . names no folder of its own"]),
        (["wflw", "--out", "/"], ["--out / names no folder of its own"]),
        (["wflw", "--out", "a_file/store"], ["a_file/store.lock cannot be made"]),
        (["wflw", "--out", "/proc/store"], ["/proc/store.lock cannot be made"]),
        (["wflw", "--out", "dangling"], ["dangling is a link to nowhere, which does not exist"]),
        (["coco", "--scheme", "date.yaml"], ["date.yaml is no readable YAML file"]),
    ],
)
def test_what_cannot_work_is_answered_with_what_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "date.yaml").write_text("name: 2001-99-99")
    done = call(*arguments, *(() if "--source" in arguments else ("--source", "empty")))
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    for part in named:
        assert part in told(done), part
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_the_usual_place_is_where_the_configuration_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_300w(tmp_path / "source", {"afw": 2})
    monkeypatch.chdir(tmp_path)
    for variable, place in ((None, tmp_path / "data" / "300w"), ("elsewhere", tmp_path / "elsewhere" / "300w")):
        monkeypatch.delenv("FACEGRAPH_DATA", raising=False)
        if variable is not None:
            monkeypatch.setenv("FACEGRAPH_DATA", variable)
        done = call("300w", "--source", "source", "--side", 64)
        assert done.exit_code == 0, told(done)
        assert (place / "store.json").is_file()
        assert told(done).endswith("python train.py experiment=scc_300w"), "no dataset.root is needed"


def test_the_next_command_fits_the_store(tmp_path: Path) -> None:
    write_300w(tmp_path / "source", {"ibug": 2})
    call("300w", "--source", tmp_path / "source", "--out", tmp_path / "out", "--side", 64)
    info = read_info(tmp_path / "out")
    assert next_command(info, tmp_path / "out", tmp_path / "out").startswith("python eval.py run=")


# after so many shards that lie there it kills itself; told to wait, it holds its store until it finds a file
SCRIPT = """
import os, pathlib, signal, sys, time
from facegraph.data.benchmarks.wflw import WflwBenchmark
from facegraph.data.store.layout import CropPolicy
from facegraph.curation.prepare.build import prepare
out, shards, go = pathlib.Path(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4])

def look(stage, done, total):
    if shards and len(list((out.with_name("store.partial") / "images").glob("*.bin"))) >= shards:
        os.kill(os.getpid(), signal.SIGKILL)
    while not shards and not go.exists():
        time.sleep(0.01)

prepare(WflwBenchmark(), sys.argv[1], out, CropPolicy(side=128), workers=2, progress=look)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StoreInfo]:
    root = tmp_path_factory.mktemp("undisturbed")
    write_wflw(root / "source", train=700, test=200)
    return root, prepare(WflwBenchmark(), root / "source", root / "store", CropPolicy(side=128))


def start(source: Path, out: Path, mark: str, shards: int = 0) -> subprocess.Popen[bytes]:
    """shards: after which it kills itself; 0: it waits for a file "go" beside the store, and goes on to the end."""
    environment = {**os.environ, "FACEGRAPH_TEST_MARK": mark, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(source), str(out), str(shards), str(out.with_name("go"))]
    return subprocess.Popen(command, env=environment)


def marked(mark: str) -> list[str]:
    """Living processes with the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.runs
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to see whether processes live on")
def test_killed_and_begun_anew(tmp_path: Path, undisturbed: tuple[Path, StoreInfo]) -> None:
    """SIGKILL while two processes write; the next call gives the store of an undisturbed one, byte for byte."""
    root, whole = undisturbed
    out, mark = tmp_path / "store", uuid.uuid4().hex
    assert start(root / "source", out, mark, shards=3).wait(PATIENCE) == -signal.SIGKILL
    assert not out.exists(), "a half-written store is never mistaken for a whole one"
    assert wait_for(lambda: not marked(mark)), "its processes outlive it"
    assert list((tmp_path / "store.partial" / "images").iterdir())
    info = prepare(WflwBenchmark(), root / "source", out, CropPolicy(side=128))
    assert info == whole
    assert stored_hash(out) == whole.content_hash
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*"))
    assert names == sorted(str(p.relative_to(root / "store")) for p in (root / "store").rglob("*"))
    assert all((root / "store" / n).read_bytes() == (out / n).read_bytes() for n in names if (out / n).is_file())
    assert not [p for p in tmp_path.iterdir() if p.name != "store"]


@pytest.mark.runs
def test_two_at_once_are_refused(tmp_path: Path, undisturbed: tuple[Path, StoreInfo]) -> None:
    root, _ = undisturbed
    out, mark = tmp_path / "store", uuid.uuid4().hex
    process = start(root / "source", out, mark)
    try:
        lock = tmp_path / "store.lock"
        assert wait_for(lambda: holder(lock) is not None)
        second = call("wflw", "--source", root / "source", "--out", out, "--side", 128)
        assert second.exit_code == 1
        assert f"process {process.pid}" in told(second)
        (tmp_path / "go").touch()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert read_info(out).content_hash == undisturbed[1].content_hash


@pytest.mark.skipif(not SHARED.is_dir(), reason="the research-only data beside the repository is absent")
@pytest.mark.parametrize(
    ("name", "folder", "counts"),
    [("wflw", "wflw_mini", {"test": 206}), ("300w", "300w_mini", {"train": 32, "test": 18})],
)
def test_real_partial_sets(tmp_path: Path, name: str, folder: str, counts: dict[str, int]) -> None:
    done = call(name, "--source", SHARED / folder, "--out", tmp_path / "out", "--side", 64, "--workers", 1)
    assert done.exit_code == 0, told(done)
    info = read_info(tmp_path / "out")
    assert {split: info.counts[split] for split in counts} == counts
    assert "missing part" in told(done)
