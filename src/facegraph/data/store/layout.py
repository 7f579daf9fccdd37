"""What lies in a prepared store.

    store.json             StoreInfo: what it is, how it was cut, counts, problems, content hash; written last
    annotations.parquet    one row per face, in the publisher's order
    images/00000.bin ...   shards: square crops one after the other, raw uint8 RGB or JPEG
    problems.csv           StoreInfo.problems as a table

A store is built in <store>.partial and renamed when it is whole: a folder of another name with a store.json is
complete.

Columns of annotations.parquet:
    id, photo, image, split, source: texts; image is the photograph's name, source the file and line of the annotation.
    x0, y0, x1, y1, ...: landmarks, float64 px of the photograph, 0-based, integers at pixel centres; NaN where the
        annotation has none.
    box_x0, box_y0, box_x1, box_y1: the publisher's box, float64 px of the photograph; NaN where there is none.
    attr_<name>: bool. value_<name>: float64, NaN where unknown. hidden: list of N bool, or null.
    norm_<name>: float64 px of the photograph, the distance an error is divided by; one per normaliser of the scheme,
        and norm_box, sqrt(w h) of the landmark box; NaN where one of its landmarks is missing.
    width, height: of the photograph, px.
    scale, shift_x, shift_y: px of the stored crop = scale * px of the photograph + shift.
    shard, offset, length: int64, where the crop's bytes lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from facegraph.data.faults import LEAVE_OUT
from facegraph.errors import ConfigError, DataError
from facegraph.files import plain_json
from facegraph.landmarks import LandmarkScheme

INFO_FILE = "store.json"
TABLE_FILE = "annotations.parquet"
IMAGE_FOLDER = "images"
FORMAT_VERSION = 1
RAW, JPEG = "raw", "jpeg"
QUALITIES = {RAW: (0, 0), JPEG: (1, 100)}
EXIF_IGNORED, EXIF_APPLIED = "ignored", "applied"
SIDES = (16, 4096)
PROBLEMS_FILE = "problems.csv"
ALL = "all"


def shard_name(number: int) -> str:
    return f"{IMAGE_FOLDER}/{number:05d}.bin"


def file_name(text: str) -> str:
    """A text as part of a file name: letters, digits, dot, dash and underscore stay, anything else becomes '_'.

    >>> file_name("yaw 30/60"), file_name("..")
    ('yaw_30_60', '_')
    """
    safe = re.sub(r"[^\w.-]+", "_", text)
    return safe if safe.strip(".") else "_"


@dataclass(frozen=True)
class CropPolicy:
    """How faces were cut out of their photographs.

    Args:
        side: of the stored crop, px.
        scale: side of the square over the longer side of the box it is centred on.
        around: that box, in words.
        image_format: "raw" or "jpeg".
        quality: of the JPEG, 1 to 100; 0 for raw.
        exif: "ignored", where landmarks and boxes are px of photographs as stored; or "applied": photographs are turned
            upright before anything else, and landmarks and boxes are px of the upright ones.

    Raises:
        ConfigError: a number or word out of range.
    """

    side: int = 512
    scale: float = 2.0
    around: str = "union of the landmark box and the official box"
    image_format: str = RAW
    quality: int = 0
    exif: str = EXIF_IGNORED

    def __post_init__(self) -> None:
        allowed = QUALITIES[JPEG] if self.image_format == JPEG else QUALITIES[RAW]
        for name, value, fine, wanted in (
            ("side", self.side, SIDES[0] <= self.side <= SIDES[1], f"{SIDES[0]} to {SIDES[1]} px"),
            ("scale", self.scale, 1 <= self.scale <= 10, "1 (tight around the box) to 10"),
            ("format", self.image_format, self.image_format in QUALITIES, f"one of {list(QUALITIES)}"),
            ("quality", self.quality, allowed[0] <= self.quality <= allowed[1], "1 to 100 for jpeg, 0 for raw"),
            ("exif", self.exif, self.exif in (EXIF_IGNORED, EXIF_APPLIED), f"'{EXIF_IGNORED}' or '{EXIF_APPLIED}'"),
        ):
            if not fine:
                raise ConfigError(f"crop {name} is {value!r}; it must be {wanted}.")


@dataclass(frozen=True)
class StoreInfo:
    """Everything about a store but its faces.

    Attributes:
        dataset, version: as results print them.
        scheme: numbering of the landmarks.
        attributes: subsets that faces are flagged for.
        crop: how faces were cut out.
        counts: faces per "split" and "split/attribute"; "all" is the sum of all splits.
        official_counts: the same as published; "all" is there where the publisher names no other number.
        content_hash: sha256 over annotations and images.
        source: folder that was read, as given.
        facegraph: version that wrote it.
        problems: dicts of entries.Problem.
        photographs: how many were read, under "read", and how many of them have each trait (photograph.TRAITS), such as
            a rotation in EXIF.
        missing: what became of faces that lack landmarks, see data.faults.
        options: what the data set was asked for besides, such as the share of a test set that is cut.
    """

    dataset: str
    version: str
    scheme: LandmarkScheme
    attributes: tuple[str, ...]
    crop: CropPolicy
    counts: Mapping[str, int]
    official_counts: Mapping[str, int]
    content_hash: str
    source: str
    facegraph: str
    problems: tuple[Mapping[str, Any], ...] = field(default=())
    photographs: Mapping[str, int] = field(default_factory=dict)
    missing: str = LEAVE_OUT
    options: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


class Count(NamedTuple):
    """Faces found beside those that the publisher counts, as prepare and inspect print them.

    Attributes:
        name: "split" or "split/attribute".
        found: faces in the store.
        official: faces that the publisher counts; None where it counts none.
    """

    name: str
    found: int
    official: int | None

    @property
    def difference(self) -> int | None:
        return None if self.official is None else self.found - self.official


def list_counts(info: StoreInfo) -> list[Count]:
    """Every split, each followed by its subsets; the publisher's order first, then what only the store has."""
    names = list(dict.fromkeys([*info.official_counts, *info.counts]))
    splits = list(dict.fromkeys(name.split("/")[0] for name in names))
    names.sort(key=lambda name: splits.index(name.split("/")[0]))  # stable: subsets keep their order
    return [Count(name, info.counts.get(name, 0), info.official_counts.get(name)) for name in names]


def read_info(store: Path) -> StoreInfo:
    """The store.json of a prepared store.

    Raises:
        DataError: no store, one that is not whole, or one of another format version.
    """
    path = Path(store) / INFO_FILE
    if not path.is_file():
        raise DataError(
            f"{store} is no prepared store: it has no {INFO_FILE}. "
            "Make one: facegraph prepare <data set> --source <folder as downloaded> --out " + str(store)
        )
    try:
        fields: dict[str, Any] = plain_json.load(path)
        version = fields["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}). Prepare the set again.") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {version}; this facegraph reads {FORMAT_VERSION}. Prepare the set again."
        )
    try:
        return plain_json.build(StoreInfo, fields)
    except ValueError as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}). Prepare the set again.") from error
