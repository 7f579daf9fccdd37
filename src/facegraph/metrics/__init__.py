"""Error measures of landmark detection: functional (numpy or torch, imports neither), modules (torchmetrics), names."""
