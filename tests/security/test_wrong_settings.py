"""Every setting of conf/ with values that are none: a message of ours that names it, or an object that works."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants as hub
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from facegraph.data.synthetic import drawn_mean_shape
from facegraph.errors import ConfigError, DataError, FacegraphError
from facegraph.graph.correlation import FRAMES
from facegraph.landmarks import SCHEMES
from facegraph.models.dpr.model import DPR
from facegraph.runs import preflight, settings
from facegraph.runs.compose import build_criterion, build_data, build_model, compose, make
from facegraph.runs.configuration import project_root
from facegraph.structures import ShapeStatistics

ABSENT = "absent"
HUGE = 10**30
VALUES = (ABSENT, None, "abc", True, 0, -1, 2.5, 1e9, HUGE, math.nan, math.inf, [], {}, ["abc", None])
FEWER_VALUES = (ABSENT, None, "abc", -1, HUGE, math.nan, [], {})  # of settings that albumentations checks
LARGER_GROUPS = ("experiment", "scale", "debug", "hydra")  # deltas of the others
SMALL = (
    "dataset.train_size=8",
    "dataset.test_size=2",
    "dataset.image_size=64",
    "data.batch_size=2",
    "data.num_workers=0",
    "head.width=8",
    "head.hidden=8",
    "trainer=cpu",
)
# options whose networks are large, made small
SMALLER: dict[str, Any] = {
    "model.o_fan": {"num_features": 8, "num_modules": 1, "depth": 1},
    "model.o_dpr": {"coarse_size": 100, "global_size": 100, "part_size": 100},
    "model.o_musica": {"channels": 4, "hidden": 8},
    "head.o_heatmap": {"upsampling.width": 8},
    "head.o_gcn": {"width": 8, "hidden": 8},
    "head.o_gcn_released": {"width": 8, "hidden": 8},
}


def options() -> list[tuple[str, str]]:
    """Group and name of every option."""
    conf = project_root() / "conf"
    return sorted((f.parent.name, f.stem) for f in conf.glob("*/*.yaml") if f.parent.name not in LARGER_GROUPS)


@cache
def composed() -> DictConfig:
    """train.yaml, and under `options` every option of every group."""
    extra = [f"+{group}@options.{group}.o_{name}='{name}'" for group, name in options()]
    cfg = compose([*SMALL, *extra])
    for place, changes in SMALLER.items():
        for key, value in changes.items():
            OmegaConf.update(cfg, f"options.{place}.{key}", value)
    return cfg


def configuration(group: str, name: str) -> DictConfig:
    cfg = copy.deepcopy(composed())
    OmegaConf.set_struct(cfg, False)
    cfg[group] = cfg.options[group][f"o_{name}"]
    del cfg["options"]
    if group == "dataset" and name != "synthetic":
        cfg.dataset.root, cfg.dataset.name = "nowhere", "set"
        cfg.dataset.scheme = {"_target_": "facegraph.data.scheme_file.load_scheme", "name_or_path": "wflw98"}
    if group == "lr_rule" and name != "none":
        cfg.lr_rule.reference = 64
    if group == "trainer" and name == "gpu" and not torch.cuda.is_available():
        cfg.trainer.accelerator = "cpu"
    return cfg


def places(node: Any, above: str, owner: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key of every setting below a node and what it is a setting of; those that conf/ leaves out as well."""
    rows = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    target = str(node.get("_target_", owner)) if isinstance(node, dict) else owner
    for name, value in rows:
        if str(name).startswith("_") or (isinstance(node, list) and not isinstance(value, dict)):
            continue
        yield f"{above}.{name}", target
        yield from places(value, f"{above}.{name}", target)
    if isinstance(node, dict) and "_target_" in node:
        for name, parameter in inspect.signature(get_object(target)).parameters.items():
            if name not in node and parameter.default is not parameter.empty:
                yield f"{above}.{name}", target


def holder(plain: Any, key: str) -> tuple[Any, Any]:
    *above, last = key.split(".")
    for part in above:
        plain = plain[int(part)] if isinstance(plain, list) else plain[part]
    return plain, int(last) if isinstance(plain, list) else last


@cache
def statistics() -> ShapeStatistics:
    scheme = SCHEMES["wflw98"]
    return ShapeStatistics(drawn_mean_shape(scheme), torch.eye(scheme.num_landmarks), scheme)


def use_box(cfg: DictConfig, folder: Path) -> None:
    box = make(cfg.box)
    faces = np.array([[[10.0, 10.0], [50.0, 60.0]]])
    boxes = box.scored(box.boxes(faces, np.array([[8.0, 8.0, 52.0, 62.0]]), ("a",)), ("a",))
    assert np.isfinite(box.square(box.jittered(boxes[0], np.random.default_rng(0)), 64)).all()


def use_augment(cfg: DictConfig, folder: Path) -> None:
    augment = make(cfg.augment)
    rng = np.random.default_rng(0)
    assert np.isfinite(augment.sample(rng, 64).crop_to_augmented).all()
    assert augment.paint(np.full((64, 64, 3), 99, np.uint8), rng).shape == (64, 64, 3)


def use_normalise(cfg: DictConfig, folder: Path) -> None:
    images = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    assert make(cfg.normalise)(images).isfinite().all()


def use_codec(cfg: DictConfig, folder: Path) -> None:
    codec = make(cfg.codec)
    maps = codec.encode(torch.tensor([[[20.0, 30.0]]]), 64, (16, 16))
    assert codec.decode(maps, 64).isfinite().all()


def use_corruption(cfg: DictConfig, folder: Path) -> None:
    corruption = make(cfg.corruption)
    assert corruption(np.full((64, 64, 3), 99, np.uint8), "a").shape == (64, 64, 3)
    assert isinstance(corruption.describe(64), str)


def use_loss(cfg: DictConfig, folder: Path) -> None:
    build_criterion(cfg, statistics())


def use_model(cfg: DictConfig, folder: Path) -> None:
    model = build_model(cfg, statistics()).eval()
    if not isinstance(model, DPR):  # slow
        with torch.no_grad():
            assert model(torch.rand(1, 3, cfg.input_size, cfg.input_size)).landmarks.shape == (1, 98, 2)


def use_optimiser(cfg: DictConfig, folder: Path) -> None:
    task = SimpleNamespace(optimizer_factory=make(cfg.optimizer), schedule=make(cfg.scheduler))
    preflight.check_optimiser(task, on_cpu=True)
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = task.optimizer_factory([weight])
    schedule = task.schedule(optimiser, 3, 12)
    for _ in range(12):
        weight.grad = torch.ones(1)
        optimiser.step()
        schedule.step()


def use_lr_rule(cfg: DictConfig, folder: Path) -> None:
    assert math.isfinite(make(cfg.lr_rule)(64))


def use_adversary(cfg: DictConfig, folder: Path) -> None:
    make(cfg.adversary)


def use_trainer(cfg: DictConfig, folder: Path) -> None:
    preflight.check_processes(make(cfg.trainer, logger=False, default_root_dir=str(folder)))


def use_callbacks(cfg: DictConfig, folder: Path) -> None:
    made = {name: callback for name, callback in make(cfg.callbacks).items() if callback is not None}
    names = ("global_reinit", "global_regression", "local_reinit", "local_regression")
    model = torch.nn.ModuleDict({name: torch.nn.Identity() for name in names})
    model.detach = False
    preflight.check_callbacks(made, SimpleNamespace(model=model))


def use_logger(cfg: DictConfig, folder: Path) -> None:
    cfg.output_dir = str(folder)
    make(cfg.logger)


def use_dataset(cfg: DictConfig, folder: Path) -> None:
    try:
        data = build_data(cfg)
    except DataError:  # the settings are fine, but nothing is there
        return
    assert np.isfinite(data.dataset.norm_distances(statistics().mean_shape.numpy())).all()
    for normaliser in data.dataset.normalisers:
        data.dataset.thresholds_of(normaliser)


_NETWORK = ("input_size", "model", "backbone", "head", "codec")
# what a group is built with besides
TOGETHER = {
    "model": _NETWORK,
    "head": _NETWORK,
    "backbone": _NETWORK,
    "loss": ("codec",),
    "optimizer": ("scheduler",),
    "scheduler": ("optimizer",),
    "dataset": ("data", "augment", "normalise", "input_size", "box", "seed"),
    "logger": ("output_dir", "name", "seed", "sweep"),
}
USES = {
    "box": use_box,
    "augment": use_augment,
    "normalise": use_normalise,
    "codec": use_codec,
    "corruption": use_corruption,
    "loss": use_loss,
    "model": use_model,
    "head": use_model,
    "backbone": use_model,
    "optimizer": use_optimiser,
    "scheduler": use_optimiser,
    "lr_rule": use_lr_rule,
    "adversary": use_adversary,
    "trainer": use_trainer,
    "callbacks": use_callbacks,
    "logger": use_logger,
    "dataset": use_dataset,
}


def fault(error: Exception, key: str, value: Any) -> str | None:
    """What is wrong with how a value was refused."""
    if not isinstance(error, FacegraphError):
        return f"{type(error).__name__}: {str(error)[:150]!r}"
    message = str(error)
    # of what is absent, what is left of the part above may be what is wrong
    names = [part for part in key.split(".") if not part.isdigit()][-2 if value is ABSENT else -1 :]
    if not any(name in message for name in names):
        return f"does not name {names[-1]}: {message}"
    parts = value if isinstance(value, list | dict) else [value]  # other libraries name the part that they dislike
    texts = {str(value), *(str(part) for part in parts)}
    if value not in (ABSENT, None, [], {}) and not any(text.lower() in message.lower() for text in texts):
        return f"does not name the value: {message}"
    return None


def faults(plain: dict[str, Any], key: str, values: Sequence[Any], use: Callable[[], object]) -> Iterator[str]:
    """Every value that is neither refused as it should be nor works."""
    above, last = holder(plain, key)
    kept = copy.copy(above)
    for value in values:
        if value == ABSENT and isinstance(above, list):
            del above[last]
        elif value == ABSENT:
            above.pop(last, None)
        else:
            above[last] = value
        try:
            settings.check(plain, get_object, settings.NEEDED["train"])
            use()
        except Exception as error:
            wrong = fault(error, key, value)
            if wrong:
                yield f"{key}={value}: {wrong}"
        if isinstance(above, dict):
            above.clear()
            above.update(kept)
        else:
            above[:] = kept


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", sorted(USES))
def test_a_wrong_value_is_refused_with_a_message_or_works(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    found: list[str] = []
    seen: set[tuple[str, str]] = set()
    known: set[str] = set()
    for name in (name for of, name in options() if of == group and (of != "backbone" or name == "tiny")):
        plain = OmegaConf.to_container(configuration(group, name), resolve=False)
        together = (group, *TOGETHER.get(group, ()))

        def use(plain: dict[str, Any] = plain, together: tuple[str, ...] = together) -> None:
            USES[group](OmegaConf.create({name: plain[name] for name in together if name in plain}), tmp_path)

        use()
        if group == "callbacks":  # the others take most of the time
            plain["callbacks"] = {n: c for n, c in plain["callbacks"].items() if n == "last" or n not in known}
            known |= set(plain["callbacks"])
        for key, target in list(places(plain[group], group)):
            setting = (target, key.rsplit(".", 1)[-1])
            if setting in seen:  # of the same class in another option
                continue
            seen.add(setting)
            found += faults(plain, key, FEWER_VALUES if target.startswith("albumentations") else VALUES, use)
    assert not found, "\n".join(found)


KNOWN = {
    "seed": ("abc", -1, 1.5, None),
    "trainer.max_epochs": (0, -1, "abc", None),
    "trainer.accumulate_grad_batches": (0,),
    "optimizer.lr": (-1, "abc", math.nan, math.inf),
    "scheduler.warmup": (5, -0.1),
    "data.batch_size": (2.5, 0),
    "data.num_workers": (-1, 10**9),
    "head.width": (0, -1),
    "box.margin": (1e9, 0, math.nan),
    "dataset.normalisers": ([], ["abc"], ["box", "box"]),
    "dataset.thresholds": ([-0.1], {"abc": [0.1]}, ["abc"]),
    "input_size": (0, -32, 64.5, math.inf),
    "graph.frame": ("abc", None, []),
    "resume": (5, [], ""),
    "init_from": (5, {}),
    "output_dir": (5, []),
    "test_time_flip": ("abc", 2),
    "name": (None, ""),
}


def start(plain: dict[str, Any], folder: Path) -> None:
    settings.check(plain, get_object, settings.NEEDED["train"])
    for group in ("box", "dataset", "head", "optimizer"):
        USES[group](OmegaConf.create(plain), folder)


@pytest.mark.parametrize("key", KNOWN)
def test_what_once_ended_in_a_traceback_is_refused(key: str, tmp_path: Path) -> None:
    plain = OmegaConf.to_container(configuration("head", "gcn"), resolve=False)
    for value in KNOWN[key]:
        above, last = holder(plain, key)
        above[last] = value
        with pytest.raises(FacegraphError) as caught:
            start(plain, tmp_path)
        assert fault(caught.value, key, value) is None


EVALUATION = {
    "run": (5, [], None, ""),
    "checkpoint": ("abc", None, 0, []),
    "output_dir": (5, {}),
    "precision": ("abc", 64, []),
    "test_time_flip": ("abc", 1, []),
    "model.quit_threshold": ("abc", -1, math.nan, [], True),
    "model.fail_threshold": ("abc", -1, math.inf, {}),
    "eval_batch_size": (None, 0, 2.5, "abc", 10**30),
    "num_workers": (None, -1, 1e9, []),
    "trainer.devices": (0, "abc", None, []),
}


def test_settings_of_an_evaluation_are_refused() -> None:
    plain = OmegaConf.to_container(compose(["dataset=synthetic", "box=landmarks"], "eval"), resolve=False)
    for key, values in EVALUATION.items():
        above, last = holder(plain, key)
        kept = above[last]
        for value in values:
            above[last] = value
            with pytest.raises(ConfigError) as caught:
                settings.check(plain, get_object, settings.NEEDED["eval"])
            assert fault(caught.value, key, value) is None
        above[last] = kept
    settings.check(plain, get_object, settings.NEEDED["eval"])


@pytest.mark.parametrize("group", [*settings.NEEDED["train"], "backbone", "head"])
def test_a_group_that_is_needed_cannot_be_left_out(group: str) -> None:
    plain = OmegaConf.to_container(configuration("head", "gcn"), resolve=False)
    for value in (None, {}, [], "abc", 5):
        with pytest.raises(ConfigError, match=group):
            settings.check({**plain, group: value}, get_object, settings.NEEDED["train"])
    del plain[group]
    with pytest.raises(ConfigError, match=f"{group}=null cannot be used"):
        settings.check(plain, get_object, settings.NEEDED["train"])


@pytest.mark.parametrize("group", ["head", "codec", "loss"])
def test_null_is_no_option_of_a_group(group: str) -> None:
    with pytest.raises(ConfigError, match=rf"{group}=null: .*~group leaves it out"):
        compose([f"{group}=null"])


def test_a_group_that_nothing_takes_may_be_left_out() -> None:
    cfg = compose(["~head", "~backbone", "~lr_rule", "model=fan"])
    assert not {"head", "backbone", "lr_rule"} & set(cfg)


def test_a_group_that_is_taken_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"codec=null cannot be used, because loss.codec takes it"):
        compose(["~codec", "loss=heatmap"])


def test_frames_are_those_that_landmarks_are_correlated_in() -> None:
    assert set(settings.FRAMES) == set(FRAMES)
