"""facegraph prepare at unusual places, on archives, and with names that garble a terminal."""

from __future__ import annotations

import io
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from rich.console import Console
from typer.testing import CliRunner

from facegraph.cli import app
from facegraph.curation import archives
from facegraph.curation.prepare.build import prepare
from facegraph.curation.prepare.report import next_command, report
from facegraph.data.benchmarks.ibug300w import Ibug300wBenchmark
from facegraph.data.benchmarks.wflw import WflwBenchmark
from facegraph.data.store.layout import CropPolicy, read_info
from facegraph.errors import DataError
from facegraph.records.overrides import for_shell
from tests.helpers.trees import write_300w, write_wflw

SMALL = CropPolicy(side=32)


def call(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["prepare", *(str(a) for a in arguments), "--side", "32"])


def told(done: Result) -> str:
    return " ".join((done.output + str(done.exception or "")).split())


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write_wflw(tmp_path / "packed", train=4, test=4, kinds={0: "empty", 1: "missing"}, archives=True).root


def test_a_link_to_an_empty_folder_is_filled_behind_it(tmp_path: Path) -> None:
    write_300w(tmp_path / "source", {"afw": 2})
    (tmp_path / "big" / "300w").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "big" / "300w")
    done = call("300w", "--source", tmp_path / "source", "--out", tmp_path / "link")
    assert done.exit_code == 0, told(done)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "big" / "300w" / "store.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big", "link", "source"]


def test_names_that_are_no_utf8_are_prepared_and_told(tmp_path: Path) -> None:
    """One on a photograph and its points, one on points without a photograph."""
    write_300w(tmp_path / "source", {"afw": 3}, mixed_case=False)
    images = sorted((tmp_path / "source" / "afw").glob("*.jpg"))
    strange = os.fsdecode(b"\xff\xfe")
    for path in (images[0], images[0].with_suffix(".pts"), images[1].with_suffix(".pts")):
        path.rename(path.with_name(strange + path.name))
    source = (tmp_path / "source").rename(tmp_path / f"{strange} source")
    done = call("300w", "--source", source, "--out", tmp_path / "out")
    assert done.exit_code == 0, told(done)
    assert read_info(tmp_path / "out").counts["train"] == 2
    assert "\\udcff\\udcfe" in (tmp_path / "out" / "problems.csv").read_text()
    assert any("\\udcff\\udcfe" in name for name in pd.read_parquet(tmp_path / "out" / "annotations.parquet")["id"])


def test_problems_do_not_name_the_folder_that_was_unpacked_to(tmp_path: Path, packed: Path) -> None:
    problems = prepare(WflwBenchmark(), packed, tmp_path / "out", SMALL).problems
    assert {problem["kind"] for problem in problems} >= {"missing image", "unreadable image"}
    assert not [p for p in problems if ".unpacked" in p["message"] or str(tmp_path) in p["message"]]


def test_a_whole_store_needs_no_unpacking(tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = prepare(WflwBenchmark(), packed, tmp_path / "out", SMALL)

    def refuse(*arguments: object) -> None:
        raise AssertionError("unpacked again")

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_unpack_whole", refuse)
        again = call("wflw", "--source", packed, "--out", tmp_path / "out")
        assert again.exit_code == 0, again.exception
        assert "prepared already" in told(again)
        assert "1 photograph(s) could not be read then" in told(again)
        with pytest.raises(DataError, match=r"--strict.*remove it to try again"):
            prepare(WflwBenchmark(), packed, tmp_path / "out", SMALL, strict=True)
    assert prepare(WflwBenchmark(), packed, tmp_path / "out", SMALL) == info


def test_a_refusal_leaves_nothing_unpacked(tmp_path: Path, packed: Path) -> None:
    with pytest.raises(DataError, match="--strict"):
        prepare(WflwBenchmark(), packed, tmp_path / "out", SMALL, strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["packed"]
    with pytest.raises(DataError, match="--strict"):
        prepare(WflwBenchmark(), packed, tmp_path / "out", SMALL, strict=True, keep_unpacked=True)
    assert (tmp_path / "out.unpacked").is_dir()


@pytest.mark.parametrize("packed_too", [False, True])
def test_folders_that_cannot_be_listed_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed_too: bool
) -> None:
    tree = write_wflw(tmp_path / "source" / "wflw", train=4, test=4, archives=packed_too).root
    (tmp_path / "source" / "lost+found").mkdir()
    (tmp_path / "source" / "circle").symlink_to("circle")
    scan, refused = os.scandir, {"lost+found"}

    def scandir(folder: str | Path | int) -> object:
        if not isinstance(folder, int) and Path(folder).name in refused:
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    info = prepare(WflwBenchmark(), tmp_path / "source", tmp_path / "out", SMALL)
    assert info.counts["train"] == 4
    unlisted = [problem for problem in info.problems if problem["kind"] == "unreadable folder"]
    assert [(Path(p["name"]).name, p["optional"]) for p in unlisted] == [("lost+found", True)]
    if not packed_too:
        assert (tree / "WFLW_images").is_dir()
        refused.add("WFLW_images")
        with pytest.raises(DataError, match=r"WFLW_images cannot be listed: Permission denied"):
            prepare(WflwBenchmark(), tmp_path / "source", tmp_path / "other_out", SMALL)


def test_tildes_and_empty_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_300w(tmp_path / "source", {"afw": 2})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done = call("300w", "--source", "source", "--out", "~/my x")
        assert done.exit_code == 0, told(done)
        assert "my x: 0 bytes" not in told(done)
    assert "is prepared already" in told(done)
    assert shlex.split(told(done).rpartition("python train.py ")[2]) == [
        "experiment=scc_300w",
        f'dataset.root="{tmp_path / "home" / "my x"}"',
    ]
    monkeypatch.setenv("FACEGRAPH_DATA", "")
    done = call("300w", "--source", "source")
    assert (tmp_path / "data" / "300w" / "store.json").is_file()
    assert told(done).endswith("dataset.root=data/300w"), "the configuration would look in the root folder"


@pytest.mark.parametrize(
    "text",
    [
        "/a/b",
        "null",
        "12",
        "/a b",
        "/a[b]",
        "/it's",
        '/a "b"',
        "a\\",
        "\\'",
        "/x=1,{y}",
        "${HOME}",
        "\\${a}",
        "~/ü",
        "#",
    ],
)
def test_printed_overrides_mean_what_they_say(text: str) -> None:
    argument = shlex.split(for_shell("dataset.root", text))[0]
    value = OverridesParser.create().parse_override(argument).value()
    assert OmegaConf.to_container(OmegaConf.create({"root": value}), resolve=True) == {"root": text}


def test_names_do_not_garble_the_terminal(tmp_path: Path) -> None:
    write_300w(tmp_path / "source", {"afw": 2})
    info = prepare(Ibug300wBenchmark(), tmp_path / "source", tmp_path / "out", SMALL)
    names = ("a[/b]", "line\nbreak", "\x1b[2Jclear")
    problems = tuple({"kind": "missing image", "split": "[red]", "name": name, "message": ""} for name in names)
    counts = {**info.counts, "odd[i]": 3}
    odd = replace(info, problems=problems, dataset="[bold]", counts=counts)
    console = Console(width=200, record=True, file=io.StringIO())
    for part in report(odd, tmp_path / "out", tmp_path):
        console.print(part)
    text = console.export_text()
    for part in ("a[/b]", r"line\nbreak", r"\x1b[2Jclear", "[bold]", "odd[i]"):
        assert part in text, part
    assert "\x1b" not in text
    assert re.search(r"dataset\.root=\S+/out$", next_command(odd, tmp_path / "out", tmp_path))
