"""Every file under conf/ composes and builds; what does not exist is named together with what does."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from facegraph import landmarks
from facegraph.backbones import TimmBackbone
from facegraph.data.datamodule import FaceDataModule
from facegraph.errors import ConfigError, DataError
from facegraph.heads.fc import FullyConnectedHead
from facegraph.losses.criteria import Wing
from facegraph.models.regressor import LandmarkRegressor
from facegraph.runs.compose import build_data, build_model, compose, make, statistics_for
from facegraph.runs.configuration import refuse_mistyped
from facegraph.structures import ShapeStatistics
from tests.helpers.crops import write_crops
from tests.helpers.models import scheme_of
from tests.helpers.runs import ROOT, tiny_config

CONF = ROOT / "conf"
OPTIONS = sorted(p.relative_to(CONF).with_suffix("") for p in CONF.glob("*/*.yaml") if p.parent.name != "corruption")
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
GLOBAL = ("debug", "experiment", "scale")
NEEDS = {"crops": ["dataset.scheme.name_or_path=ibug68"]}


def statistics(num_landmarks: int) -> ShapeStatistics:
    n = num_landmarks
    return ShapeStatistics(torch.rand(n, 2), torch.rand(n, n), scheme_of(n))


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crops(tmp_path_factory.mktemp("crops") / "root", test_split="test_common")


def rounds() -> list[list[Path]]:
    """Options so that each occurs once and no group twice in a list; those that reach into many groups alone."""
    by_group: dict[str, list[Path]] = {}
    alone = [option for option in OPTIONS if option.parent.name in GLOBAL]
    for option in OPTIONS:
        if option not in alone:
            by_group.setdefault(str(option.parent), []).append(option)
    together = [[o for o in row if o is not None] for row in itertools.zip_longest(*by_group.values())]
    return [*together, *([option] for option in alone)]


@pytest.mark.parametrize("options", rounds(), ids=lambda options: "+".join(o.name for o in options))
def test_every_option_composes(options: list[Path]) -> None:
    needs = [need for option in options for need in NEEDS.get(option.name, [])]
    cfg = compose([*(f"{option.parent}={option.name}" for option in options), *needs])
    for option in options:
        own = OmegaConf.load(CONF / option.with_suffix(".yaml"))
        assert isinstance(own, DictConfig)
        if option.parent.name not in GLOBAL:
            assert set(own) - {"defaults"} <= set(cfg[option.parent.name])


def _check_parts(cfg: DictConfig) -> None:
    scheme = make(cfg.dataset.scheme)
    assert isinstance(scheme, landmarks.LandmarkScheme)
    shapes = statistics(scheme.num_landmarks)
    model = build_model(cfg, shapes)
    assert isinstance(make(cfg.loss)(statistics=shapes), torch.nn.Module)
    optimizer = make(cfg.optimizer)(model.parameters())
    schedule = make(cfg.scheduler)(optimizer, 10, 1000)
    assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
    assert all(make(part) is not None for part in cfg.callbacks.values())


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_builds(experiment: str, crops: Path, stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEGRAPH_DATA", str(stores))
    given = [f"experiment={experiment}", "data.batch_size=4", "data.val_fraction=0.2", *NEEDS.get(experiment, [])]
    if OmegaConf.is_missing(compose(given).dataset, "root"):
        given += [f"dataset.root={crops}", "dataset.test_split=test_common"]
    cfg = compose(given)
    data = build_data(cfg)
    assert isinstance(data, FaceDataModule)
    data.setup("fit")
    data.setup("test")
    assert len(data.test_table) in (5, 6, 10)
    assert cfg.name == experiment
    _check_parts(cfg)


def test_the_papers_recipe() -> None:
    cfg = compose(["experiment=scc_wflw"])
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.optimizer.momentum) == ("torch.optim.SGD", 0.01, 0.9)
    assert cfg.optimizer.weight_decay == 5e-4
    assert list(cfg.scheduler.milestones) == [100, 200, 300, 400]
    assert cfg.scheduler.gamma == 0.2
    assert (cfg.trainer.max_epochs, cfg.data.batch_size, cfg.input_size, cfg.data.balancing.bins) == (500, 64, 256, 9)
    assert (cfg.loss.omega1, cfg.loss.omega2, cfg.loss.epsilon, cfg.loss.relative_weight) == (2, 20, 0.5, 0)
    assert compose(["experiment=lgrn_wflw"]).loss.relative_weight == 1
    assert list(compose(["experiment=lgrn_wflw"]).scheduler.milestones) == [200, 350]
    assert compose(["experiment=fc_wflw"]).head._target_.endswith("FullyConnectedHead")
    # both rows of the real run have one budget
    scc, fc = (compose([f"experiment={name}_300w_small"]) for name in ("scc", "fc"))
    for key in ("trainer", "optimizer", "scheduler", "data", "loss", "augment", "input_size"):
        assert scc[key] == fc[key], key


def test_the_documented_command_does_what_it_says() -> None:
    cfg = compose(["head=fc", "loss=wing", "loss.epsilon=0.5", "backbone=resnet18", "dataset=wflw", "input_size=64"])
    model = build_model(cfg, statistics(98))
    assert isinstance(model, LandmarkRegressor)
    assert isinstance(model.head, FullyConnectedHead)
    assert len(model.backbone.network.layer4) == 2
    assert model.backbone.channels[5] == 512
    criterion = make(cfg.loss)(statistics=statistics(98))
    assert isinstance(criterion, Wing)
    assert (criterion.omega, criterion.epsilon) == (10, 0.5)
    dataset = make(cfg.dataset)
    assert dataset.scheme is landmarks.WFLW98
    assert dataset.thresholds_of("inter_ocular") == (0.10,)
    assert dataset.thresholds_of("box") == (0.07,)


@pytest.mark.parametrize("option", sorted(p.stem for p in (CONF / "backbone").glob("*.yaml")))
def test_no_backbone_asks_for_weights(option: str) -> None:
    cfg = OmegaConf.load(CONF / "backbone" / f"{option}.yaml")
    assert cfg._target_ == f"{TimmBackbone.__module__}.TimmBackbone"
    assert cfg.pretrained is False


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("head.topk=3", ["head.topk", "attention", "levels", "Did you mean 'head.top_k'"]),
        ("los=l1", ["los", "backbone", "dataset", "Did you mean 'loss'"]),
        ("trainer.max_epoch=3", ["accelerator", "Did you mean 'trainer.max_epochs'"]),
        ("graph.frame.kind=box", ["graph.frame", "no settings of its own"]),
        ("dataset=foo", ["dataset/foo", "300w_crops", "crops", "synthetic", "wflw"]),
        ("head=gcm", ["head/gcm", "fc", "gcn", "gcn_released"]),
        ("experiment=scc", ["experiment/scc", *EXPERIMENTS]),
    ],
)
def test_a_typo_is_answered_with_what_exists(override: str, named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["backbone=resnet18", override, "seed=3"])
    for part in named:
        assert part in str(caught.value)


def test_a_missing_root_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"'dataset.root' has no value.*dataset.root=\.\.\."):
        build_data(compose(["dataset=crops", "dataset.scheme.name_or_path=ibug68"]))


def test_costs_need_no_data() -> None:
    shapes, source = statistics_for(compose(["experiment=scc_300w_small"]))
    assert shapes.mean_shape.shape == (68, 2)
    assert (shapes.mean_shape.amax(dim=0) - shapes.mean_shape.amin(dim=0)).min() > 0.5  # a face, not a point
    assert "dataset.root" in source


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("head.top_k=0", ["top_k=0", "1..97"]),
        ("head.top_k=98", ["top_k=98", "1..97"]),
        ("head.levels=[1,5]", ["[1]", "[2, 3, 4, 5]", "head.levels=[3,4,5]"]),
        ("head.levels=[]", ["at least one level"]),
        ("head.attention=channel", ["channel", "none", "self", "semantic"]),
        ("head.edge_weights=learned", ["learned", "dynamic", "static", "binary"]),
        ("head.weights_per_layer=3", ["weights_per_layer=3", "1 (paper)", "2"]),
        ("head.blocks=-1", ["head.blocks=-1", "at least 0"]),
        ("input_size=100", ["input_size=100", "32", "input_size=96"]),
        ("backbone.name=resnet19", ["resnet19", "resnet18"]),
    ],
)
def test_a_model_setting_out_of_range_is_explained(override: str, named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(compose(["input_size=64", override]), statistics(98))
    for part in named:
        assert part in str(caught.value)


def test_an_empty_data_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEGRAPH_DATA", "")
    assert compose(["dataset=wflw"]).dataset.root == "data/wflw"


def test_a_store_that_is_not_there_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEGRAPH_DATA", str(tmp_path / "nowhere"))
    cfg = compose(["dataset=wflw"])
    shapes, source = statistics_for(cfg)  # costs of a model do not need the faces
    assert shapes.mean_shape.shape == (98, 2)
    assert "no prepared store yet" in source
    with pytest.raises(DataError, match=r"no prepared store of 'wflw' at .*nowhere.*facegraph prepare wflw --source"):
        build_data(cfg).setup("fit")
    with pytest.raises(DataError, match=r"no store\.json"):
        build_data(compose(["dataset=prepared", f"dataset.root={tmp_path}"]))


def test_the_entries_answer_a_typo_before_hydra_does() -> None:
    with pytest.raises(SystemExit, match=r"error: there is no setting 'head.topk'.*Did you mean 'head.top_k'"):
        refuse_mistyped(["head.topk=3", "seed=1"], "train")
    refuse_mistyped(["head.top_k=3", "hydra.verbose=false"], "train")
    refuse_mistyped(["--help"], "train")


def test_a_setting_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.epsilon=abc cannot be used; it must be a number"):
        tiny_config(tmp_path / "run", "loss.epsilon=abc")
