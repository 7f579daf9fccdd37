"""Data sets by the name that the command line knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from facegraph.data.benchmarks.coco import CocoBenchmark
from facegraph.data.benchmarks.cofw import CofwBenchmark
from facegraph.data.benchmarks.cofw68 import Cofw68Benchmark
from facegraph.data.benchmarks.folder import FolderBenchmark
from facegraph.data.benchmarks.gathering import Benchmark
from facegraph.data.benchmarks.ibug300w import Ibug300wBenchmark
from facegraph.data.benchmarks.lp300w import Lp300wBenchmark
from facegraph.data.benchmarks.wflw import WflwBenchmark
from facegraph.data.scheme_file import load_scheme
from facegraph.data.splits import HeldOut
from facegraph.errors import ConfigError
from facegraph.landmarks import SCHEMES

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (WflwBenchmark(), Ibug300wBenchmark(), Lp300wBenchmark(), CofwBenchmark(), Cofw68Benchmark())
}
"""coco and crops need a landmark scheme and are made by their classes in coco.py and folder.py."""


@dataclass(frozen=True)
class DatasetOptions:
    """What only some data sets ask for; None where it was not given.

    Attributes:
        scheme: name or YAML file.
        attributes: 0/1 columns of the csv.
        photo_pattern: regular expression whose group 1 names the photograph.
        points: which landmarks of 300W-LP.
        flipped: whether to take its mirrored half.
        category: of the faces in COCO files.
        other_splits: splits of the csv besides train, val and test.
        test_fraction, seed: of a test set that is cut by photograph.
    """

    scheme: str | None = None
    attributes: tuple[str, ...] | None = None
    photo_pattern: str | None = None
    points: str | None = None
    flipped: bool | None = None
    category: str | None = None
    other_splits: tuple[str, ...] | None = None
    test_fraction: float | None = None
    seed: int | None = None

    @property
    def held_out(self) -> HeldOut | None:
        if self.test_fraction is None:
            if self.seed is not None:
                raise ConfigError(
                    f"--seed {self.seed} is of a test set that is cut: add --test-fraction, or leave it out."
                )
            return None
        return HeldOut(self.test_fraction, self.seed or 0)

    @property
    def given(self) -> set[str]:
        return {field.name for field in fields(self) if getattr(self, field.name) is not None}


def _coco(options: DatasetOptions) -> Benchmark:
    scheme = load_scheme(_scheme_of(options))
    return CocoBenchmark(scheme, category=options.category, held_out=options.held_out)


def _crops(options: DatasetOptions) -> Benchmark:
    return FolderBenchmark(
        load_scheme(_scheme_of(options)),
        options.attributes or (),
        options.photo_pattern,
        other_splits=options.other_splits or (),
        held_out=options.held_out,
    )


def _scheme_of(options: DatasetOptions) -> str:
    if options.scheme is None:
        raise ConfigError(
            f"--scheme is missing: how the landmarks are numbered is not in the files. Give one of {sorted(SCHEMES)}, "
            "or the path of a YAML file that describes your numbering."
        )
    return options.scheme


def _lp300w(options: DatasetOptions) -> Benchmark:
    plain = Lp300wBenchmark()
    return Lp300wBenchmark(points=options.points or plain.points, flipped=bool(options.flipped))


MAKERS: dict[str, tuple[frozenset[str], Callable[[DatasetOptions], Benchmark]]] = {
    "300wlp": (frozenset({"points", "flipped"}), _lp300w),
    "coco": (frozenset({"scheme", "category", "test_fraction", "seed"}), _coco),
    "crops": (
        frozenset({"scheme", "attributes", "photo_pattern", "other_splits", "test_fraction", "seed"}),
        _crops,
    ),
}
"""Data sets with options of their own -> those options and what makes them."""

OWN = ("coco", "crops")
"""Sets of one's own: whether their landmarks are px of the photographs as stored or upright is nowhere published."""
NAMES = (*(name for name in BENCHMARKS if name not in MAKERS), *MAKERS)


def make_benchmark(name: str, options: DatasetOptions) -> Benchmark:
    """A data set by name.

    Raises:
        ConfigError: no such data set, or an option that is not for it.
    """
    if name not in NAMES:
        raise ConfigError(f"data set '{name}' is unknown; {', '.join(NAMES)} can be prepared.")
    allowed, maker = MAKERS.get(name, (frozenset[str](), None))
    strange = sorted(options.given - allowed)
    if strange:
        owners = [other for other, (known, _) in MAKERS.items() if strange[0] in known]
        raise ConfigError(
            f"--{strange[0].replace('_', '-')} is not for {name}; it is for {' and '.join(owners)}. Leave it out."
        )
    return BENCHMARKS[name] if maker is None else maker(options)
