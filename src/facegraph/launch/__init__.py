"""From a table or a grid of settings to jobs, and from jobs to processes."""
