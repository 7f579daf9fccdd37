"""Which run on wandb a training is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from facegraph.tracking.session import LONGEST_TAG, group_of, quiet

TRAINING = "train"


def wandb_logger(
    save_dir: str | Path,
    project: str,
    name: str,
    sweep: Mapping[str, Any],
    seed: int,
    offline: bool = True,
    entity: str | None = None,
    tags: Sequence[str] = (),
) -> WandbLogger:
    """Lightning's logger for one training.

    A job of a sweep has the hash of its settings as id, the sweep folder's name as group, its row as job type, and
    table, row and seed as tags. A run outside of a sweep has the id that wandb gives it, job type "train" and the seed
    as tag. What continues a run folder continues its wandb run.

    Args:
        save_dir: the run folder.
        name: shown where the run is no job of a sweep.
        sweep: identity, dir, table and row of the job, None outside of a sweep.
        offline: write files only, `wandb sync` uploads them later.
        entity: user or team; None: the account's own.
        tags: further ones.
    """
    import wandb

    if wandb.run is not None:  # left by an earlier training of this process that failed; the logger would go on with it
        wandb.finish(exit_code=1)
    # wandb writes to the working directory where this does not exist yet
    folder = Path(os.path.abspath(save_dir))
    folder.mkdir(parents=True, exist_ok=True)
    table, row, place = sweep.get("table"), sweep.get("row"), sweep.get("dir")
    return WandbLogger(
        save_dir=folder,
        project=project,
        name=name if row is None else f"{row} seed {seed}",
        id=sweep.get("identity") or earlier_id(folder),
        offline=offline,
        entity=entity,
        group=None if place is None else group_of(Path(place)),
        job_type=row or TRAINING,
        tags=[str(tag)[:LONGEST_TAG] for tag in (table, row, f"seed {seed}", *tags) if tag],
        settings=quiet(offline),
    )


def earlier_id(folder: Path) -> str | None:
    """Id of the latest wandb run that a run folder holds; None where there is none."""
    # run-<date>_<time>-<id>/run-<id>.wandb; the folder's name has a number behind the id where it was taken
    logs = sorted(folder.glob("wandb/*run-*/run-*.wandb"), key=lambda log: log.parent.name.removeprefix("offline-"))
    return logs[-1].stem.removeprefix("run-") if logs else None
