"""Planar geometry of faces: 3x3 matrices named source_to_target, shapes aligned by similarity."""
