"""Errors of a command as one message, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from facegraph.errors import FacegraphError

_STOPPED = 130
"""What shells have for a program that Ctrl-C ended."""


def guarded(command: Callable[[], None], exit_code: int = 1, advice: str = "") -> None:
    """Run a command; an error that the user can act on ends the program with its message and an exit code.

    Args:
        advice: what to do after Ctrl-C, which ends it with one line.
    """
    try:
        command()
    except FacegraphError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_code)
    except KeyboardInterrupt:
        print(f"\nstopped. {advice}".rstrip(), file=sys.stderr)
        sys.exit(_STOPPED)
