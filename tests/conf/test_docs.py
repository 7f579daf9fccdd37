"""What Markdown names exists: commands compose and parse, options, files and links are there, marked blocks run.

Commands stand in fenced blocks of `sh`. A word after the language says what more there is to it:

    ```sh               each command composes, or its options are parsed
    ```sh run           and it runs here, on a tiny run, a finished sweep and drawn faces: see `places`
    ```sh needs=data    a reader needs more than a clone for it: the words of NEEDS, with commas between

<words> in angle brackets stand for what a reader fills in. Blocks of python run, those of yaml, json and csv are read.
"""

from __future__ import annotations

import csv
import functools
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from omegaconf import DictConfig
from typer.testing import CliRunner

from facegraph.cli import COMMANDS, PROGRAMS, app, load
from facegraph.curation.prepare.datasets import OWN
from facegraph.data.scheme_file import load_scheme
from facegraph.errors import FacegraphError
from facegraph.launch.plan import check_tables, parse_command
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_run
from facegraph.runs.evaluate import evaluate
from facegraph.sweeps.table import Table, table_from
from tests.helpers.crops import write_crops
from tests.helpers.runs import ROOT, TinyRun
from tests.helpers.sweeps import write_sweep

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.md"))
    if path.name != "CHANGELOG.md"  # it names what is gone
)  # docs/extend: tests/conf/test_extend.py builds and runs what it says
NEEDS = {
    "data": "files of a data set, a run on them or weights, which do not come with facegraph",
    "gpu": "a GPU",
    "slurm": "a Slurm cluster",
    "wandb": "an account at wandb",
}
SHELL = ("sh", "bash")
ELSEWHERE = ("source", "pip", "cd", "export", "git", "scontrol")
WRONG = (FacegraphError, AssertionError)
OWN_COMMANDS = ("python train.py", "python eval.py", "facegraph ", "make ")
CONF = ROOT / "conf"
GLOBAL = ("experiment", "scale", "debug", "scale/system")
OFFERED = "of_the_run"  # options that eval.py makes of a run's own settings


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its fence, from 1. word: what follows the language."""

    line: int
    language: str
    word: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command as typed, with <words>. block: where it stands; None for code within a sentence."""

    line: int
    text: str
    block: Block | None

    def words(self, filled: Mapping[str, str]) -> list[str]:
        """As a shell splits them; <words> filled in, or as one word where nothing is given for them."""
        text = re.sub(r"<([^<>]+)>", lambda m: shlex.quote(filled.get(m[1], m[1].replace(" ", "_"))), self.text)
        return shlex.split(text, comments=True)


@functools.cache
def blocks(file: str) -> tuple[Block, ...]:
    found, fence, start, lines = [], "", 0, (ROOT / file).read_text(encoding="utf-8").splitlines()
    for i, line in enumerate(lines):
        mark = re.match(r"\s*(`{3,})([^`]*)$", line)
        if mark and not fence:
            fence, start, info = mark[1], i, mark[2].split()
        elif mark and mark[1] == fence and not mark[2].strip():
            language, word = [*info, "", ""][:2]
            found.append(Block(start + 1, language, word, "\n".join(lines[start + 1 : i])))
            fence = ""
    assert not fence, f"{file}:{start + 1}: this block has no end"
    return tuple(found)


@functools.cache
def prose(file: str) -> str:
    """The text without fenced blocks; lines keep their numbers."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    for block in blocks(file):
        for i in range(block.line - 1, block.line + 1 + len(block.text.splitlines())):
            lines[i] = ""
    return "\n".join(lines)


def code_in_sentences(file: str) -> Iterator[tuple[int, str]]:
    """(line, text) of `code` outside of blocks."""
    for found in re.finditer(r"(`+)((?:(?!\n\n).)+?)\1(?!`)", prose(file), re.DOTALL):
        yield prose(file).count("\n", 0, found.start()) + 1, " ".join(found[2].split())


@functools.cache
def commands(file: str) -> tuple[Command, ...]:
    found = []
    for block in blocks(file):
        if block.language not in (*SHELL, ""):
            continue
        text = block.text.replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), block.line + 1):
            if block.language == "":  # words may follow a command there, after a gap
                line = re.split(r"\s{3,}", line.strip())[0]
                if not line.startswith(OWN_COMMANDS):
                    continue
            if line.strip() and not line.strip().startswith("#"):
                found.append(Command(number, line.strip(), block))
    for number, text in code_in_sentences(file):
        if text.startswith(OWN_COMMANDS):
            found.append(Command(number, text, None))
    return tuple(found)


@functools.cache
def composed(overrides: tuple[str, ...], config_name: str = "train") -> DictConfig:
    return compose(overrides, config_name)


@functools.cache
def table(name: str) -> Table | None:
    """A table of sweeps/; None for a file that lists tables."""
    content = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))
    return table_from(content["table"]) if "table" in content else None


def check_train(words: Sequence[str]) -> set[str]:
    """Compose a command of train.py; returns what of NEEDS it asks for."""
    if "--help" in words:
        return set()
    shown = "--cfg" in words  # and not trained
    overrides = [w for w in words if w not in ("-m", "--cfg", "job", "hydra")]
    several = "-m" in words or any(w.startswith("sweeps=") for w in words)
    if several:
        check_tables(overrides)
        command = parse_command(overrides)
        first = [f"{key}={values[0]}" for key, values in command.swept.items()]
        overrides = [f"scale={command.scale}", *command.fixed, *first]
        for name in command.sweeps:
            swept = table(name)
            if swept is not None:
                for row in command.rows or ():
                    swept.row(row)
                overrides = [*swept.base, f"scale={command.scale}", *swept.at_scale.get(command.scale, ()), *overrides]
    cfg = composed(tuple(dict.fromkeys(overrides)))
    needs = set()
    given = dict(w.split("=", 1) for w in overrides if "=" in w)
    mine = given.get("dataset.root") in ("folder", "store")
    if not (shown or mine or cfg.dataset._target_.endswith("SyntheticDataset")):
        needs.add("data")
    if cfg.trainer.accelerator == "gpu" or (cfg.trainer.devices != 1 and cfg.trainer.accelerator != "cpu"):
        needs.add("gpu")
    if given.get("hydra/launcher") == "slurm":
        needs.add("slurm")
    return needs


def check_facegraph(words: Sequence[str], strictly: bool) -> set[str]:
    """Parse a command of facegraph and compose its overrides; returns what of NEEDS it asks for.

    strictly: all that it requires must be there; otherwise only what is named must exist.
    """
    name, *rest = words
    assert name in COMMANDS, f"there is no command {name}"
    needs = {"wandb"} if name == "dashboard" else set()
    command = load(name)
    if hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"facegraph {name} has no {rest[0]}"
        needs |= {"data"} if name == "convert" or rest[0] == "quit" else set()
        command, rest = command.commands[rest[0]], rest[1:]
    if strictly:
        try:
            given = command.make_context(name, list(rest)).params
        except Exception as error:  # typer may bring a click of its own, whose errors have no public name
            raise AssertionError(str(error)) from error
    else:
        options = {option for parameter in command.params for option in parameter.opts}
        wrong = [word for word in rest if word.startswith("--") and word.split("=")[0] not in options]
        assert not wrong, f"facegraph {name} has no option {', '.join(wrong)}"
        given = {"overrides": [word for word in rest if re.match(r"[\w./]+=", word)]}
    overrides = tuple(given.get("overrides") or ())
    if overrides and name != "bench" and "quit" not in words:
        composed(overrides)
    elif overrides:
        needs |= check_train(overrides) - {"gpu"}
    if name == "prepare" and rest and rest[0] not in OWN:
        needs.add("data")
    if any(word.startswith("data/") for word in rest):
        needs.add("data")
    return needs


def check(command: Command) -> set[str]:
    """Raises where a command is wrong; returns what of NEEDS it asks for."""
    text = command.text
    if command.block is None:  # in a sentence, alternatives and dots stand for more
        text = re.sub(r"\S*\.\.\.\S*|\[[^\]]*\]$", "", text.split(" | ")[0])
    words = Command(command.line, text, command.block).words({})
    needs = {"data"} if "crops" in re.findall(r"<([^<>]+)>", text) else set()
    program, *rest = words
    if program == "facegraph" and rest[0] in PROGRAMS:
        program, rest = "python", [f"{rest[0]}.py", *rest[1:]]
    if program == "python" and rest[0] in ("train.py", "eval.py"):
        if rest[0] == "train.py":
            return needs | check_train(rest[1:])
        composed(tuple(rest[1:]), "eval")
        return needs
    if program == "facegraph":
        return needs | check_facegraph(rest, strictly=command.block is not None and command.block.language != "")
    if program == "make":
        targets = set(re.findall(r"^(?:\.PHONY: )?([\w -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert rest[0] in targets, f"the Makefile has no {rest[0]}"
        return needs | ({"slurm"} if rest[0] == "test-slurm" else set())
    if program == "wandb":
        return {"wandb"}
    assert program in ("python", *ELSEWHERE), f"{program} is a program that this test does not know"
    named = [word for word in rest if word.endswith(".py")]
    assert all((ROOT / word).exists() for word in named), f"there is no {named}"
    return needs


@pytest.mark.parametrize("file", FILES)
def test_commands(file: str, tiny_run: TinyRun) -> None:
    offer_data_of_run(tiny_run.folder)
    wrong = []
    for command in commands(file):
        try:
            needs = check(command)
        except WRONG as error:
            wrong.append(f"{file}:{command.line}: {command.text}\n    {error}")
            continue
        block = command.block
        if block is not None and block.language in SHELL:
            said = set(block.word.removeprefix("needs=").split(",")) if block.word.startswith("needs=") else set()
            if needs - said:
                wrong.append(f"{file}:{command.line}: {command.text}\n    needs {needs - said}: ```sh needs=...")
    assert not wrong, "\n".join(wrong)


def test_the_first_screen_shows_two_commands() -> None:
    assert [command.words({}) for command in commands("README.md")][:2] == [["make", "train"], ["make", "test"]]
    assert blocks("README.md")[0].text.count("\n") == 1
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize(
    "text",
    [
        "python train.py head=nothing",
        "python train.py loss=wing loss.epsilom=2",
        "python train.py sweeps=scc/table7_top",
        "python train.py sweeps=scc/table7_topk rows=[k1,k6]",
        "python train.py -m head.topk=1,3",
        "python eval.py run=<run> box.shfit=0.1",
        "facegraph reports <run>",
        "facegraph bench model",
        "facegraph report",
        "facegraph prepare wflw --sorce <download>",
        "make trian",
        "pyhton train.py",
        "python -m pytest tests/models/test_dpr_relased.py",
    ],
)
def test_a_wrong_command_is_found(text: str, tiny_run: TinyRun) -> None:
    offer_data_of_run(tiny_run.folder)
    with pytest.raises(WRONG):
        check(Command(1, text, Block(1, "sh", "", text)))


def test_what_a_command_needs_is_found() -> None:
    for text, needs in {
        "python train.py": set(),
        "python train.py experiment=scc_wflw": {"data"},
        "python train.py experiment=scc_wflw dataset=synthetic": set(),
        "python train.py experiment=crops dataset.root=<folder> dataset.scheme.name_or_path=five.yaml": set(),
        "python train.py sweeps=scc/table7_topk scale=smoke": set(),
        "python train.py sweeps=scc/table7_topk trainer=gpu hydra/launcher=slurm": {"data", "gpu", "slurm"},
        "python train.py trainer=ddp trainer.devices=4": {"gpu"},
        "facegraph prepare 300w --source <download>": {"data"},
        "facegraph prepare crops --source <folder> --scheme ibug68": set(),
        "facegraph dashboard <sweep>": {"wandb"},
    }.items():
        assert check(Command(1, text, Block(1, "sh", "", text))) == needs, text


@pytest.mark.parametrize("file", FILES)
def test_blocks(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fences say what they hold, and it can be read; python runs, all of a file in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks(file):
        place = f"{file}:{block.line}"
        if block.language in SHELL:
            words = block.word.removeprefix("needs=").split(",")
            known = block.word in ("", "run") or (block.word.startswith("needs=") and set(words) <= set(NEEDS))
            assert known, f"{place}: '{block.word}' is neither run nor needs={','.join(NEEDS)}"
        elif block.language == "python" and not block.word:
            exec(compile(block.text, place, "exec"), namespace)
        elif block.language == "yaml":
            content = yaml.safe_load(block.text)
            if "num_landmarks" in content:
                (tmp_path / "scheme.yaml").write_text(block.text)
                assert load_scheme(str(tmp_path / "scheme.yaml")).num_landmarks == content["num_landmarks"]
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "csv":
            assert len({len(row) for row in csv.reader(block.text.splitlines())}) == 1, place
        else:
            assert block.language in ("", "python"), f"{place}: what is {block.language}?"


@functools.cache
def known_settings() -> frozenset[str]:
    """Dotted names of all settings in conf/, of any option."""
    names: set[str] = set()

    def walk(node: Any, above: str) -> None:
        for key, value in node.items():
            names.add(f"{above}{key}")
            if isinstance(value, dict):
                walk(value, f"{above}{key}.")

    for path in CONF.rglob("*.yaml"):
        group = path.parent.relative_to(CONF).as_posix()
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        walk(content, "" if group in (".", *GLOBAL) else f"{group.replace('/', '.')}.")
    return frozenset(names)


@pytest.mark.parametrize("file", FILES)
def test_settings_in_sentences(file: str) -> None:
    """`group=option` is a file of conf/ or sweeps/, `dotted.key=value` a setting of some option."""
    wrong = []
    for line, text in code_in_sentences(file):
        for key, values in re.findall(r"(?:^|\s)([a-z][\w/]*(?:\.\w+)*)=([^;\s]\S*|)(?=\s|$)", text):
            places = [place / key for place in (CONF, ROOT) if (place / key).is_dir()]
            if places:
                for value in values.split("|")[0].split(","):
                    known = value in ("", "null") or value.startswith(OFFERED) or re.search(r"[<.]", value)
                    if not known and not (places[0] / f"{value}.yaml").is_file():
                        wrong.append(f"{file}:{line}: {key}={value}: there is no such option")
            elif not any(f".{name}".endswith(f".{key}") for name in known_settings()):
                wrong.append(f"{file}:{line}: {key}: there is no such setting")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", FILES)
def test_files_in_sentences(file: str) -> None:
    """Code that looks like a file of the repository is one, seen from its root, from src/facegraph or from here."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {
        "outputs",
        "data",
    }
    wrong = []
    for line, text in code_in_sentences(file):
        for word in text.split():
            top = word.split("/")[0]
            like_one = "/" in word and (top in tops or re.search(r"\.(py|md|toml)$", word))
            if not like_one or re.search(r"[<*=]", word):
                continue
            seen_from = (ROOT, ROOT / "src/facegraph", (ROOT / file).parent)
            if not any((place / word).exists() for place in seen_from):
                wrong.append(f"{file}:{line}: there is no {word}")
    assert not wrong, "\n".join(wrong)


def anchors(path: Path) -> set[str]:
    """Headings as GitHub names them in links."""
    text = prose(str(path))
    heads = re.findall(r"^#+\s+(.+?)\s*$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in plain}


@pytest.mark.parametrize("file", FILES)
def test_links(file: str) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(file)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = ((ROOT / file).parent / name).resolve() if name else ROOT / file
        if not target.exists():
            wrong.append(f"{file}: {link}: there is no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{file}: {link}: no heading there; {', '.join(sorted(anchors(target)))}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("test", "right", "wrong"),
    [
        (test_links, "[a](right.md) [b](#a-head) [c](https://a.b)", "[a](none.md)"),
        (test_links, "[a](right.md#a-head)", "[a](wrong.md#ahead)"),
        (test_files_in_sentences, "`conf/head/fc.yaml` `heads/fc.py` `a/b`", "`conf/head/fd.yaml`"),
        (test_files_in_sentences, "`conf/head/<own>.yaml` `own/*.py`", "`heads/fd.py`"),
        (test_settings_in_sentences, "`head=fc head.top_k=1` `loss=l1,wing` `A=b`", "`loss=l1,wings`"),
        (test_settings_in_sentences, "`box.margin=1`", "`head.topk=3`"),
    ],
)
def test_a_wrong_sentence_is_found(test: Callable[[str], None], right: str, wrong: str, tmp_path: Path) -> None:
    for name, text in (("right", right), ("wrong", wrong)):
        (tmp_path / f"{name}.md").write_text(f"# A head\n\n{text}\n")
    test(str(tmp_path / "right.md"))
    with pytest.raises(AssertionError, match=r"wrong\.md"):
        test(str(tmp_path / "wrong.md"))


@pytest.mark.parametrize(
    "block",
    [
        "sh needs=time\nmake train",
        "ssh\nmake",
        "python\n1 / 0",
        "yaml\na: [",
        "json\n{",
        "csv\na,b\n1",
        "yaml\nnum_landmarks: 5",
    ],
)
def test_a_wrong_block_is_found(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong.md").write_text(f"```{block}\n```\n")
    with pytest.raises((AssertionError, ZeroDivisionError, yaml.YAMLError, ValueError, FacegraphError)):
        test_blocks(str(tmp_path / "wrong.md"), tmp_path, monkeypatch)


def five_points(folder: Path) -> None:
    """Leave the outer eye corners, the nose and the corners of the mouth of faces with 68 points."""
    frame = pd.read_csv(folder / "annotations.csv")
    kept = {f"{axis}{old}": f"{axis}{new}" for new, old in enumerate((36, 45, 30, 48, 54)) for axis in "xy"}
    frame[["image", "split", *kept]].rename(columns=kept).to_csv(folder / "annotations.csv", index=False)


@pytest.fixture
def places(tiny_run: TinyRun, tmp_path: Path) -> dict[str, str]:
    """What <words> stand for in blocks that run."""
    write_sweep(tmp_path / "sweep")
    five_points(write_crops(tmp_path / "faces"))
    found = {
        "run": tiny_run.folder,
        "other_run": shutil.copytree(tiny_run.folder, tmp_path / "other_run"),
        "sweep": tmp_path / "sweep",
        "folder": tmp_path / "faces",
        "store": tmp_path / "store",
    }
    return {name: str(path) for name, path in found.items()}


@pytest.mark.parametrize("file", [file for file in FILES if any(block.word == "run" for block in blocks(file))])
def test_marked_blocks_run(file: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in (b for b in blocks(file) if b.language == "yaml"):  # a file that commands name
        (tmp_path / f"{yaml.safe_load(block.text)['name']}.yaml").write_text(block.text)
    for command in (c for c in commands(file) if c.block is not None and c.block.word == "run"):
        program, *words = command.words(places)
        if program == "facegraph":
            done = CliRunner().invoke(app, words)
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            assert done.exit_code == 0, f"{command.text}: {done.output}"
        else:
            assert (program, words[0]) == ("python", "eval.py"), f"{command.text}: nothing here runs it"
            offer_data_of_run(Path(places["run"]))
            result = evaluate(compose([*words[1:], "trainer=cpu", "num_workers=0"], "eval"))
            assert result.protocol.test_faces > 0
