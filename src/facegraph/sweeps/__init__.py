"""What a sweep is: tables, jobs and their identity, states and failures. Plain files and values; neither torch nor Hydra."""
