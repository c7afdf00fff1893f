"""Data: what is learned from, and which rows may be used for what."""

from equipoise.data.dataset import Data
from equipoise.data.roles import ROLES
from equipoise.data.table import Column

__all__ = ["Data", "Column", "ROLES"]
