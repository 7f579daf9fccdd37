"""The house holds: who imports whom, how long files and functions are, what may not be in them."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "facegraph"
FILES = sorted(SOURCE.rglob("*.py"))
ENTRIES = [ROOT / "train.py", ROOT / "eval.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# room -> the rooms below it that it may import, or modules of them where that is narrower. A room is a package or a
# module directly under facegraph; a paper's study is one of its own.
VOCABULARY = {"errors", "structures", "landmarks", "geometry"}
WITHOUT_TORCH = ("records", "reports", "sweeps", "viz", "landmarks", "errors")
ALLOWED = {
    "errors": {"files.plain_text"},
    "files": set(),
    "landmarks": {"errors"},
    "structures": {"landmarks"},
    "geometry": {"errors"},
    "graph": {"geometry", "errors"},
    "machine": {"files", "errors"},
    "layers": {"structures", "errors"},
    "backbones": {"errors"},
    "codecs": {"errors"},
    "heads": {"codecs", "layers", "graph", "structures", "errors"},
    "losses": {"codecs", "graph", "geometry", "structures", "errors"},
    "metrics": {"structures", "errors"},
    "models": {"backbones", "codecs", "layers", "losses", "files.plain_tensors", *VOCABULARY},
    "data": {"files", *VOCABULARY},
    "records": {"files", "metrics", "errors"},
    "sweeps": {"files", "records", "metrics.names", "errors"},
    "viz": {"geometry", "landmarks", "errors"},
    "reports": {"files", "records", "sweeps", "metrics", "viz", *VOCABULARY},
    "training": {"files", "sweeps", "records", "metrics", *VOCABULARY},
    "tracking": {"files", "training", "sweeps", "records", "metrics.names", "errors"},
    "curation": {"data", "files", "records.overrides", "reports", "viz", *VOCABULARY},
    "runs": {
        "data", "files", "graph", "machine", "metrics", "models.released", "records", "reports", "sweeps", "tracking",
        "training", "viz", *VOCABULARY,
    },
    "launch": {"runs", "sweeps", "machine", "files", "records.overrides", "errors"},
    "models.dpr.study": {"data", "metrics", "models", "runs", "training", *VOCABULARY},
    "models.musica.study": {
        "data", "files", "metrics", "models", "records", "reports", "runs", "training", *VOCABULARY,
    },
    "bench": {"runs", "machine", "metrics", "models", "structures", "errors"},
    "cli": {
        "bench", "curation", "data", "files", "graph", "launch", "machine", "metrics", "models", "records", "reports",
        "runs", "sweeps", "tracking", "viz", *VOCABULARY,
    },
}  # fmt: skip
# library -> the only rooms that may import it
ONLY_IN = {
    "hydra": {"runs", "launch", "cli"},
    "omegaconf": {"runs", "launch", "cli"},
    "matplotlib": {"reports", "models.musica.study"},
    "albumentations": {"data"},
    "timm": {"backbones", "training"},
    "typer": {"cli"},
    "h5py": {"data"},
    "scipy": set(),
    "jinja2": {"reports"},
    "wandb": {"tracking"},
}
STUDIES = {("models", paper, "study"): f"models.{paper}.study" for paper in ("dpr", "musica")}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules that a file imports anywhere; not those of an `if TYPE_CHECKING` block."""
    found: set[str] = set()
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        pending.extend(ast.iter_child_nodes(node))
    return frozenset(found)


def unit(path: Path) -> str:
    if path in ENTRIES:
        return path.name
    parts = path.relative_to(SOURCE).parts
    return STUDIES.get(parts[:3], parts[0].removesuffix(".py"))


def own_imports(path: Path) -> set[str]:
    """Imports of facegraph as dotted names below it; the bare package only offers its version."""
    names = {name.removeprefix("facegraph.") for name in imports(path) if name.startswith("facegraph.")}
    return {
        name
        for name in names
        if (SOURCE / name.split(".")[0]).exists() or (SOURCE / f"{name.split('.')[0]}.py").exists()
    }


def within(name: str, allowed: set[str]) -> bool:
    return any(name == a or name.startswith(f"{a}.") for a in allowed)


def test_imports_point_one_way() -> None:
    wrong = []
    for path in FILES:
        if path == SOURCE / "__init__.py":
            assert own_imports(path) == set()
            continue
        assert unit(path) in ALLOWED, f"{unit(path)} is new: say in ALLOWED what it may import"
        allowed = ALLOWED[unit(path)] | {unit(path)}
        wrong += [f"{path.relative_to(SOURCE)}: {name}" for name in own_imports(path) if not within(name, allowed)]
    assert not wrong, "ALLOWED says what a unit may import"


def test_rooms_have_no_circle() -> None:
    """Who may import whom is an order: each room can be understood with what lies below it."""
    below = {room: {name.split(".")[0] for name in names} - {room} for room, names in ALLOWED.items()}
    below["models"] = {name.split(".")[0] for name in ALLOWED["models"]}
    below["errors"] = set()  # files.plain_text is a function without an import
    placed: set[str] = set()
    while below.keys() - placed:
        free = {room for room in below.keys() - placed if below[room] <= placed}
        assert free, f"a circle among {sorted(below.keys() - placed)}"
        placed |= free


def test_libraries_stay_where_they_belong() -> None:
    for path in [*FILES, *ENTRIES]:
        for name in imports(path):
            assert unit(path) in ONLY_IN.get(name.split(".")[0], {unit(path)}), f"{path.name} imports {name}"


def test_one_model_never_imports_another() -> None:
    for path in (SOURCE / "models").glob("*/**/*.py"):
        if unit(path) != "models":
            continue
        paper = path.relative_to(SOURCE / "models").parts[0]
        others = {n for n in own_imports(path) if n.startswith("models.") and not n.startswith(f"models.{paper}.")}
        others -= {"models.released.ReleasedWeights"}
        assert not others, path


def test_reports_need_no_torch() -> None:
    """Directly or through anything they import."""

    def file_of(name: str) -> Path | None:
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            base = SOURCE.joinpath(*parts[:end])
            if base.with_suffix(".py").is_file():
                return base.with_suffix(".py")
            if (base / "__init__.py").is_file():
                return base / "__init__.py"
        return None

    for start in WITHOUT_TORCH:
        base = SOURCE.joinpath(*start.split("."))
        pending = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
        seen: set[Path] = set()
        while pending:
            path = pending.pop()
            if path in seen:
                continue
            seen.add(path)
            heavy = {
                n for n in imports(path) if re.match(r"(torch|torchvision|torchmetrics|pytorch_lightning|timm)\b", n)
            }
            assert not heavy, f"{start} reaches {path.relative_to(ROOT)}, which imports {sorted(heavy)}"
            pending.extend(f for n in own_imports(path) if (f := file_of(n)) is not None)


def test_files_and_functions_are_short() -> None:
    for path in [*FILES, *ENTRIES, *TESTS]:
        assert path.read_text(encoding="utf-8").count("\n") <= 600, path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno + 1 <= 80, f"{path.name}: {node.name}"


def test_the_median_file_is_short() -> None:
    assert statistics.median(len(p.read_text(encoding="utf-8").splitlines()) for p in FILES) <= 150


def test_no_file_is_a_drawer_for_everything() -> None:
    names = {part for path in FILES for part in path.relative_to(SOURCE).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "common", "misc", "tools", "registry"}


def test_entries_are_short() -> None:
    for path in ENTRIES:
        code = [
            n for n in ast.parse(path.read_text()).body if not isinstance(n, ast.Expr | ast.Import | ast.ImportFrom)
        ]
        assert sum(n.end_lineno - n.lineno + 1 for n in code if n.end_lineno) <= 15


SWALLOWING = {
    "compose._finish": "hands on what only a run knows to a partial of the configuration",
    "compose.make": "hands all keywords to hydra's instantiate",
    "ddp.launch": "hands on what Lightning calls it with",
    "modules.with_row_axis": "wraps a function of torchmetrics",
    "functional.check_positive": "one kind of value, all of them used",
}


def test_keyword_arguments_are_named() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg:
                assert f"{path.stem}.{node.name}" in SWALLOWING


def test_tracked_files_name_no_machine() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("this is no git checkout")
    # spelled in pieces, so that this file does not find itself
    forbidden = re.compile(
        r"/" + r"(work|home|root|Users|mnt)/\w|pypi\.\w+\.(?!org)|arti" + r"factory|(?<!=)\b10\.\d+\.\d+\.\d+"
    )
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in (".png", ".npy"):
            hits = [line for line in path.read_text(encoding="utf-8").splitlines() if forbidden.search(line)]
            assert not hits, (name, hits)
