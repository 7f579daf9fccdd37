"""Checks of a prepared store: counts, duplicates, leaks between splits, landmarks that cannot be right."""
