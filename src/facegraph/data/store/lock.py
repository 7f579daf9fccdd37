"""One writer at a time for a place on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from facegraph.errors import DataError
from facegraph.files.locking import HeldError, held


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold <out>.lock while a store is written there.

    Raises:
        DataError: another process holds it, or it cannot be made.
    """
    path = out.with_name(f"{out.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path))
        except HeldError as error:
            raise DataError(
                f"another prepare (process {error.holder}) is writing {out}. Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise DataError(
                f"{path} cannot be made: {error.strerror or error}. Choose an --out in a folder where you may write."
            ) from error
        yield
