"""The terminal: what is printed is shown, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from facegraph.files.plain_text import printable


class Screen(Console):
    """A console that shows control characters in texts; Rich's own, of colours and of the cursor, do their work."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)
