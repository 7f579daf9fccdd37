"""Errors of a command as one message, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from facegraph.errors import FacegraphError


def guarded(command: Callable[[], None], exit_code: int = 1) -> None:
    """Run a command; an error that the user can act on ends the program with its message and an exit code."""
    try:
        command()
    except FacegraphError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_code)
