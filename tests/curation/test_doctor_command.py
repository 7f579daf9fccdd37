"""facegraph doctor as it is called: exit codes, one JSON object, a report of its own, the real faces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from facegraph.cli.doctor import doctor
from facegraph.curation.doctor import crop_prints
from facegraph.curation.doctor.checks import CHECKS, examine
from facegraph.curation.doctor.examination import Examination
from facegraph.data.entries import FaceEntry, FileImage
from facegraph.data.store import hashing
from facegraph.data.store.hashing import file_hash
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.reader import FaceStore
from facegraph.data.store.writer import StoreContent, write_store
from facegraph.errors import DataError
from facegraph.landmarks import IBUG68
from tests.helpers.crops import write_crops

SHARED = Path(__file__).resolve().parents[3] / "shared"
COLUMNS = [f"{axis}{i}" for i in range(68) for axis in "xy"]

app = typer.Typer()
app.command()(doctor)


def store_of_crops(root: Path, out: Path, frame: pd.DataFrame, official: dict[str, int], side: int = 96) -> Path:
    """The faces of an annotations.csv with its images as a prepared store."""
    faces = [
        FaceEntry(
            id=row["image"],
            image=FileImage(root / "images" / row["image"], row["image"], f"row {i}"),
            photo=row["image"],
            split=row["split"],
            landmarks=row[COLUMNS].to_numpy(dtype=float).reshape(-1, 2),
            where=f"annotations.csv row {i}",
        )
        for i, row in frame.iterrows()
    ]
    write_store(StoreContent("drawn", IBUG68, faces, official_counts=official), out, CropPolicy(side=side))
    return out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_crops(tmp_path_factory.mktemp("crops") / "crops", train=22, test=6)
    frame = pd.read_csv(root / "annotations.csv")
    return store_of_crops(root, root / "store", frame, {"train": 22, "test": 6})


@pytest.fixture(scope="module")
def overfull_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_crops(tmp_path_factory.mktemp("crops") / "crops", train=22, test=6)
    frame = pd.read_csv(root / "annotations.csv")
    return store_of_crops(root, root / "store", frame, {"train": 22, "test": 5})


def test_a_sound_store_ends_with_zero_and_leaves_a_report(store: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(store), "--out", str(tmp_path / "report"), "--workers", "2"])
    assert result.exit_code == 0, result.output
    assert "0 errors" in result.stdout
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["faces"] == 28
    assert "worst_shapes.png" in report["pictures"]
    assert all((tmp_path / "report" / name).is_file() for name in report["pictures"])
    sheet = cv2.imread(str(tmp_path / "report" / "worst_shapes.png"))
    assert sheet.shape[1] > 5 * 256
    assert sheet.shape[0] > 4 * 256
    rows = pd.read_csv(tmp_path / "report" / "findings.csv")
    assert len(rows) == sum(len(finding["ids"]) for finding in report["findings"])
    assert set(rows[rows["check"] == "shapes"]["split"]) <= {"train", "test"}


def test_json_is_all_that_is_printed_and_errors_end_with_one(overfull_store: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(overfull_store), "--json", "--out", str(tmp_path / "report")])
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert printed["counts"]["error"] == 1
    assert printed["findings"][0]["level"] == "error"
    assert "split 'test': 6 faces, but officially there are 5" in printed["findings"][0]["message"]
    assert Path(printed["report"]) == tmp_path / "report"


def test_no_report_is_overwritten(store: Path, tmp_path: Path) -> None:
    mine = tmp_path / "report" / "report.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    for number in (2, 3):
        result = CliRunner().invoke(app, [str(store), "--json", "--quick", "--out", str(mine.parent)])
        assert json.loads(result.stdout)["report"] == str(tmp_path / f"report_{number}")
    assert mine.read_text() == "mine"
    assert list(mine.parent.iterdir()) == [mine]


def test_a_folder_without_a_store_ends_with_its_message(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "report")])
    assert result.exit_code == 2
    assert "no prepared store" in result.output
    assert not (tmp_path / "report").exists()


def test_a_report_that_cannot_be_written_is_told_at_once(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with patch("facegraph.cli.doctor.examine", side_effect=AssertionError("work was done first")):
        result = CliRunner().invoke(app, [str(store), "--out", str(tmp_path / "file" / "report")])
    assert result.exit_code == 2
    assert "cannot be made" in result.output
    assert (tmp_path / "file").read_text() == "mine"


def test_a_report_stays_where_reports_are(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(store, tmp_path / "store")
    info = tmp_path / "store" / "store.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "dataset": ".."}))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["store", "--quick"]).exit_code == 0
    assert (tmp_path / "outputs" / "doctor" / "_" / "report.json").is_file()


def test_reports_on_faces_without_numbers_are_json(store: Path, tmp_path: Path) -> None:
    """Every column of numbers but the crops' places, broken on a face of its own."""
    shutil.copytree(store, tmp_path / "store")
    table = tmp_path / "store" / "annotations.parquet"
    frame = pd.read_parquet(table)
    columns = [name for name in frame.select_dtypes("float").columns if not name.startswith(("y", "x1", "x2", "x3"))]
    for row, name in enumerate(columns):
        frame.loc[row % 12, name] = (np.nan, np.inf, -np.inf)[row % 3]
    frame.loc[12, "scale"] = np.inf
    frame.to_parquet(table)
    result = CliRunner().invoke(app, [str(table.parent), "--json", "--out", str(tmp_path / "report")])
    assert result.exit_code == 1, result.output
    for text in (result.stdout, (tmp_path / "report" / "report.json").read_text(encoding="utf-8")):
        assert json.loads(text, parse_constant=_no_json)["counts"]["error"]


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_every_shard_is_hashed_once_and_progress_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, read, begun = [], [], []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return file_hash(path)

    for module in (crop_prints, hashing):
        monkeypatch.setattr(module, "file_hash", counting)
    examine(Examination(FaceStore(store), workers=2, advance=read.append), begin=begun.append)
    assert hashed == sorted(path.name for path in (store / "images").iterdir())
    assert (read[0], sum(read)) == (0, 28)
    assert len(begun) == len(CHECKS)
    assert "similar" in begun


@pytest.mark.parametrize("column", ["y7", "box_x0", "source", "shift_x", "length", "attr_odd"])
def test_a_table_without_a_column_is_refused(store: Path, tmp_path: Path, column: str) -> None:
    shutil.copytree(store, tmp_path / "store")
    info, table = tmp_path / "store" / "store.json", tmp_path / "store" / "annotations.parquet"
    info.write_text(json.dumps({**json.loads(info.read_text()), "attributes": ["odd"]}))
    frame = pd.read_parquet(table).assign(attr_odd=True)
    frame.drop(columns=column).to_parquet(table)
    with pytest.raises(DataError, match=f"'{column}'.*Prepare the set again"):
        FaceStore(table.parent)
    if column != "source":
        frame.assign(**{column: "text"}).to_parquet(table)
        with pytest.raises(DataError, match=f"other than numbers in column '{column}'"):
            FaceStore(table.parent)


def test_threads_change_nothing(store: Path) -> None:
    one, two = (Examination(FaceStore(store), workers=n).prints for n in (1, 2))
    for name in ("digests", "signs", "faces"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_the_train_pictures_among_the_test_faces_of_300w_are_found(tmp_path: Path) -> None:
    """Three pictures of LFPW lie in both of its splits under different numbers; seen by eye."""
    root = SHARED / "data" / "300w_crops256"
    if not root.is_dir():
        pytest.skip("the research-only crops of 300-W are not at hand")
    twice = {(828, 96), (862, 7), (215, 66)}
    frame = pd.read_csv(root / "annotations.csv")
    names = {f"lfpw_trainset_image_{a:04d}.jpg" for a, _ in twice} | {
        f"lfpw_testset_image_{b:04d}.jpg" for _, b in twice
    }
    chosen = frame["image"].isin(names) | (frame.index % 25 == 0)
    examination = Examination(FaceStore(store_of_crops(root, tmp_path / "store", frame[chosen], {}, side=128)))
    pairs = examination.pairs
    leaks = examination.in_train[pairs.first] != examination.in_train[pairs.second]
    found = {frozenset(examination.ids[[a, b]]) for a, b in zip(pairs.first[leaks], pairs.second[leaks], strict=True)}
    assert found == {
        frozenset((f"lfpw_trainset_image_{a:04d}.jpg", f"lfpw_testset_image_{b:04d}.jpg")) for a, b in twice
    }
