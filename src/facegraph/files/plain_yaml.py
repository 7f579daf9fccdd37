"""YAML that may come from somebody else: plain values alone, of a size that can be held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from facegraph.files.plain_files import check_file

LARGEST = 1 << 20
"""Bytes of a file; a resolved configuration has about 10,000."""
MOST_VALUES, DEEPEST = 100_000, 40


def load(path: Path) -> Any:
    """Plain values of a file.

    Raises:
        OSError: it cannot be read. ValueError: as `read`, or it names objects of a program.
    """
    text = read(path)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read(path: Path) -> str:
    """Text of a file, of which a YAML reader makes no more than MOST_VALUES values, DEEPEST deep.

    What repeats an earlier part (`*name`) counts as that part: nine of ten repetitions each make 10^9 values of a line.

    Raises:
        OSError: it cannot be read. ValueError: no text in UTF-8, no YAML, or beyond a limit, which it names.
    """
    check_file(path)
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    text = content.decode("utf-8-sig")  # fails with a ValueError
    try:
        _check_size(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    return text


def _check_size(text: str) -> None:
    total, known = 0, dict[str, int]()
    open_: list[tuple[str | None, int]] = []  # parts: name, and the total where they begin
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(name == event.anchor for name, _ in open_):
                raise ValueError(f"the part '{event.anchor}' repeats itself")
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
            raise ValueError(f"it has more than {MOST_VALUES} values, or is more than {DEEPEST} deep")
