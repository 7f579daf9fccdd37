"""What a benchmark is, and what its index is collected in: faces, and whatever was wrong with the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from facegraph.data.benchmarks.source_tree import SEARCH_DEPTH, SourceTree
from facegraph.data.entries import (
    BAD_ANNOTATION,
    MISSING_IMAGE,
    MISSING_PART,
    UNREADABLE_FOLDER,
    FaceEntry,
    FaceIndex,
    Problem,
)
from facegraph.data.formats.files import Unusable
from facegraph.data.processes import process_pool
from facegraph.errors import DataError
from facegraph.landmarks import LandmarkScheme

Progress = Callable[[int, int], None]
"""Called with (files read, files in all)."""


class Gathering:
    """Faces and problems of one source, in the order they were met.

    Args:
        layout: what the source should look like, for messages.
    """

    def __init__(self, tree: SourceTree, layout: str) -> None:
        self.tree = tree
        self.faces: list[FaceEntry] = []
        self._layout = layout
        self._problems: list[Problem] = []
        self._missing: dict[tuple[str, str], list[str]] = {}

    def problem(self, kind: str, split: str, name: str, message: str, optional: bool = False) -> None:
        self._problems.append(Problem(kind, split, name, message, optional))

    def missing_part(self, split: str, name: str, message: str, optional: bool = False) -> None:
        self.problem(MISSING_PART, split, name, message, optional)

    def bad_annotation(self, split: str, name: str, error: object, optional: bool = False) -> None:
        self.problem(BAD_ANNOTATION, split, name, str(error), optional)

    def unusable(self, split: str, path: Path, left_out: Iterable[Unusable]) -> None:
        """A bad annotation for each line or entry that a reader left out of a file, named by file and place."""
        for where, reason in left_out:
            self.bad_annotation(split, where.removeprefix(f"{path.parent}/"), f"{where}: {reason}")

    def missing_image(self, split: str, name: str, where: str) -> None:
        """Note a face whose photograph is not there; one problem per photograph counts its faces."""
        self._missing.setdefault((split, name), []).append(where)

    def index(self) -> FaceIndex:
        """All that was gathered; faces of the same id are told apart by #2, #3, ...

        Raises:
            DataError: there is no face; the first problem is named.
        """
        problems = [*self._problems, *self._missing_images(), *self._unlisted_folders()]
        if not self.faces:
            raise DataError(self._refusal(problems))
        seen = Counter[str]()
        unique = []
        for face in self.faces:
            seen[face.id] += 1
            unique.append(face if seen[face.id] == 1 else replace(face, id=f"{face.id}#{seen[face.id]}"))
        return FaceIndex(tuple(unique), tuple(problems))

    def _missing_images(self) -> list[Problem]:
        return [
            Problem(
                MISSING_IMAGE,
                split,
                name,
                f"{places[0]}: image '{name}' is not there ({len(places)} face(s) on it). Add the file, or leave its "
                "faces out.",
            )
            for (split, name), places in self._missing.items()
        ]

    def _unlisted_folders(self) -> list[Problem]:
        """Whatever is needed was found elsewhere or is missing, which other problems say."""
        return [
            Problem(
                UNREADABLE_FOLDER, "", str(folder.relative_to(self.tree.root)), f"{error} It was passed over.", True
            )
            for folder, error in self.tree.unlisted.items()
        ]

    def nothing(self, wanted: Sequence[str]) -> DataError:
        """The error of a source that lacks what an index cannot do without.

        Args:
            wanted: what was looked for.
        """
        return DataError(
            f"{self.tree.root} has no {' and no '.join(wanted)}, there or up to {SEARCH_DEPTH} folders below. "
            f"The folder holds: {self.tree.holds()}. Expected below --source:\n{self._layout}"
        )

    def _refusal(self, problems: list[Problem]) -> str:
        kinds = Counter(problem.kind for problem in problems)
        counted = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        first = next((p for p in problems if p.kind != MISSING_PART), problems[0] if problems else None)
        told = f" ({counted}; the first: {first.message})" if first else ""
        return (
            f"no usable face in {self.tree.root}{told}. The folder holds: {self.tree.holds()}. "
            f"Expected below --source:\n{self._layout}"
        )


class Benchmark(ABC):
    """A data set as its publisher ships it.

    Attributes:
        name: as results print it.
        version: of the publisher's files that the counts belong to.
        scheme: numbering of the landmarks.
        layout: what the source folder should look like, for messages.
        archives: patterns of the names, without ending, of the archives that the publisher ships, as
            archives.unpack_archives takes them.
        attributes: subsets that faces are flagged for.
        official_counts: faces per "split" or "split/attribute", as published; "all" is the whole set, where its split
            is not published. None are of a set of one's own.
        optional_splits: the benchmark is complete without them.
    """

    name: str
    version: str
    scheme: LandmarkScheme
    layout: str
    archives: tuple[str, ...]
    attributes: tuple[str, ...] = ()
    official_counts: Mapping[str, int] = {}
    optional_splits: frozenset[str] = frozenset()

    def index(self, source: Path, workers: int = 1, progress: Progress | None = None) -> FaceIndex:
        """Faces under a folder. Images are looked for, not read; nothing is written.

        Args:
            source: the folder.
            workers: processes that read annotations, where these are one file per face.
            progress: called with (files read, files in all) now and then, from this process.

        Raises:
            DataError: the folder holds nothing of this benchmark.
        """
        found = Gathering(SourceTree(source), self.layout)
        self.gather(found, workers, progress)
        return found.index()

    @abstractmethod
    def gather(self, found: Gathering, workers: int, progress: Progress | None) -> None:
        """Look for faces in found.tree, and put them, and what is wrong with others, into found; see index.

        Raises:
            DataError: there is nothing to read.
        """


Task = TypeVar("Task")
Result = TypeVar("Result")

_REPORT_EVERY = 200
POOL_FROM = 10_000
"""Fewer files than this are read by one process in the seconds that others take to start."""


def read_each(
    read: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Result | DataError]:
    """read(task) for every task, in order; the DataError of a task that raised one takes its place.

    Args:
        read: a function of a module, so that other processes find it.
        tasks: picklable.
        workers: processes, from POOL_FROM tasks on.
        progress: called with (done, all) now and then.

    Raises:
        DataError: a process was killed from outside.
    """
    total = len(tasks)
    results: list[Result | DataError] = []
    attempt = partial(_attempt, read)
    if workers <= 1 or total < POOL_FROM:
        _collect(map(attempt, tasks), results, total, progress)
        return results
    with process_pool(workers) as pool:
        _collect(pool.map(attempt, tasks, chunksize=_REPORT_EVERY), results, total, progress)
    return results


def _collect(
    outcomes: Iterable[Result | DataError],
    results: list[Result | DataError],
    total: int,
    progress: Progress | None,
) -> None:
    for outcome in outcomes:
        results.append(outcome)
        if progress is not None and (len(results) % _REPORT_EVERY == 0 or len(results) == total):
            progress(len(results), total)


def _attempt(read: Callable[[Task], Result], task: Task) -> Result | DataError:
    try:
        return read(task)
    except DataError as error:
        return error
