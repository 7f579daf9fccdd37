"""What a command found, as JSON for programs or as tables for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rich.console import Console

from facegraph.machine.screen import Screen


def show(as_json: bool, plain: Callable[[], Any], draw: Callable[[Console], None]) -> None:
    """Print plain values as one JSON text and nothing else, or let `draw` print tables."""
    if as_json:
        print(json.dumps(plain(), indent=2))
    else:
        draw(Screen())
