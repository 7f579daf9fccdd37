"""Text that anybody may have written, made fit for the medium it is shown in: a terminal, a spreadsheet."""

from __future__ import annotations

import re

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it, and what turns the order of the text around it; not \\n and \\t."""
_NUMBER = re.compile(r"[+-](?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?", re.ASCII)
_FORMULA = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20].)")
"""Where a spreadsheet begins to calculate: in a cell, and after what another country's spreadsheet parts cells by."""


def printable(text: str) -> str:
    r"""A text that a terminal only shows: control characters are written out. Line breaks and tabs stay.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    r"""As `printable`, with line breaks and tabs written out too.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def as_cell(text: str) -> str:
    """A text that a spreadsheet shows and never runs: what would begin a formula follows an apostrophe.

    >>> as_cell("=1+1"), as_cell("-1.5"), as_cell("a - b"), as_cell("-")
    ("'=1+1", '-1.5', 'a - b', '-')
    """
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1\2'", text)
