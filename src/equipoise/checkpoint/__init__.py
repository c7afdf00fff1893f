"""Checkpoints of training: written so that it can be killed at any moment and go on to the same bits."""

from .asked import asked, refuse_change
from .keeper import Folder, Keeper, Stopped
from .series import Series, filled, named

__all__ = ["Folder", "Keeper", "Series", "Stopped", "asked", "filled", "named", "refuse_change"]
