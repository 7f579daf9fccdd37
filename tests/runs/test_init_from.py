"""Training that starts from another run's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facegraph.errors import RunError
from facegraph.runs.compose import build_model
from facegraph.runs.folder import InitialWeights
from tests.helpers.models import face_statistics
from tests.helpers.runs import TinyRun, evaluate_run, resume, tiny_config, train_tiny

pytestmark = pytest.mark.runs


@pytest.mark.usefixtures("no_pictures")
def test_training_starts_where_the_other_run_ended(tiny_run: TinyRun, tmp_path: Path) -> None:
    still = ("optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1", "seed=5")
    new = train_tiny(tmp_path / "new", f"init_from={tiny_run.folder}", *still)
    before, after = (run.checkpoint()["state_dict"] for run in (tiny_run, new))
    weights = [n for n in before if n.endswith("weight") and "norm" not in n and "bn" not in n]
    assert len(weights) > 10
    assert all(torch.equal(before[name], after[name]) for name in weights)
    assert "init_from: /" in (tmp_path / "new" / "config.yaml").read_text()


def test_what_does_not_fit_is_named(tiny_run: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_model(tiny_config(tmp_path, "head=fc"), face_statistics(98))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    InitialWeights.read(tiny_run.folder).put_into(model)
    said = capsys.readouterr().out
    assert "new, as initialised: head.hidden.bias, head.hidden.weight, head.out.bias, head.out.weight" in said
    assert "left out: head." in said
    after = model.state_dict()
    assert torch.equal(before["head.out.weight"], after["head.out.weight"])
    backbone = [n for n in before if n.startswith("backbone.") and n.endswith("conv1.weight")]
    assert backbone
    assert not any(torch.equal(before[name], after[name]) for name in backbone)
    with pytest.raises(RunError, match="no weight fits this model"):
        InitialWeights.read(tiny_run.folder).put_into(torch.nn.Linear(3, 2))
    with pytest.raises(RunError, match=r"init_from=.* there is no .*last\.ckpt"):
        InitialWeights.read(tmp_path)


@pytest.mark.runs
@pytest.mark.usefixtures("no_pictures")
def test_a_graph_comes_along_whole_and_a_run_killed_at_once_starts_there_again(tmp_path: Path) -> None:
    """Edges of a static graph depend on the faces it was made from: weights belong to their own graph alone."""
    graph = ("head.edge_weights=binary", "head.symmetric=true", "trainer.max_epochs=1")
    source = train_tiny(tmp_path / "source", *graph)
    still = ("optimizer.lr=0", "optimizer.weight_decay=0", "dataset.seed=7", f"init_from={source.folder}")
    new = train_tiny(tmp_path / "new", *graph, *still)
    own, again = new.result.metrics["test"]["last"], evaluate_run(new.folder).metrics["test"]["last"]
    assert again["nme"] == pytest.approx(own["nme"], abs=1e-7)
    before, after = (run.checkpoint()["state_dict"] for run in (source, new))
    for name in ("model.mean_shape", "model.correlation", "model.head.mask"):
        assert torch.equal(before[name], after[name]), name
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "config.yaml").write_bytes((new.folder / "config.yaml").read_bytes())
    continued = resume(killed)
    weights = [n for n in before if n.endswith("weight") and before[n].ndim == 4]
    assert weights
    assert all(torch.equal(before[n], continued.checkpoint()["state_dict"][n]) for n in weights)
