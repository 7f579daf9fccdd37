"""Faces in, batches out: sources, the training pipeline, splits and balancing."""
