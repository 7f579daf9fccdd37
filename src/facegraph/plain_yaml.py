"""YAML that may come from somebody else: plain values alone, of a size that can be held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 20
"""Bytes of a file; a resolved configuration has about 10,000."""
MOST_VALUES, DEEPEST = 100_000, 40


def load(path: Path) -> Any:
    """Plain values of a file.

    Raises:
        OSError: it cannot be read. yaml.YAMLError: as `read`, or it names objects of a program.
    """
    return yaml.safe_load(read(path))


def read(path: Path) -> str:
    """Text of a file, of which a YAML reader makes no more than MOST_VALUES values, DEEPEST deep.

    What repeats an earlier part (`*name`) counts as that part: nine of ten repetitions each make 10^9 values of a line.

    Raises:
        OSError: it cannot be read. yaml.YAMLError: no text in UTF-8, no YAML, or beyond a limit, which it names.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise yaml.YAMLError(f"it has more than {LARGEST} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"it is no text in UTF-8: {error}") from error
    _check_size(text)
    return text


def _check_size(text: str) -> None:
    total, known = 0, dict[str, int]()
    open_: list[tuple[str | None, int]] = []  # parts: name, and the total where they begin
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(name == event.anchor for name, _ in open_):
                raise yaml.YAMLError(f"the part '{event.anchor}' repeats itself{event.start_mark}")
            total += known.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                known[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_.pop()
            if name:
                known[name] = total - before
        if total > MOST_VALUES or len(open_) > DEEPEST:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES} values, or is more than {DEEPEST} deep")
