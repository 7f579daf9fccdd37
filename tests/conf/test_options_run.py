"""Every option of every group is trained, tested and scored again from its run folder, a few of them per run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from facegraph.errors import DataError
from facegraph.runs.compose import compose
from facegraph.runs.train import train
from tests.helpers.crops import write_crops
from tests.helpers.runs import ROOT, evaluate_run

SMALL = ("input_size=64", "trainer.accelerator=cpu", "debug=fast", "data.val_fraction=0.25", "data.eval_batch_size=8")
DRAWN = tuple(f"dataset.{size}" for size in ("train_size=12", "test_size=5", "image_size=64"))

# dataset.root is filled in where crops are used
RUNS = {
    "plain": "head=gcn normalise=per_image loss=l1 augment=none optimizer=sgd scheduler=constant logger=tensorboard "
    "trainer=cpu lr_rule=linear lr_rule.reference=8",
    "released": "head=gcn_released loss=l2 augment=paper scheduler=cosine callbacks=ema logger=wandb "
    "backbone=mobilenetv3_small lr_rule=sqrt lr_rule.reference=8",
    "fc": "head=fc loss=smooth_l1 augment=light optimizer=adamw scheduler=one_cycle logger=csv callbacks=default "
    "lr_rule=none backbone=resnet50 model=regressor dataset=synthetic trainer=default",
    "own faces": "dataset=crops loss=wing loss.relative_weight=1 scheduler=multistep backbone=resnet34 "
    "dataset.scheme.name_or_path=ibug68",
    "overfit": "dataset=synthetic loss=softwing backbone=resnet18 debug=overfit trainer.max_epochs=1 "
    "trainer.check_val_every_n_epoch=1",
    "300w": "dataset=300w_crops backbone=hrnet_w18 box=landmarks",
    "own store": "dataset=prepared dataset.root={stores}/crops augment=fan box=detector-jittered",
    "coco": "dataset=coco augment=musica box=official",
    "large poses": "dataset=300wlp box=detector-jittered",
    "own boxes": "dataset=cofw box=official-or-landmarks",
    "wflw": "dataset=wflw box=official",
    "300w prepared": "dataset=300w",
    "fan": "model=fan normalise=unit loss=heatmap_mse optimizer=rmsprop scheduler=step adversary=pgd "
    "augment=fan_strong model.num_modules=1 model.num_features=16 model.depth=2 test_time_flip=true",
    "dpr": "model=dpr normalise=signed loss=dpr box=detector-jittered model.global_size=128 model.part_size=64 "
    "callbacks=by_stage",
    "musica": "model=musica normalise=whole_image loss=musica scheduler=staircase callbacks=ema "
    "callbacks.ema.warmup=true model.channels=8 model.hidden=32 model.quit_threshold=0.001 model.fail_threshold=0.01",
    "small": "scale=small head=fc",
    "deconvolution": "head=heatmap loss=heatmap codec=quarter head.upsampling.width=16",
    "side by side": "head=heatmap_hrnet loss=awing codec=soft_argmax head.upsampling.width=16 "
    "backbone=hrnet_w18_branches",
    "maps alone": "head=heatmap loss=heatmap_mse codec=argmax head.upsampling.width=16",
    "smoke": "scale=smoke scheduler=multistep_released",
    "error head": "model=regressor_error head=fc test_time_flip=true",
} | {
    # one experiment runs at its own backbone, the others are deltas that a smaller one serves as well
    p.stem: f"experiment={p.stem}"
    + ("" if p.stem == "scc_wflw" else " backbone=resnet10t")
    + (" dataset.scheme.name_or_path=ibug68" if p.stem == "crops" else "")
    + (" model.num_features=16" if p.stem.startswith("fan_") else "")
    + (" model.hidden=32" if p.stem.startswith("musica_") else "")
    for p in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
}
SLOW = pytest.mark.slow
"""Of recipes at full size, which add nothing but numbers to the small ones of the same system."""
CASES = [
    pytest.param(
        name, marks=SLOW if name.endswith(("_wflw", "_300w", "_cofw")) and name != "hrnet_heatmap_wflw" else ()
    )
    for name in RUNS
]
ELSEWHERE = {
    "trainer/gpu": "needs a GPU",
    "trainer/ddp": "tests/training/test_ddp.py",
    "debug/fast": "all runs here",
    "backbone/tiny": "default, run 'plain'",
    "codec/centroid": "default, runs 'heatmap_300w_small' and 'hrnet_heatmap_wflw'",
    "dataset/cofw68": "test_cross_data_set",
    "scale/paper": "default",
    "dataset/300w_private": "dataset=300w with another split; tests/conf/test_sweep_files.py",
    "scheduler/step_4": "experiment=fan_300wlp",
    "augment/hrnet": "experiment=hrnet_heatmap_wflw",
    "scheduler/multistep_hrnet": "experiment=hrnet_heatmap_wflw",
    "augment/paper_released": "experiment=lgrn_wflw_released",
    "loss/dpr_hard": "tests/conf/test_sweep_files.py",
    "loss/dpr_inverse": "tests/training/test_phases.py",
    "loss/dpr_uncertainty": "tests/training/test_phases.py",
    "corruption/occlusion": "tests/data/test_corruption.py",
    "corruption/blur": "tests/conf/test_sweep_files.py",
    "corruption/resolution": "tests/conf/test_sweep_files.py",
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


@pytest.mark.runs
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", CASES)
def test_run(name: str, crops: dict[str, Path], stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEGRAPH_DATA", str(stores))
    for variable in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = RUNS[name].format(stores=stores).split()
    cfg = compose(given)
    if OmegaConf.is_missing(cfg.dataset, "root"):
        given.append(f"dataset.root={crops[cfg.dataset.test_split]}")
    elif "root" not in cfg.dataset:
        given.extend(DRAWN)
    if cfg.dataset._target_.endswith("PreparedDataset"):
        given.append("data.batch_size=4")
    small = [s for s in SMALL if s.split("=")[0] not in {g.split("=")[0] for g in given}]
    result = train(compose([*small, *given, "output_dir=run"]))
    # after two steps batch norm's running statistics say little: the number need not be small
    assert math.isfinite(result.metrics["test"]["last"]["nme"])
    assert result.metrics["test"]["last"]["nme"] > 0
    assert result.protocol.test_faces == result.metrics["test"]["last"]["count"] >= 4
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["metrics"]["test"]["last"]["nme"] == result.metrics["test"]["last"]["nme"]
    for part, place in (("logger=tensorboard", "run/tensorboard/events*"), ("logger=wandb", "**/offline-run-*")):
        assert (part not in given) or list(tmp_path.glob(place)), place
    assert {p.name for p in tmp_path.iterdir()} <= {"run", "wandb"}
    again = evaluate_run(tmp_path / "run").metrics["test"]["last"]
    assert again["nme"] == pytest.approx(result.metrics["test"]["last"]["nme"], rel=1e-5)
    assert again["per_landmark"] == pytest.approx(result.metrics["test"]["last"]["per_landmark"], rel=1e-4)


@pytest.mark.usefixtures("no_pictures")
def test_cross_data_set(stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on 300-W, scored on COFW-68 and on a subset of its own test faces."""
    monkeypatch.setenv("FACEGRAPH_DATA", str(stores))
    own = train(compose([*SMALL, "dataset=300w", "data.batch_size=4", f"output_dir={tmp_path / 'run'}"]))
    assert set(own.metrics["test"]["last"]["subsets"]) == {"common", "challenging"}
    assert own.protocol.thresholds == {"inter_ocular": (0.08, 0.1), "inter_pupil": (0.08, 0.1), "box": (0.07,)}
    other = evaluate_run(tmp_path / "run", "dataset=cofw68")
    assert (other.protocol.dataset, other.protocol.trained_on, other.protocol.test_faces) == ("cofw68", "300w", 4)
    hard = evaluate_run(tmp_path / "run", "dataset.test_subset=challenging", "box=official-or-landmarks")
    assert (hard.protocol.split, hard.protocol.test_faces) == ("test/challenging", 2)
    assert hard.protocol.crop != own.protocol.crop
    with pytest.raises(DataError, match="'cofw68' has no faces to train on"):
        train(compose([*SMALL, "dataset=cofw68", f"output_dir={tmp_path / 'none'}"]))
