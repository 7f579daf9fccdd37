"""facegraph as a wheel lays it down: no checkout around it, conf/ and sweeps/ inside the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from facegraph.runs.configuration import project_root

ROOT = Path(__file__).parents[2]


def test_a_checkout_uses_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEGRAPH_ROOT", raising=False)
    assert project_root() == ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pyproject.toml puts into the wheel, unpacked."""
    folder = tmp_path_factory.mktemp("site")
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    for source, place in wheel["force-include"].items():
        shutil.copytree(ROOT / source, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def facegraph(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The console command in a process of its own, of the unpacked wheel."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FACEGRAPH_")}
    return subprocess.run(
        [sys.executable, "-m", "facegraph.cli", *words],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "train.epochs=3"), "there is no setting 'train.epochs'"),
        (("train", "loss=wings"), "Could not find 'loss/wings'"),
        (("eval", "run=nowhere"), "nowhere"),
    ],
)
def test_a_mistyped_setting_is_answered_without_torch(
    site: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "torch.py").write_text('raise SystemExit("torch was imported")\n')
    (stub / "facegraph").symlink_to(site / "facegraph")
    for name in os.listdir(site):
        if name != "facegraph":
            (stub / name).symlink_to(site / name)
    done = facegraph(stub, tmp_path, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "torch was imported" not in done.stderr
    assert os.listdir(tmp_path) == ["stub"]


@pytest.mark.slow
def test_it_trains_and_scores_outside_a_checkout(site: Path, tmp_path: Path) -> None:
    trained = facegraph(site, tmp_path, "train", "debug=fast", "output_dir=run")
    assert trained.returncode == 0, trained.stderr
    scored = facegraph(site, tmp_path, "eval", "run=run")
    assert scored.returncode == 0, scored.stderr
    assert len(list(tmp_path.glob("run/eval/*/*/result.json"))) == 1
