"""hydra/sweeper=table: tables and combinations as jobs. Hydra imports this in every program: keep it light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class TableSweeper(Sweeper):
    """Hands a multirun to facegraph.launch.sweeper, which plans its jobs and runs each in a process of its own."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        from facegraph.launch.sweeper import run_sweep

        assert self.config is not None
        return run_sweep(arguments, self.config)
