"""Measurements of speed and memory that a user can repeat on his own machine."""
