"""The terminal: what is printed is shown whole, whoever wrote it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table

from facegraph.files.plain_text import printable


class Screen(Console):
    """A console that shows control characters in texts; Rich's own, of colours and of the cursor, do their work.

    Tables lose nothing: names too long for a column go on in its next line instead of ending in an ellipsis, and title
    and caption take the width of the terminal, not that of the table.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Table):
            renderable = self._whole(renderable)
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

    def _whole(self, table: Table) -> RenderableType:
        for column in table.columns:
            if column.overflow == "ellipsis" and not column.no_wrap:
                column.overflow = "fold"
        if table.title is None and table.caption is None:
            return table
        bare = copy.copy(table)
        bare.title = bare.caption = None
        parts = (table.title, bare, table.caption)
        return Group(*(self.render_str(part) if isinstance(part, str) else part for part in parts if part is not None))
