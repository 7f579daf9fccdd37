"""Images kept in memory once they were read or drawn."""

from __future__ import annotations

import numpy as np

from facegraph.data.source import FaceSource, FaceTable


class CachedSource:
    """Remembers every image of a source; for sets that are small or slow to draw.

    Memory: all images of the source, once per loader process. Pickled without its images.
    """

    def __init__(self, source: FaceSource) -> None:
        self._source = source
        self._images: dict[int, np.ndarray] = {}

    @property
    def table(self) -> FaceTable:
        return self._source.table

    def image(self, index: int) -> np.ndarray:
        if index not in self._images:
            self._images[index] = self._source.image(index)
        return self._images[index]

    def image_to_stored(self, index: int) -> np.ndarray:
        return self._source.image_to_stored(index)

    def __getstate__(self) -> dict[str, object]:
        return {"_source": self._source, "_images": {}}
