"""facegraph's plugins for Hydra, which accepts them from the package hydra_plugins alone."""
