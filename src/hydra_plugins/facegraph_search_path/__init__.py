"""facegraph's plug-ins on Hydra's search path; Hydra accepts such code from the package hydra_plugins alone."""
