"""Errors of a command as one message, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from facegraph.errors import FacegraphError


def guarded(command: Callable[[], None]) -> None:
    """Run a command; an error that the user can act on ends the program with its message."""
    try:
        command()
    except FacegraphError as error:
        sys.exit(f"error: {error}")
