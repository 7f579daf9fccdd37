"""Parametric faces with exact landmarks: a data set that needs no download and has no licence to mind."""

from facegraph.data.synthetic.dataset import SyntheticDataset, SyntheticSource, drawn_mean_shape

__all__ = ["SyntheticDataset", "SyntheticSource", "drawn_mean_shape"]
