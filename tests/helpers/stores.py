"""Prepared stores of drawn faces, one per benchmark, made by the real `prepare` from a fake tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facegraph.curation.prepare.build import prepare
from facegraph.curation.prepare.datasets import DatasetOptions, make_benchmark
from facegraph.data.store.layout import CropPolicy
from tests.helpers.crops import write_crops
from tests.helpers.trees import write_300w, write_300wlp, write_coco, write_cofw, write_cofw68, write_wflw

SIDE = 64
TREES: dict[str, Callable[[Path], object]] = {
    "wflw": lambda root: write_wflw(root, train=16, test=6),
    "300w": lambda root: write_300w(root, {"afw": 10, "helen/trainset": 4, "helen/testset": 4, "ibug": 2}),
    "300wlp": lambda root: write_300wlp(root, poses=2),
    "cofw": lambda root: write_cofw(root, train=12, test=5),
    "cofw68": write_cofw68,
    "coco": write_coco,
    "crops": write_crops,
}
SCHEMES = {"coco": "ibug68", "crops": "ibug68"}


def prepared(folder: Path, name: str) -> Path:
    """folder/<name>, a store of a few faces."""
    TREES[name](folder / f"{name}_source")
    benchmark = make_benchmark(name, DatasetOptions(scheme=SCHEMES.get(name)))
    prepare(benchmark, folder / f"{name}_source", folder / name, CropPolicy(side=SIDE))
    return folder / name
