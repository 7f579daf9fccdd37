"""One training as train.py runs it: by itself, or as a job of a sweep, which skips, resumes and keeps why it failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from facegraph.errors import ConfigError, RunError
from facegraph.machine.environment import clean_environment
from facegraph.machine.orphan import end_with_parent
from facegraph.records import RESULT_FILE, RunResult
from facegraph.runs.configuration import CONFIG_FILE
from facegraph.runs.entry import guarded
from facegraph.runs.folder import alone_in, is_first_process
from facegraph.runs.plugins import with_plugins
from facegraph.runs.train import settings_of, train
from facegraph.runs.trust import targets_of
from facegraph.sweeps.conditions import outdated, set_aside
from facegraph.sweeps.failures import failure_of, failure_of_exit
from facegraph.sweeps.identity import identity
from facegraph.sweeps.status import clear_failure, missing_evaluations, read_failure, write_failure

IN_PROCESS = (
    "runs jobs inside this process, where the processes of one job would mix with those of the next. Leave "
    "hydra/sweeper as it is and use hydra/launcher=local or hydra/launcher=slurm, which start a process for every job."
)
"""What is wrong with a sweeper or launcher that facegraph does not have."""


def run(cfg: DictConfig) -> None:
    """What train.py does with its configuration: one training, or one job of a sweep."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        sys.exit(f"error: this multirun {IN_PROCESS}")
    guarded(train if cfg.sweep.identity is None else run_job, cfg)


def run_job(cfg: DictConfig) -> RunResult | None:
    """Train, test and score a job of a sweep as far as its folder lacks it.

    Raises:
        RunError: another process works on the same job. Whatever training raises; it is kept in failure.json.
    """
    end_with_parent()
    folder = Path(cfg.output_dir)
    with ExitStack() as stack:
        if is_first_process():
            stack.enter_context(alone_in(folder))
            clear_failure(folder)
        try:
            result = _trained(cfg, folder)
            if is_first_process() and cfg.sweep.evaluations:
                evaluations = OmegaConf.to_container(cfg.sweep.evaluations, resolve=True)
                targets = targets_of(OmegaConf.to_container(cfg, resolve=False))
                trusted = with_plugins(clean_environment(os.environ), targets)
                _evaluate(folder, evaluations, trusted)  # type: ignore[arg-type]
        except BaseException as error:
            write_failure(folder, failure_of(error))
            raise
    return result


def _trained(cfg: DictConfig, folder: Path) -> RunResult | None:
    if (folder / RESULT_FILE).exists():
        print(f"{folder} is trained and tested already.")
        return RunResult.read(folder)
    _check_identity(cfg)
    if (folder / CONFIG_FILE).exists():
        with open_dict(cfg):
            cfg.resume = str(folder)
    return train(cfg)


def _check_identity(cfg: DictConfig) -> None:
    """A job is composed when it starts, which may be hours after it was planned."""
    now = identity(settings_of(cfg))
    if now != cfg.sweep.identity:
        raise ConfigError(
            f"the job was planned as {cfg.sweep.identity}, and its settings are now those of {now}: conf/, or an "
            "environment variable that it reads, has changed since. Run the sweep again to plan it anew."
        )


def _evaluate(folder: Path, evaluations: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
    """Score the trained model under the conditions that have no result yet.

    In a process of its own, because this one may still be one of several that train together.
    """
    for name in outdated(folder, evaluations):
        print(f"'{name}' was scored under other settings before; that result is kept in {set_aside(folder, name)}.")
    missing = {name: evaluations[name] for name in missing_evaluations(folder, evaluations)}
    if not missing:
        return
    command = [sys.executable, "-m", "facegraph.runs.scoring", str(folder), json.dumps(missing)]
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode != 0:
        failure = read_failure(folder) or failure_of_exit(done.returncode)
        raise RunError(f"scoring under {', '.join(missing_evaluations(folder, evaluations))} failed: {failure.message}")
