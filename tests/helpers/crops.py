"""A folder of crops with drawn faces, as a user would bring them."""

from __future__ import annotations

from pathlib import Path

import cv2
import pandas as pd

from facegraph.data.synthetic.dataset import SyntheticDataset
from facegraph.landmarks import SCHEMES


def write_crops(root: Path, scheme: str = "ibug68", train: int = 14, test: int = 5, test_split: str = "test") -> Path:
    """root/images/*.png and root/annotations.csv, image names as in 300-W; every two faces share a photograph."""
    (root / "images").mkdir(parents=True)
    dataset = SyntheticDataset(SCHEMES[scheme], train_size=train, test_size=test, image_size=64)
    rows = []
    for split, source in (("train", dataset.train()), (test_split, dataset.test())):
        for i, points in enumerate(source.table.landmarks):
            name = f"helen_{split.replace('_', '')}_{i // 2:04d}_{i % 2}.png"
            cv2.imwrite(str(root / "images" / name), source.image(i)[..., ::-1])
            values = {f"{a}{n}": round(v, 3) for n, p in enumerate(points) for a, v in zip("xy", p, strict=True)}
            rows.append({"image": name, "split": split, **values})
    pd.DataFrame(rows).to_csv(root / "annotations.csv", index=False)
    return root
