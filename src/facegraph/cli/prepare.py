"""facegraph prepare: a publisher's files into a store that training reads fast."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from facegraph.cli.guard import guarded
from facegraph.curation.prepare.build import prepare as build
from facegraph.curation.prepare.datasets import NAMES, OWN, DatasetOptions, make_benchmark
from facegraph.curation.prepare.report import report
from facegraph.data.entries import UNREADABLE_IMAGE
from facegraph.data.faults import LEAVE_OUT, MASK
from facegraph.data.store.layout import EXIF_APPLIED, EXIF_IGNORED, INFO_FILE, JPEG, RAW, CropPolicy, StoreInfo
from facegraph.errors import ConfigError
from facegraph.files.plain_text import one_line
from facegraph.machine.screen import Screen
from facegraph.machine.slots import cores


class Format(str, Enum):
    raw = RAW
    jpeg = JPEG


class Exif(str, Enum):
    ignore = "ignore"
    apply = "apply"


class Missing(str, Enum):
    leave_out = "leave-out"
    mask = "mask"


_MISSING = {Missing.leave_out: LEAVE_OUT, Missing.mask: MASK}
_EXIF = {Exif.ignore: EXIF_IGNORED, Exif.apply: EXIF_APPLIED}
_PLAIN = CropPolicy()
_QUALITY = 95
_VARIABLE = "FACEGRAPH_DATA"


Dataset = Annotated[str, typer.Argument(help=", ".join(NAMES))]
Source = Annotated[Path, typer.Option(help="Folder as downloaded, archives or unpacked; nothing in it is changed.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the store. [default: $FACEGRAPH_DATA/<dataset>, or data/<dataset>]")
]
ImageFormat = Annotated[
    Format, typer.Option("--format", help="raw: fastest to train from; jpeg: about a tenth of the size.")
]
Quality = Annotated[int | None, typer.Option(help=f"Of the JPEG, 1 to 100. [default: {_QUALITY}]")]
Side = Annotated[int, typer.Option(help="Of the stored crop, px.")]
Scale = Annotated[float, typer.Option(help="Side of the square over the longer side of the face's box.")]
Strict = Annotated[bool, typer.Option("--strict", help="Any problem, or a count that is not official, is an error.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. [default: all cores]")]
Rotation = Annotated[
    Exif | None,
    typer.Option(
        help="ignore: landmarks are px of the photographs as stored. apply: photographs are turned upright as their "
        "EXIF says; landmarks stay as they are, for they were marked on the upright ones. [default: ignore for "
        "published sets; for coco and crops what the sizes in the annotations say, and an error where they cannot]"
    ),
]
Scheme = Annotated[str | None, typer.Option(help="Numbering of the landmarks, a name or a YAML file (coco, crops).")]
Attributes = Annotated[list[str] | None, typer.Option(help="0/1 column of the csv; may be repeated (crops).")]
PhotoPattern = Annotated[
    str | None, typer.Option(help="Regular expression; group 1 on an image's name is its photograph (crops).")
]
Points = Annotated[str | None, typer.Option(help="Which landmarks: pts_2d, pts_3d or pt2d (300wlp).")]
Flipped = Annotated[bool, typer.Option("--flipped", help="Take the *_Flip folders too (300wlp).")]
Lacking = Annotated[
    Missing,
    typer.Option(
        "--missing",
        help="Faces with landmarks that are marked as missing (0,0, -1,-1, empty, v = 0): leave-out names and counts "
        "them; mask keeps them, training and scores count the landmarks that are there.",
    ),
]
Category = Annotated[str | None, typer.Option(help="Category of the faces, where several fit the scheme (coco).")]
OtherSplits = Annotated[
    list[str] | None, typer.Option(help="Split of the csv besides train, val and test; may be repeated (crops).")
]
TestFraction = Annotated[
    float | None,
    typer.Option(
        help="Cut a test set of this share of the train faces, by photograph, where there is none (coco, crops)."
    ),
]
Seed = Annotated[int | None, typer.Option(help="Of the cut of --test-fraction. [default: 0]")]
KeepUnpacked = Annotated[bool, typer.Option("--keep-unpacked", help="Leave <out>.unpacked in place.")]


def prepare(
    dataset: Dataset,
    source: Source,
    out: Out = None,
    image_format: ImageFormat = Format.raw,
    quality: Quality = None,
    side: Side = _PLAIN.side,
    scale: Scale = _PLAIN.scale,
    strict: Strict = False,
    workers: Workers = None,
    exif: Rotation = None,
    scheme: Scheme = None,
    attributes: Attributes = None,
    photo_pattern: PhotoPattern = None,
    points: Points = None,
    flipped: Flipped = False,
    category: Category = None,
    other_splits: OtherSplits = None,
    test_fraction: TestFraction = None,
    seed: Seed = None,
    keep_unpacked: KeepUnpacked = False,
    missing: Lacking = Missing.leave_out,
) -> None:
    """Cut the faces of a benchmark out of its photographs and store them with their annotations.

    A run that was killed leaves no store; the same command starts over. Photographs that cannot be read are named. A
    JPEG with wrong bytes in its middle can be read, and looks it: see facegraph inspect.
    """
    flags, splits = tuple(attributes or ()) or None, tuple(other_splits or ()) or None
    options = DatasetOptions(
        scheme, flags, photo_pattern, points, flipped or None, category, splits, test_fraction, seed
    )
    place = (default_out(dataset) if out is None else out).expanduser()

    def command() -> None:
        benchmark = make_benchmark(dataset, options)
        form = image_format.value, _quality(image_format, quality)
        crop = CropPolicy(side, scale, _PLAIN.around, *form, _EXIF[exif or Exif.ignore])
        decide = exif is None and dataset in OWN
        processes = workers or cores()
        was_whole = (place / INFO_FILE).is_file()
        with ProgressBars() as bars:
            info = build(
                benchmark,
                source,
                place,
                crop,
                processes,
                strict,
                keep_unpacked,
                decide,
                _MISSING[missing],
                bars.show,
            )
        _print(info, place, Path(f"{os.environ.get(_VARIABLE, 'data')}/{dataset}").expanduser(), was_whole)

    guarded(command, advice="The same command starts over.")


def _quality(image_format: Format, quality: int | None) -> int:
    if image_format is Format.jpeg:
        return _QUALITY if quality is None else quality
    if quality is not None:
        raise ConfigError(f"--quality {quality} is for --format jpeg; raw pixels have none. Add that, or leave it out.")
    return 0


def _print(info: StoreInfo, place: Path, usual: Path, was_whole: bool) -> None:
    if was_whole:
        print(
            f"{one_line(str(place))} is prepared already with these settings, from {one_line(info.source)}. If what "
            "lies there has changed, remove the store to prepare it again."
        )
        unread = sum(problem["kind"] == UNREADABLE_IMAGE for problem in info.problems)
        if unread:
            print(f"{unread} photograph(s) could not be read then. If they can be now, do the same.")
    console = Screen()
    for part in report(info, place, usual):
        console.print(part, soft_wrap=isinstance(part, Text))


def default_out(dataset: str) -> Path:
    """Where the configuration looks for a store; but an empty variable, which means / there, counts as none."""
    return Path(os.environ.get(_VARIABLE) or "data") / dataset


class ProgressBars:
    """A bar on stderr for each stage of the work."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Screen(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(one_line(stage), total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:,.0f}/s" if task.elapsed and task.completed else "")
