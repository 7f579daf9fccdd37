"""Every option of every group is trained, tested and reported with, a few of them per run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from facegraph.compose import compose
from facegraph.run import train
from tests.helpers.crops import write_crops
from tests.helpers.runs import ROOT

SMALL = ("input_size=64", "trainer.accelerator=cpu", "debug=fast", "data.val_fraction=0.25")
DRAWN = tuple(f"dataset.{size}" for size in ("train_size=12", "test_size=5", "image_size=64"))

# dataset.root is filled in where crops are used
RUNS = {
    "plain": "head=gcn loss=l1 augment=none optimizer=sgd scheduler=constant logger=tensorboard trainer=cpu",
    "released": "head=gcn_released loss=l2 augment=paper scheduler=cosine callbacks=ema logger=wandb "
    "backbone=mobilenetv3_small",
    "fc": "head=fc loss=smooth_l1 augment=light optimizer=adamw scheduler=one_cycle logger=csv callbacks=default "
    "backbone=resnet50 model=regressor dataset=synthetic trainer=default",
    "own faces": "dataset=crops loss=wing loss.relative_weight=1 scheduler=multistep backbone=resnet34 "
    "dataset.scheme.name_or_path=ibug68",
    "overfit": "dataset=wflw loss=softwing backbone=resnet18 debug=overfit trainer.max_epochs=1 "
    "trainer.check_val_every_n_epoch=1",
    "300w": "dataset=300w_crops backbone=hrnet_w18",
} | {
    # one experiment runs at its own backbone, the others are deltas that a smaller one serves as well
    p.stem: f"experiment={p.stem}"
    + ("" if p.stem == "scc_wflw" else " backbone=resnet10t")
    + (" dataset.scheme.name_or_path=ibug68" if p.stem == "crops" else "")
    for p in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
}
ELSEWHERE = {
    "trainer/gpu": "needs a GPU",
    "trainer/ddp": "tests/train/test_ddp.py",
    "debug/fast": "all runs here",
    "backbone/tiny": "default, run 'plain'",
}


def options() -> set[str]:
    return {str(p.relative_to(ROOT / "conf").with_suffix("")) for p in (ROOT / "conf").glob("*/*.yaml")}


def test_every_option_has_a_run() -> None:
    named = {part.replace("=", "/") for line in RUNS.values() for part in line.split()}
    assert options() - named - set(ELSEWHERE) == set()


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of the test split -> folder."""
    folder = tmp_path_factory.mktemp("crops")
    return {split: write_crops(folder / split, test_split=split) for split in ("test", "test_common")}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", RUNS)
def test_run(name: str, crops: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = RUNS[name].split()
    cfg = compose(given)
    if "root" in list(cfg.dataset):
        given.append(f"dataset.root={crops[cfg.dataset.test_split]}")
    else:
        given.extend(DRAWN)
    small = [s for s in SMALL if s.split("=")[0] not in {g.split("=")[0] for g in given}]
    result = train(compose([*small, *given, "output_dir=run"]))
    # after two steps batch norm's running statistics say little: the number need not be small
    assert math.isfinite(result.metrics["test"]["last"]["nme"])
    assert result.metrics["test"]["last"]["nme"] > 0
    assert result.protocol.test_faces == 5
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["metrics"]["test"]["last"]["nme"] == result.metrics["test"]["last"]["nme"]
    for part, place in (("logger=tensorboard", "run/tensorboard/events*"), ("logger=wandb", "**/offline-run-*")):
        assert (part not in given) or list(tmp_path.glob(place)), place
    assert {p.name for p in tmp_path.iterdir()} <= {"run", "wandb"}
