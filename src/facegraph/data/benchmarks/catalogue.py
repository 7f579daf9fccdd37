"""The benchmarks that need no settings, by the name that the command line and results use."""

from __future__ import annotations

from facegraph.data.benchmarks.cofw import CofwBenchmark
from facegraph.data.benchmarks.cofw68 import Cofw68Benchmark
from facegraph.data.benchmarks.ibug300w import Ibug300wBenchmark
from facegraph.data.benchmarks.lp300w import Lp300wBenchmark
from facegraph.data.benchmarks.wflw import WflwBenchmark
from facegraph.data.entries import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (WflwBenchmark(), Ibug300wBenchmark(), Lp300wBenchmark(), CofwBenchmark(), Cofw68Benchmark())
}
"""coco and crops need a landmark scheme and are made by their classes in coco.py and folder.py."""
