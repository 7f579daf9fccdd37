"""Faces of a store beside those that its publisher counts, as prepare and inspect print them."""

from __future__ import annotations

from typing import NamedTuple

from facegraph.data.store.layout import StoreInfo


class Count(NamedTuple):
    """name: "split" or "split/attribute". found, official: faces; official is None where the publisher counts none."""

    name: str
    found: int
    official: int | None

    @property
    def difference(self) -> int | None:
        return None if self.official is None else self.found - self.official


def list_counts(info: StoreInfo) -> list[Count]:
    """Every split, each followed by its subsets; the publisher's order first, then what only the store has."""
    names = list(dict.fromkeys([*info.official_counts, *info.counts]))
    splits = list(dict.fromkeys(name.split("/")[0] for name in names))
    names.sort(key=lambda name: splits.index(name.split("/")[0]))  # stable: subsets keep their order
    return [Count(name, info.counts.get(name, 0), info.official_counts.get(name)) for name in names]
