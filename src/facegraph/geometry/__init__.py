"""Planar geometry of faces: matrices named source_to_target in numpy and tensors, points, sampling, aligned shapes."""
