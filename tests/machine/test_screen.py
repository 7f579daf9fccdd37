"""What a terminal of 80 columns shows of tables and of names that people chose."""

from __future__ import annotations

import io

import pytest
from rich.markup import escape
from rich.table import Table

from facegraph.machine.screen import Screen


def shown(table: Table, width: int = 80) -> list[str]:
    screen = Screen(width=width, file=io.StringIO())
    screen.print(table)
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [30, 80])
def test_a_long_name_goes_on_in_the_next_line(width: int) -> None:
    table = Table("checkpoint", "illumination", "expression")
    table.add_row("best_of_all_checkpoints", "y" * 60, "x" * 90)
    lines = shown(table, width)
    text = "".join(lines)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert (text.count("x"), text.count("y")) == (90 + 1, 60)  # expression has one too
    assert max(map(len, lines)) <= width


def test_title_and_caption_take_the_width_of_the_terminal() -> None:
    table = Table("%", title="synthetic test: 9 faces, 98 landmarks", caption="square around " + "the box " * 10)
    lines = shown(table)
    assert lines[0].strip() == "synthetic test: 9 faces, 98 landmarks"
    assert lines[-2].startswith("square around the box the box")
    assert shown(table) == lines  # the table itself stays as it was


def test_brackets_in_a_name_are_no_markup() -> None:
    table = Table("run", title=escape("runs of [red]lab[/red]"))
    table.add_row(escape("out/[bold]1[/bold]"))
    text = "\n".join(shown(table))
    assert "runs of [red]lab[/red]" in text
    assert "out/[bold]1[/bold]" in text


def test_control_characters_are_shown() -> None:
    table = Table("run")
    table.add_row("a\x1b]0;title\x07")
    assert "\x1b" not in "".join(shown(table))
