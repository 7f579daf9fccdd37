"""What a user reads when a store is done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from facegraph.data.store.layout import EXIF_APPLIED, PROBLEMS_FILE, StoreInfo, list_counts
from facegraph.data.store.photograph import ROTATED, TRAITS
from facegraph.files.plain_text import one_line
from facegraph.records.overrides import for_shell

SHOWN = 5
_TRAINING = {
    "wflw": "python train.py experiment=scc_wflw",
    "300w": "python train.py experiment=scc_300w",
    "cofw": "python train.py experiment=scc_cofw",
    "300wlp": "python train.py experiment=scc_300w dataset=300wlp augment=fan",
    "cofw68": "python eval.py run=<run folder of a 300w training> dataset=cofw68",
}
"""Data set -> what to do with it next. The others are sets of one's own."""
_SCORED = ("cofw68",)
"""Data sets without a train split."""


def report(info: StoreInfo, out: Path, default_out: Path) -> Iterator[Table | Text]:
    """Tables and lines about a store, to be printed one after the other.

    Args:
        default_out: where the configuration looks for the store unless told otherwise.
    """
    yield _counts(info)
    if info.problems:
        yield _problems(info, out)
    yield Text(_photographs(info))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    crop = info.crop
    kind = crop.image_format if not crop.quality else f"{crop.image_format} of quality {crop.quality}"
    yield Text(
        f"{one_line(str(out))}: {_bytes(size)}, crops of {crop.side} px, {kind}; content {info.content_hash[:16]}"
    )
    yield Text(
        f"Next:  facegraph doctor {shlex.quote(one_line(str(out)))}\n       {next_command(info, out, default_out)}"
    )


def next_command(info: StoreInfo, out: Path, default_out: Path) -> str:
    """The command that trains on a store, or scores on it, for a shell."""
    root = for_shell("dataset.root", one_line(str(out)))
    if info.dataset not in _SCORED and not info.counts.get("train"):
        option = info.dataset if info.dataset in _TRAINING else "prepared"
        return f"python eval.py run=<run folder> dataset={option} {root}   (there are no train faces)"
    own = "python train.py experiment=crops dataset=prepared"
    command = _TRAINING.get(info.dataset, own)
    elsewhere = out.absolute() != default_out.absolute() or command == own
    return f"{command} {root}" if elsewhere else command


def _counts(info: StoreInfo) -> Table:
    table = Table(title=_text(f"{info.dataset} {info.version}".strip()), title_justify="left")
    table.add_column("split / subset")
    for name in ("found", "official", "difference"):
        table.add_column(name, justify="right")
    for name, found, official in list_counts(info):
        difference = "" if official is None else f"{found - official:+,}" if found != official else "0"
        label = f"  {name.partition('/')[2]}" if "/" in name else name
        style = "yellow" if official is not None and found != official else None
        table.add_row(_text(label), f"{found:,}", "" if official is None else f"{official:,}", difference, style=style)
    return table


def _problems(info: StoreInfo, out: Path) -> Table:
    title = f"{len(info.problems):,} problem(s), all of them in {out / PROBLEMS_FILE}"
    table = Table(title=_text(title), title_justify="left")
    table.add_column("kind")
    table.add_column("number", justify="right")
    table.add_column(f"the first {SHOWN}", overflow="fold")
    for kind in dict.fromkeys(problem["kind"] for problem in info.problems):
        names = [problem["name"] for problem in info.problems if problem["kind"] == kind]
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        table.add_row(_text(kind), f"{len(names):,}", _text(shown))
    return table


def _text(text: str) -> Text:
    """Not a str: Rich would take [...] in it for its markup."""
    return Text(one_line(text))


def _photographs(info: StoreInfo) -> str:
    found = [f"{info.photographs[trait]:,} {trait}" for trait in TRAITS if info.photographs.get(trait)]
    text = f"{info.photographs.get('read', 0):,} photographs read: {', '.join(found) or 'none out of the ordinary'}."
    if info.photographs.get(ROTATED):
        applied = info.crop.exif == EXIF_APPLIED
        told, other = ("turned upright", "ignore") if applied else ("as stored", "apply")
        text += (
            f"\nRotations were {info.crop.exif}: landmarks are px of the photographs {told}. If they lie beside the "
            f"faces there (facegraph inspect shows it), prepare again with --exif {other}."
        )
    return text


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
