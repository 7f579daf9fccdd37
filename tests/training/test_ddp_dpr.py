"""DPR on two processes: stage by stage, with weights that follow the errors of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from facegraph.records import RunResult
from tests.helpers.runs import ROOT, TinyRun, python, tiny_overrides
from tests.training.test_ddp import TWO

PHASES = (
    "callbacks=by_stage",
    "callbacks.stages.phases=[{share: 0.5, modules: [global_reinit], detach: true}, {share: 0.5, detach: false}]",
)


@pytest.mark.slow  # two processes import torch
def test_stage_by_stage_on_two_processes(tmp_path: Path) -> None:
    """Every parameter gets a gradient on both in every phase, or the exchange would stop."""
    folder = tmp_path / "run"
    model = ("model=dpr", "model.stages=gsr", "model.global_size=64", "normalise=signed", "loss=dpr_inverse")
    overrides = tiny_overrides(folder, *TWO, *model, *PHASES, "data.batch_size=4")
    done = python(ROOT / "train.py", *overrides, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert said.count("epoch 0, phase 1 of 2: training global_reinit; in every phase global_regression") == 1
    assert said.count("epoch 1, phase 2 of 2: training the whole model") == 1
    run = TinyRun(folder, RunResult.read(folder))
    assert run.result.protocol.test_faces == 9
    state = run.checkpoint()["state_dict"]
    assert state["criterion.global_weighting.error_sum"].min() > 0
    # every face has every landmark, so that all of them have been averaged over as many steps
    expected = 1 - 0.99**run.result.protocol.optimiser_steps
    assert state["criterion.global_weighting.weight_sum"].numpy() == pytest.approx(expected)
