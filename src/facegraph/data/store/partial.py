"""The folder in which a store is built, <out>.partial, from its first file to its renaming."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from facegraph.data.store.layout import IMAGE_FOLDER, INFO_FILE, PLAN_FILE, StoreInfo, read_info
from facegraph.data.store.plan import Plan, differences, read_plan
from facegraph.data.store.shards import ROWS_FOLDER, write_whole
from facegraph.errors import DataError


def partial_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def resolve_out(out: str | Path) -> Path:
    """The place that --out names, links followed: a store is built beside it and must be renamed on one disk.

    Raises:
        DataError: no name, a link to nowhere, or the root of a disk.
    """
    out = Path(out)
    if out.name in ("", ".."):
        raise DataError(f"--out {out} names no folder of its own. Give the store a name, such as {out / 'store'}.")
    if os.path.islink(out) and not os.path.exists(out):
        raise DataError(
            f"--out {out} is a link to {os.readlink(out)}, which does not exist. Make that folder, or choose another "
            "--out."
        )
    place = Path(os.path.realpath(out))
    if os.path.ismount(place):
        raise DataError(f"--out {out} is the root of a disk, which cannot be renamed. Choose a folder in it.")
    return place


def find_whole(out: Path, plan: Plan) -> StoreInfo | None:
    """The store at out if it is whole and made from the same plan; None if nothing is there.

    Raises:
        DataError: something else is there, or it cannot be looked into.
    """
    try:
        if not os.path.exists(out) or (out.is_dir() and not any(out.iterdir())):
            return None
    except OSError as error:
        raise DataError(f"{out} cannot be listed: {error.strerror}. Choose another --out.") from error
    advice = "Nothing is overwritten: choose another --out, or remove it first."
    if not (out / INFO_FILE).is_file():
        raise DataError(f"{out} exists and is no prepared store. {advice}")
    old = read_plan(out / PLAN_FILE)
    changed = differences(old, plan) if old is not None else [f"its {PLAN_FILE} is gone"]
    if changed:
        raise DataError(f"{out} holds a store made differently: {'; '.join(changed)}. {advice}")
    return read_info(out)


def open_partial(out: Path, plan: Plan, restart: bool) -> Path:
    """The folder to build in: a new one, or one of the same plan that an earlier run left behind.

    Args:
        restart: remove what an earlier run left.

    Raises:
        DataError: one of another plan without restart, or a folder that no prepare made.
    """
    folder, old = partial_folder(out), read_plan(partial_folder(out) / PLAN_FILE)
    if folder.exists() and old is None and not _only_drafts(folder):
        raise DataError(
            f"{folder} exists and was not made by prepare (it has no {PLAN_FILE}). Move it away, or choose another "
            "--out."
        )
    if old is not None and restart:
        _remove(folder)
    elif old is not None and (changed := differences(old, plan)):
        raise DataError(
            f"{folder} holds an unfinished store made differently: {'; '.join(changed)}. Give the same source and "
            "settings to go on with it, or --restart to remove it and begin anew."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / PLAN_FILE).exists():
        write_whole(folder / PLAN_FILE, json.dumps(plan, indent=2, ensure_ascii=False))
    (folder / IMAGE_FOLDER).mkdir(exist_ok=True)
    (folder / ROWS_FOLDER).mkdir(exist_ok=True)
    return folder


def publish(folder: Path, out: Path) -> None:
    """Give a finished folder its name; from then on it is a whole store."""
    for draft in (*folder.glob(".*"), *(folder / IMAGE_FOLDER).glob(".*")):  # of writers that were killed
        draft.unlink()
    shutil.rmtree(folder / ROWS_FOLDER, ignore_errors=True)
    for place in (folder / IMAGE_FOLDER, folder):
        _sync_folder(place)
    os.rename(folder, out)
    _sync_folder(out.parent)


def _only_drafts(folder: Path) -> bool:
    """Whether nothing is in a folder but a plan that was never finished."""
    return folder.is_dir() and all(child.name.startswith(f".{PLAN_FILE}.") for child in folder.iterdir())


def _remove(folder: Path) -> None:
    # the plan goes last: without it a folder half removed would pass for somebody else's
    for child in sorted(folder.iterdir(), key=lambda path: path.name == PLAN_FILE):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    folder.rmdir()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
