"""The plugin: importing it fills the registries that the configs name."""

import importlib.machinery
import sys
import types

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):  # none fits this torch; mmcv imports it, and wants only its version
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    sys.modules["torchvision"].__version__ = "0.0.0"
    sys.modules["torchvision"].__spec__ = importlib.machinery.ModuleSpec("torchvision", None)

from . import detector, evaluation, loader, scenes

__all__ = ["detector", "evaluation", "loader", "scenes"]
