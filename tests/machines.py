"""What `make test` finds on other processors, in other orders and beside other work: `make test-machines`.

The numeric tests (tests/conftest.py says which) run once for each kind of processor that this one can act as, on one
and on two threads; then the quick suite in random order three times, the last time beside processes that keep all cores
busy. A line for each; its log begins with the command that has the same order again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from facegraph.machine.threads import SPIN_COUNT

ROOT = Path(__file__).resolve().parents[1]
# setting -> flags of a processor that can act so
KERNELS = {"default": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
ONEDNN = {
    "AVX2": {"avx2"},
    "AVX512_CORE": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "AVX512_CORE_AMX": {"amx_tile", "amx_int8", "amx_bf16"},
}
THREADS = (1, 2)
ORDERS = 3
RANDOM = ("-p", "randomly", "--randomly-dont-reset-seed", "--timeout", "1200", "-rfE")
NUMERIC = ("-m", "numeric and not slow", "tests")
QUICK = ("-m", "not slow and not slurm", "-n", "2")


@dataclass(frozen=True)
class Round:
    """One call of pytest. busy: beside processes that keep all cores busy."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    busy: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the two kinds of processor that differ most, no suites")
    short = parser.parse_args().short
    flags = processor_flags()
    for name, needed in {**KERNELS, **ONEDNN}.items():
        if not needed <= flags:
            print(f"left out: {name}; this processor lacks {', '.join(sorted(needed - flags))}", flush=True)
    rounds = numeric_rounds(flags)
    rounds = [rounds[0], rounds[-1]] if short else [*rounds, *suite_rounds()]
    logs = Path(tempfile.mkdtemp(prefix="facegraph-machines-"))
    failed = [number for number, one in enumerate(rounds, 1) if not passes(one, logs / f"{number}.log")]
    print(f"{len(rounds) - len(failed)} of {len(rounds)} rounds passed; {logs} has what each printed.")
    sys.exit(1 if failed else 0)


def processor_flags() -> set[str]:
    """As Linux names them; elsewhere none are known, and the tests run on the kernels of any processor alone."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    line = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(line.group(1).split()) if line else set()


def numeric_rounds(flags: set[str]) -> list[Round]:
    """The first and the last are as different as can be."""
    kernels = [name for name, needed in KERNELS.items() if needed <= flags]
    onednn = [name for name, needed in ONEDNN.items() if needed <= flags] or [None]
    rounds = []
    for kernel, isa, threads in product(kernels, onednn, THREADS):
        # two threads of two processes each would wait for one another on two cores
        workers = ("-n", "2") if threads == 1 else ("-n", "0")
        environment = {"ATEN_CPU_CAPABILITY": kernel, "FACEGRAPH_TEST_THREADS": str(threads)}
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        # as in a training: threads that spin for ever at barriers get nowhere beside other work
        environment |= {"GOMP_SPINCOUNT": str(SPIN_COUNT)}
        if isa is not None:
            environment["ONEDNN_MAX_CPU_ISA"] = isa
        name = f"numeric  {kernel:<8} {isa or '':<15} {threads} thread{'s' if threads > 1 else ''}"
        rounds.append(Round(name, (*RANDOM, *NUMERIC, *workers), environment))
    return rounds


def suite_rounds() -> list[Round]:
    names = [*["suite    in random order"] * (ORDERS - 1), "suite    in random order, beside busy processes"]
    return [Round(name, (*RANDOM, *QUICK), busy=name == names[-1]) for name in names]


def passes(one: Round, log: Path) -> bool:
    """Run it and print its line, and the names of what failed."""
    command = [sys.executable, "-m", "pytest", f"--randomly-seed={random.randrange(2**32)}", *one.arguments]
    settings = [f"{name}={value}" for name, value in one.environment.items()]
    log.write_text(f"$ {shlex.join([*settings, *command])}\n", encoding="utf-8")
    with log.open("a", encoding="utf-8") as output, busy_cores(one.busy):
        code = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **one.environment}, stdout=output, stderr=output, check=False
        ).returncode
    lines = log.read_text(encoding="utf-8").splitlines()
    print(f"{one.name:<48} {'ok' if code == 0 else 'FAILED':<6}  {lines[-1].strip('= ')}", flush=True)
    if code != 0:
        named = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        print("\n".join(f"    {line}" for line in named or lines[-5:]) + f"\n    {log}", flush=True)
    return code == 0


@contextmanager
def busy_cores(wanted: bool) -> Iterator[None]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count if wanted else 0)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
