"""Checkpoints that are on the disk whole or not at all."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from facegraph.errors import RunError
from facegraph.files.atomic import beside
from facegraph.files.plain_files import check_file
from facegraph.records.overrides import for_shell

_MARKED_AS_FOLDER = 0x10


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint into a file beside it, to the disk, and renames it.

    Lightning's own writer makes the whole file in memory, then another one in $TMPDIR, and moves it: where that is
    another file system a copy over the only checkpoint, which a kill leaves cut off, and a failure where it is small.
    What a kill leaves of the file beside is removed by the next process that holds the run folder's lock.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Raises RunError where the file cannot be written; the checkpoint before it stays as it was."""
        if storage_options is not None:
            raise TypeError("storage_options are for remote file systems; run folders are local ones.")
        path = Path(path)
        part = beside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                _save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync_folder(path.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise RunError(
                f"cannot write the checkpoint {path}: {error.strerror or error}. One that was there before is "
                f"whole; continue from it with {for_shell('resume', str(path.parents[1]))}."
            ) from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Names of the tensors of a state_dict that hold a NaN or an infinity."""
    numbers = [(name, value) for name, value in state.items() if torch.is_tensor(value) and value.is_floating_point()]
    if not numbers:
        return []
    # one look at the device for all of them
    finite = torch.stack([torch.isfinite(value).all() for _, value in numbers]).tolist()
    return [name for (name, _), fine in zip(numbers, finite, strict=True) if not fine]


def is_damaged(path: Path) -> bool:
    """Whether a checkpoint is cut off or has other bytes than were written.

    Its bytes alone are judged, a zip with checksums: that there is no memory to load it is no damage.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        check_file(path)
        with zipfile.ZipFile(path) as parts:
            # torch reads nothing of a part that is marked as a folder, and hands out memory as it was
            folders = [part for part in parts.infolist() if part.is_dir() or part.external_attr & _MARKED_AS_FOLDER]
            return bool(folders) or parts.testzip() is not None
    except MemoryError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the file's begin
            return True
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
