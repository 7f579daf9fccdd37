"""What a sweep is: tables, jobs and their identity, states, failures. Plain files; neither torch nor Hydra."""
