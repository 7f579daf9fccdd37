"""From configuration to objects: the parts of a run are built, with errors that a user can act on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from facegraph.data.datamodule import FaceDataModule
from facegraph.data.prepared import PreparedDataset
from facegraph.data.synthetic import drawn_mean_shape
from facegraph.errors import ConfigError, FacegraphError
from facegraph.graph.correlation import landmark_correlation
from facegraph.landmarks import LandmarkScheme
from facegraph.runs import settings
from facegraph.runs.configuration import composed
from facegraph.structures import LandmarkModel, ShapeStatistics
from facegraph.training.task import LandmarkTask


def compose(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """The configuration that `python train.py <overrides>` would run.

    Raises:
        ConfigError: an override that fits nothing; the message lists what exists. A value that cannot be used.
    """
    cfg = composed(overrides, config_name)
    settings.check(OmegaConf.to_container(cfg, resolve=False), get_object, settings.NEEDED[config_name])  # type: ignore[arg-type]
    return cfg


def make(config: Any, *args: Any, **kwargs: Any) -> Any:
    """hydra's instantiate; an error of facegraph's own comes out as itself, others name the setting.

    Raises:
        FacegraphError: from the object built. ConfigError: a missing setting or a constructor that refuses.
    """
    try:
        return instantiate(config, *args, **kwargs)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, FacegraphError):
                raise cause from None
            cause = cause.__cause__
        raise _readable(error, config) from error


def _readable(error: Exception, config: Any) -> ConfigError:
    if isinstance(error, MissingMandatoryValue) or isinstance(error.__cause__, MissingMandatoryValue):
        key = str(getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None))
        # data and model repeat the groups that the command line knows
        key = re.sub(r"^(data|model)\.(?=(dataset|backbone|head)\b)", "", key)
        return ConfigError(f"the setting '{key}' has no value; give it on the command line: {key}=...")
    found = re.search(r"full_key: ([^\s\\]+)", str(error))  # the exception itself does not say
    place, node = found.group(1) if found else "", config
    if OmegaConf.is_config(config):
        inner = OmegaConf.select(config._get_root(), place)
        # a key of a mapping that was handed over is no place
        place, node = (place, inner) if OmegaConf.is_config(inner) else (config._get_full_key(None), config)
    return ConfigError(f"{place or 'a setting'} cannot be built: {error.__cause__ or error}{_settings_of(node)}")


def _settings_of(node: Any) -> str:
    """What was to be built, as the end of a message: constructors of others do not name the setting that they mean."""
    if not OmegaConf.is_dict(node):
        return ""
    plain: Any = OmegaConf.to_container(node, resolve=False)
    given = [f"{name}={value}" for name, value in plain.items() if not str(name).startswith("_")]
    return f"\nIts settings: {', '.join(given)}." if given else ""


def build_data(cfg: DictConfig) -> FaceDataModule:
    return make(cfg.data)


def training_statistics(data: FaceDataModule, frame: str) -> ShapeStatistics:
    """Mean shape and correlation of the training faces; the data module must be set up for fit or validate."""
    mean_shape = data.train_landmarks_in_crop().mean(axis=0)
    correlation = landmark_correlation(data.train_shapes, frame)
    return ShapeStatistics(
        torch.from_numpy(mean_shape).float(), torch.from_numpy(correlation).float(), data.dataset.scheme
    )


def training_landmarks(cfg: DictConfig) -> tuple[np.ndarray, LandmarkScheme]:
    """Landmarks (M, N, 2) in image px of a data set's training faces after the validation cut, and their scheme."""
    data = build_data(cfg)
    data.setup("validate")  # opens the training faces without asking for a full batch
    return data.train_shapes, data.dataset.scheme


def statistics_for(cfg: DictConfig) -> tuple[ShapeStatistics, str]:
    """Statistics of a configuration's training faces and where they came from, in words.

    Without the data (its root is not set, its store not prepared) a stand-in serves, the mean of drawn faces and a
    chain of landmarks: costs of a model then still hold, except where the number of edges depends on the faces (a
    symmetric graph).
    """
    if OmegaConf.is_missing(cfg.dataset, "root") and cfg.dataset.scheme is not None:
        return _stand_in(make(cfg.dataset.scheme)), "drawn faces and a chain, for want of dataset.root"
    data = build_data(cfg)
    if isinstance(data.dataset, PreparedDataset) and not data.dataset.exists:
        why = f"because {data.dataset.root} is no prepared store yet"
        return _stand_in(data.dataset.scheme), f"drawn faces and a chain, {why}"
    data.setup("validate")  # opens the training faces without asking for a full batch
    return training_statistics(data, cfg.graph.frame), f"{len(data.train_table)} faces of {data.dataset.name}"


def _stand_in(scheme: LandmarkScheme) -> ShapeStatistics:
    """The mean of drawn faces, of a scheme that can be drawn, and a correlation as if each landmark moved with its
    neighbours in the numbering."""
    n = scheme.num_landmarks
    distance = (torch.arange(n)[:, None] - torch.arange(n)).abs().float()
    return ShapeStatistics(drawn_mean_shape(scheme), torch.exp(-distance), scheme)


def build_model(cfg: DictConfig, statistics: ShapeStatistics) -> LandmarkModel:
    """The model of a configuration.

    Raises:
        ConfigError: settings that it cannot be built with, or a class that is no LandmarkModel.
    """
    model = _finish(make(cfg.model), input_size=cfg.input_size, statistics=statistics)
    if not isinstance(model, LandmarkModel):
        raise ConfigError(
            f"model._target_={cfg.model._target_} builds a {type(model).__name__}; a model extends "
            "facegraph.structures.LandmarkModel, see docs/extend/system.md."
        )
    return model


def build_criterion(cfg: DictConfig, statistics: ShapeStatistics) -> torch.nn.Module:
    return _finish(make(cfg.loss), statistics=statistics)


def _finish(partial: Any, **known_now: Any) -> Any:
    """Call what a configuration left open (`_partial_: true`) with what only a run knows.

    Raises:
        ConfigError: settings that the object cannot be built with.
    """
    try:
        return partial(**known_now)
    except FacegraphError:
        raise
    except Exception as error:  # as hydra's instantiate has it of what is not left open
        given = ", ".join(f"{name}={value!r}" for name, value in partial.keywords.items() if not callable(value))
        raise ConfigError(f"{partial.func.__name__} cannot be built with {given}: {error}. Correct them.") from error


def build_task(cfg: DictConfig, data: FaceDataModule, statistics: ShapeStatistics) -> LandmarkTask:
    """Everything that is trained; the data module must be set up for fit and test."""
    return LandmarkTask(
        model=build_model(cfg, statistics),
        criterion=build_criterion(cfg, statistics),
        optimizer=make(cfg.optimizer),
        schedule=make(cfg.scheduler),
        lr_rule=make(cfg.get("lr_rule")),  # a run of an earlier version has none
        description={
            "scheme": data.dataset.scheme.name,
            "num_landmarks": data.dataset.scheme.num_landmarks,
            "trained_on": data.dataset.name,
            "train_faces": len(data.train_table),
            "val_faces": len(data.val_table),
            "validation": data.validation,
        },
        adversary=make(cfg.get("adversary")),
        **scoring_sizes(data),
        **test_time(cfg, data),
    )


def test_time(cfg: DictConfig, data: FaceDataModule) -> dict[str, Any]:
    """How the test predicts: whether over the mirror image too, and the scheme's mirror list for it.

    Raises:
        DataError: a mirror list that is needed and does not fit the faces.
    """
    mirrors = bool(cfg.get("test_time_flip", False))
    if mirrors:
        data.check_mirror_list()
    return {"test_time_flip": mirrors, "flip": data.dataset.scheme.flip}


def scoring_sizes(data: FaceDataModule) -> dict[str, Any]:
    """Sizes of the test split's annotations; the data module must be set up for test."""
    return {
        "num_landmarks": data.dataset.scheme.num_landmarks,
        "num_normalisers": len(data.dataset.normalisers),
        "num_attributes": len(data.test_table.attribute_names),
    }
