"""What a reader leaves out of a file whose other faces it can use."""

from __future__ import annotations

from typing import NamedTuple


class Unusable(NamedTuple):
    """A line or entry that no face was made of. where: file and place in it. reason: what is wrong, what to do."""

    where: str
    reason: str


def all_unusable(unusable: tuple[Unusable, ...]) -> str:
    """The message for a file none of whose faces can be used, of which there is one at least."""
    first = unusable[0]
    more = f" ({len(unusable)} like this, no usable one)" if len(unusable) > 1 else ""
    return f"{first.where}: {first.reason}{more}"
