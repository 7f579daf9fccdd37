"""FAN: stacked hourglasses and heatmaps, see README.md beside this file."""

from facegraph.models.fan.model import FAN
from facegraph.models.fan.released import read_released

__all__ = ["FAN", "read_released"]
