"""`facegraph bench synthetic`: how fast synthetic faces are drawn."""

from __future__ import annotations

import time

import cv2

from facegraph.data.synthetic import SyntheticDataset
from facegraph.errors import ConfigError


def bench_synthetic(faces: int = 200, image_size: int = 128) -> float:
    """Faces drawn per second of one core's time, at image_size px.

    Raises:
        ConfigError: no faces, or an image size that cannot be drawn.
    """
    if faces < 1:
        raise ConfigError(f"faces is {faces}; at least 1 is needed.")
    source = SyntheticDataset(train_size=faces, test_size=1, image_size=image_size).train()
    source.image(0)  # computes the shapes of all
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        start = time.process_time()
        for index in range(faces):
            source.image(index)
        return faces / (time.process_time() - start)
    finally:
        cv2.setNumThreads(threads)
