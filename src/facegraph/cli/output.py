"""What a command found, as JSON for programs or as tables for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from facegraph.files import plain_json
from facegraph.machine.screen import Screen


def show(as_json: bool, plain: Callable[[], Any], draw: Callable[[Console], None]) -> None:
    """Print plain values as one JSON text and nothing else, or let `draw` print tables."""
    if as_json:
        print(plain_json.dump(plain()))
    else:
        draw(Screen())
