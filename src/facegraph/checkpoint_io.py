"""Checkpoints that are on the disk whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from facegraph.errors import RunError
from facegraph.plain_files import check_file


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint into a file beside it, to the disk, and renames it.

    Lightning's own writer makes the whole file in memory, then another one in $TMPDIR, and moves it: where that is
    another file system a copy over the only checkpoint, which a kill leaves cut off, and a failure where it is small.
    The file beside has one name, so that what a kill leaves of it is written over the next time.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Raises RunError where the file cannot be written; the checkpoint before it stays as it was."""
        if storage_options is not None:
            raise TypeError("storage_options are for remote file systems; run folders are local ones.")
        path = Path(path)
        beside = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                _save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
            _sync_folder(path.parent)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise RunError(
                f"cannot write the checkpoint {path}: {error.strerror or error}. One that was there before is "
                "whole; continue from it with resume=<output folder>."
            ) from error
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def is_damaged(path: Path) -> bool:
    """Whether a checkpoint is cut off or has other bytes than were written.

    Its bytes alone are judged, a zip with checksums: that there is no memory to load it is no damage.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        check_file(path)
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is not None
    except (OSError, MemoryError):
        raise
    except Exception:  # zipfile fails at damaged archives in any way
        return True


def _save(checkpoint: dict[str, Any], file: Any) -> None:
    """torch.save, with the reason of a failed write instead of what torch's archive says after it."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _sync_folder(folder: Path) -> None:
    """The rename too; file systems that cannot sync a folder say so by an OSError, which loses nothing."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
