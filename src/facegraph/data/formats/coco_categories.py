"""Which category of a COCO file the faces are, and how its keypoints are called."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facegraph.data.formats.files import shown
from facegraph.errors import DataError


@dataclass(frozen=True)
class Category:
    """An entry of 'categories'. points: names of its keypoints, None where it gives none."""

    id: int | str
    name: str
    points: tuple[str, ...] | None


@dataclass(frozen=True)
class Categories:
    """Those of a file by id, and what its annotations have. counts: id -> number of points -> annotations."""

    path: Path
    entries: Mapping[int | str, Category]
    counts: Mapping[int | str, Mapping[int, int]]

    def choose(self, count: int, asked: str | None) -> Category | None:
        """The category of the faces, which have count points; None where the file has no categories.

        asked: its name; None for the only one that fits, if there is only one.

        Raises:
            DataError: none or several, or keypoint names that contradict the annotations or each other.
        """
        if not self.entries:
            if len(self.counts) > 1 or asked is not None:
                wanted = f"category '{asked}'" if asked is not None else f"annotations of {len(self.counts)} categories"
                raise DataError(
                    f"{self.path}: no 'categories', but {wanted}; which points are of faces is not known. Export the "
                    "file as COCO keypoints."
                )
            return None
        found = [c for c in self.entries.values() if asked is None or c.name == asked]
        if asked is not None and not found:
            near = difflib.get_close_matches(asked, [c.name for c in self.entries.values()], n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(f"{self.path}: no category is called '{asked}'; there are {self._listed()}.{hint}")
        fitting = [category for category in found if self._fits(category, count)]
        # exporters list the categories of the whole project
        fitting = [category for category in fitting if self.counts.get(category.id)] or fitting
        if len(fitting) != 1:
            what = f"{len(fitting)} categories fit" if fitting else "no category fits"
            advice = "Choose one: --category <name>" if fitting else "Choose the --scheme that fits"
            raise DataError(
                f"{self.path}: {count} points are wanted, and {what}; there are {self._listed()}. {advice}, or correct "
                "the file."
            )
        self._check_names(fitting[0])
        return fitting[0]

    def _fits(self, category: Category, count: int) -> bool:
        if category.points is not None:
            return len(category.points) == count
        return count in self.counts.get(category.id, {})

    def _check_names(self, category: Category) -> None:
        twice = [name for name, n in Counter(category.points or ()).items() if n > 1]
        if twice:
            raise DataError(
                f"{self.path}: category '{category.name}' calls two keypoints {shown(twice[0])}, so that names do not "
                "tell its points apart. Give each its own name, or take 'keypoints' out of the category of all files."
            )

    def _listed(self) -> str:
        told = []
        for category in list(self.entries.values())[:8]:
            names = "no names of points" if category.points is None else f"{len(category.points)} names of points"
            have = ", ".join(f"{n} annotation(s) of {k} points" for k, n in self.counts.get(category.id, {}).items())
            told.append(f"{shown(category.name)} ({names}; {have[:120] or 'no annotation with points'})")
        return ", ".join(told) + (", ..." if len(self.entries) > 8 else "")


def read_categories(path: Path, content: Mapping[str, Any], annotations: Sequence[Any]) -> Categories:
    """The categories of a file.

    Raises:
        DataError: 'categories' is no list of entries with id and name, or an id occurs twice.
    """
    entries: dict[int | str, Category] = {}
    listed = content.get("categories") or []
    if not isinstance(listed, list):
        raise DataError(f"{path}: 'categories' is {shown(repr(listed))}; a list is needed. Write the file again.")
    for number, entry in enumerate(listed, start=1):
        where = f"{path}, entry {number} of 'categories'"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            raise DataError(f"{where}: {shown(repr(entry))}; an object with id and name is needed.")
        points = entry.get("keypoints") or None
        if points is not None and not (isinstance(points, list) and all(isinstance(name, str) for name in points)):
            raise DataError(f"{where}: 'keypoints' is {shown(repr(points))}; a list of names is needed.")
        category = Category(entry["id"], str(entry.get("name", entry["id"])), None if points is None else tuple(points))
        if entries.setdefault(category.id, category) != category:
            raise DataError(f"{where}: the id {shown(repr(category.id))} a second time. Correct the ids.")
    counts: dict[int | str, Counter[int]] = {}
    for annotation in annotations:
        keypoints = annotation.get("keypoints") if isinstance(annotation, dict) else None
        if isinstance(keypoints, list) and keypoints and isinstance(annotation.get("category_id"), int | str):
            counts.setdefault(annotation["category_id"], Counter())[len(keypoints) // 3] += 1
    return Categories(path, entries, counts)
