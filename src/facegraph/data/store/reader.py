"""Reading a prepared store: annotations as arrays, crops straight from the page cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from PIL import Image

from facegraph.data.faults import MASK
from facegraph.data.formats.files import shown
from facegraph.data.source import FaceTable
from facegraph.data.store.layout import RAW, TABLE_FILE, StoreInfo, read_info, shard_name
from facegraph.errors import DataError
from facegraph.files import plain_parquet
from facegraph.files.plain_files import check_file

_TEXTS = ("id", "photo", "image", "split", "source")
_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]
_TRANSFORM = ["scale", "shift_x", "shift_y"]
_PLACE = ["shard", "offset", "length"]
_MOST = 2**50
_JPEG_HEADER = 65_536
"""Bytes that a JPEG of noise may have beyond its pixels."""


class FaceStore:
    """A prepared store, M faces. Opening reads the annotations; crops are read one by one.

    info: its store.json. frame: its annotations.parquet.

    Raises:
        DataError: no whole store at this path, or annotations that lack a column or have no numbers in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info: StoreInfo = read_info(self.path)
        try:
            self.frame = plain_parquet.load(self.path / TABLE_FILE)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / TABLE_FILE} cannot be read: {error}. Prepare the set again.") from error
        self._check_columns()
        self._check_values()

    def _check_columns(self) -> None:
        numbers = [*self._landmark_columns, *_BOX, *_TRANSFORM, *_PLACE, "width", "height"]
        flags = [f"attr_{name}" for name in self.info.attributes]
        missing = [name for name in (*_TEXTS, *numbers, *flags) if name not in self.frame]
        if not missing:
            texts = [name for name in _TEXTS if not all(isinstance(text, str) for text in self.frame[name])]
            if texts:
                raise DataError(
                    f"{self.path / TABLE_FILE} has other than texts in column '{texts[0]}'. Prepare the set again."
                )
        wrong = [name for name in numbers if name not in missing and not is_numeric_dtype(self.frame[name])]
        wrong += [name for name in flags if name not in missing and not is_bool_dtype(self.frame[name])]
        if missing or wrong:
            what = f"lacks the column '{missing[0]}'" if missing else f"has other than numbers in column '{wrong[0]}'"
            raise DataError(
                f"{self.path / TABLE_FILE} {what} ({len(missing) + len(wrong)} columns are wrong). Prepare the set "
                "again."
            )

    def _check_values(self) -> None:
        """Raises DataError for a place in a shard that no crop can have."""
        shard, offset, length = (self.frame[name].to_numpy(dtype=np.float64) for name in _PLACE)
        crop = self.info.crop
        lengths = (3 * crop.side**2,) * 2 if crop.image_format == RAW else (1, 3 * crop.side**2 + _JPEG_HEADER)
        for what, wrong in (
            ("shard", ~((shard >= 0) & (shard < _MOST))),
            ("offset", ~((offset >= 0) & (offset < _MOST))),
            ("length", ~((length >= lengths[0]) & (length <= lengths[1]))),
        ):
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise DataError(
                    f"{self.path / TABLE_FILE}, row {row + 1}: {what} is {shown(str(self.frame[what].iloc[row]))}, "
                    f"which no crop of this store can have ({int(wrong.sum())} row(s) like this). Prepare the set "
                    "again."
                )

    def check(self) -> None:
        """What can be seen without reading the crops: for who trains on the store or scores it.

        `facegraph doctor` looks at all of it, the pixels too, and says everything that is wrong.

        Raises:
            DataError: an id twice; points, boxes or places that are no numbers; a shard that is gone or cut short.
        """
        ids = self.frame["id"]
        self._refuse(ids.duplicated().to_numpy(), "an id that another face has too")
        points = self.landmarks
        there = np.isfinite(points).all(axis=2)
        if self.info.missing == MASK:
            there |= np.isnan(points).all(axis=2)
        self._refuse(~there.all(axis=1), "landmarks that are no numbers")
        boxes = self.boxes
        self._refuse(~(np.isfinite(boxes) | np.isnan(boxes).all(axis=1, keepdims=True)).all(axis=1), "half a box")
        transforms = self.frame[_TRANSFORM].to_numpy(dtype=np.float64)
        self._refuse(~(np.isfinite(transforms).all(axis=1) & (transforms[:, 0] > 0)), "a scale or shift of no use")
        self._check_places()

    def _check_places(self) -> None:
        """Whether the shards are as long as the places of the crops in them say."""
        shard, offset, length = self.frame[_PLACE].to_numpy(dtype=np.int64).T
        sizes = {int(number): self._shard_size(int(number)) for number in np.unique(shard)}
        ends = np.array([sizes[int(number)] for number in shard])
        self._refuse(offset + length > ends, "a crop beyond the end of its shard, which is cut short or gone")

    def _shard_size(self, number: int) -> int:
        try:
            return (self.path / shard_name(number)).stat().st_size
        except OSError:
            return 0

    def _refuse(self, wrong: np.ndarray, what: str) -> None:
        if not wrong.any():
            return
        first = self.frame["id"].iloc[int(np.flatnonzero(wrong)[0])]
        raise DataError(
            f"{self.path} is damaged: {int(wrong.sum())} of {len(wrong)} faces have {what}, the first '{first}'. "
            f"`facegraph doctor {self.path}` says all that is wrong; prepare the set again."
        )

    @property
    def _landmark_columns(self) -> list[str]:
        return [f"{axis}{i}" for i in range(self.info.scheme.num_landmarks) for axis in "xy"]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """(M, N, 2) float64 px of the photograph."""
        count = self.info.scheme.num_landmarks
        return self.frame[self._landmark_columns].to_numpy(dtype=np.float64).reshape(len(self.frame), count, 2)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(M, 4) float64 px of the photograph, the publisher's; NaN where there is none."""
        return self.frame[_BOX].to_numpy(dtype=np.float64)

    @cached_property
    def attributes(self) -> np.ndarray:
        """(M, K) bool, columns in the order of info.attributes."""
        return self.frame[[f"attr_{name}" for name in self.info.attributes]].to_numpy(dtype=bool)

    def rows(self, split: str, attribute: str | None = None) -> np.ndarray:
        """Rows of a split, or of those of its faces that have an attribute.

        Raises:
            DataError: no face of that name.
        """
        chosen = (self.frame["split"] == split).to_numpy()
        if attribute is not None:
            self._check_attribute(attribute)
            chosen = chosen & self.frame[f"attr_{attribute}"].to_numpy(dtype=bool)
        if not chosen.any():
            what = split if attribute is None else f"{split}/{attribute}"
            raise DataError(
                f"{self.path} has no faces of '{what}'; it has {dict(self.info.counts)}. Choose one of them, or "
                "prepare the set again with the missing part."
            )
        return np.flatnonzero(chosen)

    def _check_attribute(self, name: str) -> None:
        if name not in self.info.attributes:
            raise DataError(
                f"{self.path} has no attribute '{name}'; it has {list(self.info.attributes)}. Choose among these."
            )

    def source(self, rows: np.ndarray, attributes: Sequence[str] | None = None) -> StoreSource:
        """The faces of some rows, for training or scoring.

        Args:
            attributes: columns to keep; None for all.

        Raises:
            DataError: no such attribute.
        """
        frame, names = self.frame, self.info.attributes if attributes is None else tuple(attributes)
        for name in names:
            self._check_attribute(name)
        table = FaceTable(
            ids=tuple(frame["id"].iloc[rows]),
            photos=tuple(frame["photo"].iloc[rows]),
            landmarks=self.landmarks[rows],
            boxes=self.boxes[rows],
            attributes=self.attributes[rows][:, [self.info.attributes.index(name) for name in names]],
            attribute_names=names,
            seen=self._seen(rows),
        )
        places = frame[_PLACE].to_numpy(dtype=np.int64)[rows]
        transforms = frame[_TRANSFORM].to_numpy(dtype=np.float64)[rows]
        return StoreSource(self.path, self.info, table, places, transforms)

    def _seen(self, rows: np.ndarray) -> np.ndarray:
        """(K, 4) px of the photograph, what the stored crops of some rows show."""
        scale, x, y = self.frame[_TRANSFORM].to_numpy(dtype=np.float64)[rows].T
        low, high = -0.5, self.info.crop.side - 0.5
        return np.stack([(edge - shift) / scale for edge in (low, high) for shift in (x, y)], axis=1)


class StoreSource:
    """Faces of a store as a FaceSource. Shards are mapped, so all loader processes share one copy in memory."""

    def __init__(
        self, path: Path, info: StoreInfo, table: FaceTable, places: np.ndarray, transforms: np.ndarray
    ) -> None:
        self._path = path
        self._side = info.crop.side
        self._raw_side = info.crop.side if info.crop.image_format == RAW else None
        self._table = table
        self._places = places
        self._transforms = transforms
        self._shards: dict[int, np.ndarray] = {}

    @property
    def table(self) -> FaceTable:
        return self._table

    def image(self, index: int) -> np.ndarray:
        """(S, S, 3) uint8 RGB crop of a row; read-only.

        Raises:
            DataError: a shard that is gone, cut short or damaged.
        """
        shard, offset, length = (int(n) for n in self._places[index])
        found = self._shard(shard)[offset : offset + length]
        if len(found) == length:
            if self._raw_side is not None:
                return found.reshape(self._raw_side, self._raw_side, 3)
            image = cv2.imdecode(found, cv2.IMREAD_COLOR_RGB) if self._is_crop(found) else None
            if image is not None:
                return image
        raise DataError(
            f"{self._path / shard_name(shard)}: the crop of face '{self._table.ids[index]}' is damaged or cut short. "
            "Prepare the set again."
        )

    def _is_crop(self, content: np.ndarray) -> bool:
        """Whether an encoded image says that it is as large as the crops of this store, before it is decoded."""
        try:
            with Image.open(BytesIO(content.tobytes())) as header:
                return header.size == (self._side, self._side)
        except Exception:  # of damaged images
            return False

    def image_to_stored(self, index: int) -> np.ndarray:
        """(3, 3) float64, px of the photograph -> px of image(index)."""
        scale, x, y = self._transforms[index]
        return np.array([[scale, 0.0, x], [0.0, scale, y], [0.0, 0.0, 1.0]])

    def _shard(self, number: int) -> np.ndarray:
        if number not in self._shards:
            path = self._path / shard_name(number)
            try:
                check_file(path)
                self._shards[number] = np.memmap(path, dtype=np.uint8, mode="r")
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be opened: {error}. Prepare the set again.") from error
        return self._shards[number]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_shards": {}}
