"""What a program started from here inherits of this process's environment."""

from __future__ import annotations

from collections.abc import Mapping

from facegraph.machine import orphan

# By these Lightning takes a process for one of several, facegraph joins another process's folder, or a seed is set.
# A launcher within an allocation of a cluster or under torchrun has them; its jobs are programs of their own.
_PROCESS_VARIABLES = (
    "LOCAL_RANK", "RANK", "GLOBAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK",
    "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "STANDALONE_PORT",
    "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "FACEGRAPH_OUTPUT_DIR", orphan.VARIABLE,
)  # fmt: skip
_PROCESS_PREFIXES = ("SLURM_", "TORCHELASTIC_")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would make a new program take itself for a part of another one's training."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _PROCESS_VARIABLES and not name.startswith(_PROCESS_PREFIXES)
    }
