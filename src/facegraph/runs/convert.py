"""Weights that authors released -> a run folder that eval.py, facegraph bench and init_from= open like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from facegraph.data.synthetic import drawn_mean_shape
from facegraph.errors import RunError
from facegraph.models.released import ReleasedWeights
from facegraph.records import RESULT_FILE
from facegraph.records.overrides import literal
from facegraph.runs import folder as folders
from facegraph.runs.compose import build_model, compose
from facegraph.runs.configuration import CONFIG_FILE
from facegraph.structures import ShapeStatistics
from facegraph.training.callbacks import LAST
from facegraph.training.checkpoint_files import WholeCheckpoints, not_finite
from facegraph.training.task import CHECKPOINT_KEY

_TRAINED_ON = "released weights"


def convert(released: ReleasedWeights, source: Path, out: Path) -> Path:
    """Write checkpoints/last.ckpt, then config.yaml, which makes a run of the folder; returns it.

    A conversion that was killed or failed on the way is repeated by the same call. The data set's folder is kept as an
    absolute path, so that the run can be opened from everywhere.

    The correlation of landmarks is not known of released weights and is stored as the identity; a mean shape that was
    not published is that of drawn faces. Neither is used by the networks that can be converted unless they say so.

    Args:
        released: weights and what they fit.
        source: where they were read from, kept as what the run was trained on.
        out: a folder without a run, of any name.

    Raises:
        RunError: the weights do not fit the model, or the folder holds a run or other checkpoints, or cannot be
        written.
    """
    _check_free(out)
    cfg = compose(released.overrides)
    # not as overrides: Hydra's grammar gives commas, quotes, brackets and = a meaning
    cfg.output_dir, cfg.dataset.root = literal(str(out)), literal(str(Path(cfg.dataset.root).absolute()))
    n = released.scheme.num_landmarks
    mean_shape = drawn_mean_shape(released.scheme) if released.mean_shape is None else released.mean_shape.float()
    statistics = ShapeStatistics(mean_shape, torch.eye(n), released.scheme)
    model = build_model(cfg, statistics)
    state = {"mean_shape": statistics.mean_shape, "correlation": statistics.correlation, **released.state}
    broken = not_finite(state)
    if broken:
        raise RunError(f"{source}: '{broken[0]}' holds numbers that are not finite; download the weights again.")
    folders.restore(model, state, source)
    checkpoint = {
        "state_dict": {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()},
        "epoch": -1,  # evaluation counts finished epochs from it: none were trained here
        "global_step": 0,
        CHECKPOINT_KEY: {
            "scheme": released.scheme.name,
            "num_landmarks": n,
            "trained_on": f"{_TRAINED_ON} {source.name}",
            "train_faces": 0,
            "val_faces": 0,
        },
    }
    _write(checkpoint, cfg, out)
    return out


def _write(checkpoint: dict[str, Any], cfg: DictConfig, out: Path) -> None:
    try:
        folders.make_writable(out, "--out")
        with folders.alone_in(out):
            WholeCheckpoints().save_checkpoint(checkpoint, _checkpoint_of(out))
            folders.claim(out, cfg)
    except (RunError, OSError) as error:
        # what to do about a checkpoint is another matter in a training
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise RunError(
            f"cannot write {out}: {cause.strerror or cause}. Make room, or choose another --out, and convert again."
        ) from error


def _checkpoint_of(folder: Path) -> Path:
    return folder / folders.CHECKPOINT_FOLDER / f"{LAST}.ckpt"


def _check_free(folder: Path) -> None:
    """Raises RunError if a folder holds anything that a conversion would replace."""
    path = _checkpoint_of(folder)
    if (folder / CONFIG_FILE).exists() or (folder / RESULT_FILE).exists():
        raise RunError(f"{folder} holds a run already and nothing is overwritten; choose another --out.")
    if not path.exists():
        return
    try:
        unfinished = folders.load_checkpoint(path)[CHECKPOINT_KEY]["trained_on"].startswith(_TRAINED_ON)
    except RunError:
        unfinished = False
    if not unfinished:
        raise RunError(f"{path} is no unfinished conversion and nothing is overwritten; choose another --out.")
