"""hydra/launcher=slurm: jobs on a cluster. Hydra imports this in every program, also where submitit is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher

try:
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
except ImportError:
    SlurmQueueConf = dict

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

# under a name of our own: without the plugin conf/hydra/launcher/slurm.yaml still composes, and launch() says why not
ConfigStore.instance().store(group="hydra/launcher", name="slurm_settings", node=SlurmQueueConf())


class SlurmLauncher(Launcher):
    """Settings of conf/hydra/launcher/slurm.yaml for facegraph.launch.slurm.SlurmLauncher.

    They are those of another package, whose schema has checked them, hence all keywords.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._sweep = Path()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._sweep = Path(str(config.hydra.sweep.dir))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Ends the program with a message where nothing could be submitted."""
        from facegraph.errors import FacegraphError
        from facegraph.launch.slurm import SlurmLauncher as Submitting

        try:
            return Submitting(self._sweep, self._settings).launch(job_overrides)
        except FacegraphError as error:
            sys.exit(f"error: {error}")
