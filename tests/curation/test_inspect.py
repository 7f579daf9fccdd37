"""facegraph inspect as a user calls it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from facegraph.cli.inspect import inspect
from facegraph.curation.inspection import statistics
from facegraph.curation.inspection.report import PictureFolder
from facegraph.data.store.layout import INFO_FILE, TABLE_FILE, CropPolicy, file_name
from facegraph.errors import DataError
from tests.helpers.quad_stores import quad_store

PICTURES = {
    "samples.png", "numbered.png", "crops.png", "augmented.png", "attribute_odd.png", "worst_shapes.png",
    "mean_shape.png", "poses.png", "landmark_heat.png", "boxes.png",
}  # fmt: skip

app = typer.Typer()
app.command()(inspect)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = quad_store(tmp_path_factory.mktemp("quad"), 24, 6, CropPolicy(side=64)).path
    info = json.loads((path / INFO_FILE).read_text(encoding="utf-8"))
    info["official_counts"] = {"train": 4711}
    info["problems"] = [
        {"kind": "missing image", "split": "train", "name": "<script>alert(1)</script>.jpg", "message": "not there"}
    ]
    (path / INFO_FILE).write_text(json.dumps(info), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("made") / "new" / "folder"
    return out, call(store, "--out", out, "--count", 5, "--input-size", 64, "--augment", "light")


def test_pictures_and_page_are_written_and_named(made: tuple[Path, Result], store: Path) -> None:
    out, done = made
    assert done.exit_code == 0, done.output
    assert str(out / "index.html") in done.stdout.splitlines()
    assert {path.name for path in out.iterdir()} == PICTURES | {"index.html"}
    for name in PICTURES:
        picture = cv2.imread(str(out / name))
        assert picture is not None
        assert picture.std() > 4, name


def test_page_shows_every_picture_and_where_the_store_came_from(made: tuple[Path, Result], store: Path) -> None:
    out, _ = made
    page = (out / "index.html").read_text(encoding="utf-8")
    assert len(page) < 15e6
    assert set(re.findall(r"<figcaption>([\w.]+):", page)) == PICTURES
    info = json.loads((store / INFO_FILE).read_text(encoding="utf-8"))
    for part in (
        *(info["content_hash"], "4711", "-4693", "missing image", "tight landmark box", "augment=light"),
        *("the median of all is", "9 bins and at most 10 draws"),
    ):
        assert part in page, part
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.jpg" in page


def test_command_on_the_page_makes_the_same_pictures(made: tuple[Path, Result], tmp_path: Path) -> None:
    out, _ = made
    page = (out / "index.html").read_text(encoding="utf-8")
    code = re.search(r"<pre>facegraph inspect (.*)</pre>", page)
    assert code is not None
    done = call(*shlex.split(code.group(1).replace("&#39;", "'")), "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    for name in PICTURES:
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "again" / name)), cv2.imread(str(out / name)))


def test_default_folder_is_a_new_one_each_time(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pages = [call(store, "--count", 1, "--split", "test", "--augment", "none").stdout.split()[-1] for _ in range(2)]
    assert pages[0] != pages[1]
    for page in pages:
        assert Path(page).parts[:3] == ("outputs", "inspect", "quad")
        text = Path(page).read_text(encoding="utf-8")
        # six faces are too few to tell an odd shape from an ordinary one, which the page says in place of a sheet
        assert "at least 10 are needed" in text
        assert "6 faces, quad4" in text


def test_nothing_is_overwritten(store: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = call(store, "--out", tmp_path)
    assert done.exit_code == 1
    assert "nothing is overwritten" in str(done.exception) + done.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--split", "val"], ["'val'", "'train': 18", "'test': 6"]),
        (["--augment", "pape"], ["augment/pape", "paper"]),
        (["--box", "tight"], ["box/tight", "landmarks"]),
        (["--box", "official"], ["18 of 18 faces have no box", "box=landmarks"]),
        (["--count", "0"], ["count is 0"]),
        (["--input-size", "3"], ["input size is 3", "16"]),
        (["--seed", "-1"], ["seed is -1"]),
        (["head=fc"], ["'head=fc' changes nothing", "box.margin=1.5"]),
        (["box.margn=2"], ["box.margn", "Did you mean 'box.margin'"]),
        (["box.margin=-1"], ["box.margin is -1"]),
    ],
)
def test_mistakes_are_answered_and_leave_nothing_behind(
    store: Path, tmp_path: Path, arguments: list[str], named: list[str]
) -> None:
    done = call(store, *arguments, "--out", tmp_path / "out")
    said = str(done.exception) + done.output
    assert done.exit_code == 1
    assert "Traceback" not in said
    for part in named:
        assert part in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = call(store, "--out", tmp_path / "file" / "x")
    assert isinstance(done.exception, SystemExit)
    assert "cannot be made" in str(done.exception) + done.output
    assert (tmp_path / "file").read_text() == "mine"


def test_damaged_faces_are_left_out_and_counted(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    table = pd.read_parquet(store / TABLE_FILE)
    table.loc[0, "x0"] = np.nan
    table.loc[1, [f"{axis}{i}" for i in range(4) for axis in "xy"]] = 7.0
    table.to_parquet(tmp_path / "store" / TABLE_FILE)
    done = call(tmp_path / "store", "--count", 2, "--input-size", 32, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "2 faces whose landmarks are not finite or all coincide" in page
    assert "16 faces, quad4" in page
    table["x0"] = np.inf
    table.to_parquet(tmp_path / "store" / TABLE_FILE)
    done = call(tmp_path / "store")
    assert isinstance(done.exception, SystemExit)
    assert "none of the 18 faces of 'train'" in str(done.exception) + done.output


@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_nothing_behind(
    store: Path, tmp_path: Path, existing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise DataError("a damaged crop")

    monkeypatch.setattr(statistics, "box_rows", fail)
    out = tmp_path / "out"
    if existing:
        out.mkdir()
    done = call(store, "--count", 1, "--input-size", 32, "--out", out)
    assert "a damaged crop" in str(done.exception) + done.output
    assert out.exists() == existing
    assert not existing or list(out.iterdir()) == []


def test_names_that_would_fall_on_one_file_get_numbers(tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path)
    names = [pictures.new_file(f"attribute_{file_name(name)}.png").name for name in ("a b", "a_b", "A_b", "c")]
    assert names == ["attribute_a_b.png", "attribute_a_b_2.png", "attribute_A_b_3.png", "attribute_c.png"]


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    done = call(tmp_path)
    assert done.exit_code == 1
    assert "is no prepared store" in str(done.exception) + done.output


def test_settings_reach_the_crop(store: Path, tmp_path: Path) -> None:
    done = call(store, "box.margin=3", "--count", 1, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "margin 3, 256 px" in page
    # the store holds 2 box sides, the crop asks for 3
    assert "larger --scale" in page


@pytest.mark.parametrize(
    ("text", "name"), [("yaw 30/60", "yaw_30_60"), ("../x", ".._x"), ("..", "_"), ("Ärger", "Ärger")]
)
def test_names_of_attributes_stay_in_the_folder(text: str, name: str) -> None:
    assert file_name(text) == name
