"""Where a result came from: commit, versions, device, time."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import facegraph

_PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "timm", "albumentations",
    "opencv-python-headless", "numpy", "pandas",
)  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """Where a result came from.

    commit and dirty are None outside a git checkout of facegraph.

    Args:
        versions: package -> version.
        device: name of the accelerator or "cpu".
        overrides: the command's Hydra overrides.
        started_at: ISO 8601 with offset.
        seed: of the run.
        params: trainable numbers of the model.
        macs: multiply-adds of one face, None if not counted.
        latency_ms: median time of one face on the training device, float32, None after eval.py. Other jobs on the
            device make it longer. With test_time_flip both are those of two passes; of a model that may stop early for
            a face they are those of all its work, and `mean_iterations` among the metrics tells how much of it was
            done.
    """

    facegraph_version: str
    commit: str | None
    dirty: bool | None
    python: str
    versions: dict[str, str]
    device: str
    overrides: list[str]
    started_at: str
    train_seconds: float | None
    test_seconds: float | None
    seed: int
    params: int
    macs: int | None = None
    latency_ms: float | None = None


def collect_provenance(
    *,
    device: str,
    overrides: Sequence[str],
    started_at: datetime,
    git: GitState,
    seed: int,
    params: int,
    macs: int | None = None,
    latency_ms: float | None = None,
    train_seconds: float | None = None,
    test_seconds: float | None = None,
) -> Provenance:
    """Provenance of this process: git state from its start (see `git_state`) and installed versions, without imports.

    started_at without a time zone is taken as local time.
    """
    return Provenance(
        facegraph_version=facegraph.__version__,
        commit=git.commit,
        dirty=git.dirty,
        python=platform.python_version(),
        versions={name: version for name in _PACKAGES if (version := _version(name)) is not None},
        device=device,
        overrides=list(overrides),
        started_at=(started_at if started_at.tzinfo else started_at.astimezone()).isoformat(timespec="seconds"),
        train_seconds=train_seconds,
        test_seconds=test_seconds,
        seed=seed,
        params=params,
        macs=macs,
        latency_ms=latency_ms,
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class GitState(NamedTuple):
    """Commit of facegraph's checkout and whether it holds uncommitted changes; None outside a checkout."""

    commit: str | None
    dirty: bool | None


def git_state(folder: Path | None = None) -> GitState:
    """State of a checkout now, by default of facegraph's own.

    To be taken when a run starts, since the checkout may move on while it trains.
    """
    folder = folder or Path(facegraph.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        # a virtual environment inside somebody else's checkout must not report that project's commit
        git("ls-files", "--error-unmatch", "__init__.py")
        return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain")))
    except (OSError, subprocess.SubprocessError):
        return GitState(None, None)
