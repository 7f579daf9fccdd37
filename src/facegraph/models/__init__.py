"""Alignment models: image in, LandmarkOutput out. One paper, one folder; no paper imports another."""
