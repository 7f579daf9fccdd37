"""How facegraph uses wandb: quietly, with its files beside the run's own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wandb

LONGEST_TAG = 64  # wandb refuses longer ones
_LONGEST_GROUP = 100  # wandb refuses names of artifacts above 128


def quiet(offline: bool) -> wandb.Settings:
    """Settings of a run that sends and prints only what was asked for.

    No copy of the screen, of code, of the git state and of the list of packages (result.json has commit and versions),
    no error reports to wandb unless $WANDB_ERROR_REPORTING is set.
    """
    # read when wandb's background process starts, which a setting of the run comes too late for
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if offline:  # Lightning passes an outdated option on, of which wandb warns before it reads the settings
        os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb.Settings(
        console="off",
        silent=offline,
        quiet=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_save_requirements=False,
    )


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Keep the files of artifacts and tables logged meanwhile below a folder's wandb/, where $WANDB_DATA_DIR names no
    other place.

    wandb copies them to the home directory otherwise, where a later `wandb sync` from another machine misses them and
    where they stay for good.
    """
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = os.path.abspath(folder / "wandb")
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def group_of(sweep: Path) -> str:
    """The group of a sweep's runs: its folder's name after the one above it, such as table7_topk.smoke.

    ASCII letters, digits, dots, hyphens and underscores only: artifacts and web addresses carry it too. Where other
    letters are lost, a hash of the name tells groups apart.
    """
    parts = Path(os.path.abspath(sweep)).parts[-2:]
    name = ".".join(part for part in parts if part != os.sep)
    group = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)
    if not name.isascii():
        group = f"{group[-(_LONGEST_GROUP - 7) :]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:6]}"
    return group[-_LONGEST_GROUP:]
