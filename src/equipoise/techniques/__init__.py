"""Every technique of the catalogue, by name: ``WeightDecay`` lives in ``techniques/<family>/weight_decay.py``.

Found by convention: a module in a family folder holds the class whose lower-case name is the module's name without
underscores. Nothing is listed by hand; nothing is imported before it is asked for.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import EquipoiseError, nearest

_HERE = Path(__file__).parent


@cache
def _modules() -> dict[str, str]:
    """Flattened name → module path; read from the folders, imports nothing."""
    files = sorted(_HERE.glob("[a-z]*/[a-z]*.py"))
    return {f.stem.replace("_", ""): f"{__name__}.{f.parent.name}.{f.stem}" for f in files}


@cache
def _load(flat: str) -> Any:
    module = import_module(_modules()[flat])
    return next(
        v for k, v in vars(module).items() if k.lower() == flat and getattr(v, "__module__", "") == module.__name__
    )


def find(name: str) -> Any:
    """The technique class of that name; an unknown one is refused with the nearest."""
    flat = name.lower()
    if flat in _modules() and (cls := _load(flat)).__name__ == name:
        return cls
    raise EquipoiseError(f"unknown technique {name!r}.{nearest(name, names())} `equipoise techniques` lists all.")


@cache
def names() -> tuple[str, ...]:
    """The names of all techniques, sorted (imports them)."""
    return tuple(sorted(_load(flat).__name__ for flat in _modules()))


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return find(name)
    except EquipoiseError as e:
        raise AttributeError(str(e)) from None


def __dir__() -> list[str]:
    return [*names(), "find", "names"]
