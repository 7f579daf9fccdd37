"""Between landmarks and heatmaps."""
