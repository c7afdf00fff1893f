"""Sites: the affine maps of any `nn.Module`, where techniques act, and the way back to the user's plain network."""

from .fold import fold
from .network import Network
from .site import Residual, Site

__all__ = ["Network", "Residual", "Site", "fold"]
