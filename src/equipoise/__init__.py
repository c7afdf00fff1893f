"""Equipoise tells, on your data and with honest intervals, which neural-network training techniques pay.

    import equipoise as eq
    from equipoise import techniques as T

    run = eq.train("mlp", eq.Recipe(T.Dropout(0.3)), eq.Data.load("digits"), epochs=20)

The public names are those of ``__all__``. Each is imported when it is first used, so that ``import equipoise`` and
``equipoise --help`` start without torch.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers, which cannot see through __getattr__
    from . import techniques as techniques
    from .bias_variance import bias_variance as bias_variance
    from .combined import load as load
    from .data import Data as Data
    from .doctor import doctor as doctor
    from .plan import Options as Options
    from .pure import step as step
    from .recipe import Recipe as Recipe
    from .search import search as search
    from .study import study as study
    from .technique import Technique as Technique
    from .technique import knob as knob
    from .train import train as train
    from .training import train_many as train_many

__version__ = "0.1.0"

# Public name → the module that holds it; None: the name is itself a module.
_HOME: dict[str, str | None] = {
    "Recipe": "recipe",
    "Data": "data",
    "Options": "plan",
    "Technique": "technique",
    "knob": "technique",
    "techniques": None,
    "train": "train",
    "train_many": "training",
    "step": "pure",
    "study": "study",
    "doctor": "doctor",
    "search": "search",
    "bias_variance": "bias_variance",
    "load": "combined",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME[name]
    module = importlib.import_module(f"{__name__}.{home or name}")
    value = getattr(module, name) if home else module
    globals()[name] = value  # from now on found without coming here
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(types.ModuleType):
    """Some functions are named as the module they live in (train, step, study, …). The import system sets every
    submodule as an attribute of its package: not where a public function belongs (docs/decisions/0002)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, types.ModuleType) and _HOME.get(name) is not None):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
