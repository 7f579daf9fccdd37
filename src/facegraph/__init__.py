"""facegraph: facial landmark detection on PyTorch Lightning and Hydra."""

import os

__version__ = "0.2.0"

# albumentations asks the network for a newer version when it is imported; results must not depend on a connection
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
