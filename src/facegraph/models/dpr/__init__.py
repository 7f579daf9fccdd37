"""DPR: deep progressive reinitialisation. See README.md beside this file."""

from facegraph.models.dpr.released import ReleasedDPR, load_released, read_released

__all__ = ["ReleasedDPR", "load_released", "read_released"]
