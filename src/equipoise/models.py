"""The way from whatever names a model to a builder without arguments."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .errors import EquipoiseError, nearest
from .networks import Builder, build


def model_builder(model: str | nn.Module | Builder, shape: Sequence[int], outputs: int) -> tuple[Builder, bool]:
    """A builder without arguments for whatever names a model, and whether every run starts from the same weights.

    ``model``: ``"module:function"`` or ``"path/file.py:function"`` (the current directory is importable), a reference
    network (see `networks.build`), a builder without arguments, or an ``nn.Module``: every run gets a copy of it.
    Raises EquipoiseError in one line for everything that is none of these.
    """
    if isinstance(model, nn.Module):
        try:
            return partial(copy.deepcopy, copy.deepcopy(model)), True
        except Exception as e:
            raise EquipoiseError(
                f"this {type(model).__name__} cannot be copied ({_first_line(e)}): give a function that builds it."
            ) from e
    if isinstance(model, str):
        if not re.search(r"(:\w*|\.py)$", model):
            return build(model, shape, outputs), False
        builder, name = partial(_build_named, model), model
        _refuse_arguments(_named(model), name)
    elif callable(model):
        builder, name = model, getattr(model, "__qualname__", repr(model))
        _refuse_arguments(model, name)
    else:
        raise EquipoiseError(
            "a model is a reference network ('mlp'), module:function, a builder without arguments or an nn.Module, "
            f"not a {type(model).__name__}."
        )
    _refuse_no_module(builder, name)
    return builder, False


def _refuse_arguments(builder: Callable[..., Any], name: str) -> None:
    try:
        inspect.signature(builder).bind()
    except TypeError as e:
        raise EquipoiseError(
            f"{name} is not a builder: it is called without arguments ({e}). Wrap it, for example in a function."
        ) from None
    except ValueError:
        pass  # a callable written in C tells no signature; calling it will show


def _refuse_no_module(builder: Builder, name: str) -> None:
    with torch.random.fork_rng(devices=[]):  # the trial must not move the user's random numbers
        try:
            built = builder()
        except Exception as e:
            raise EquipoiseError(f"the builder {name} failed: {type(e).__name__}: {_first_line(e)}") from e
    if not isinstance(built, nn.Module):
        raise EquipoiseError(f"the builder {name} returned a {type(built).__name__}: it must return an nn.Module.")


def _first_line(e: BaseException) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0]


# --- module:function -------------------------------------------------------------------------------------------------
def _build_named(spec: str) -> nn.Module:
    """Look up and call: a builder made of the text alone can be sent to another process."""
    return _named(spec)()


def _named(spec: str) -> Callable[..., Any]:
    where, _, function = spec.rpartition(":")
    if not where or not function.isidentifier():
        raise EquipoiseError(
            f"--model {spec}: name the function that builds it, module:function or path/file.py:function."
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file here must not stand in for an installed package
    module = _file_module(Path(where)) if where.endswith(".py") else _module(where)
    if not callable(found := getattr(module, function, None)):
        defined = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        origin = getattr(module, "__file__", None) or where
        raise EquipoiseError(f"{origin} has no function {function!r}.{nearest(function, defined)}")
    return found


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and (name == e.name or name.startswith(f"{e.name}.")):
            raise EquipoiseError(
                f"no module {name!r}, installed or in {os.getcwd()}: give module:function or path/file.py:function."
            ) from None
        raise EquipoiseError(f"cannot import {name}: {_first_line(e)}") from e
    except Exception as e:
        raise EquipoiseError(f"cannot import {name}: {type(e).__name__}: {_first_line(e)}") from e


def _file_module(path: Path) -> ModuleType:
    """The module of a file, imported once under a name of its own."""
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise EquipoiseError(f"no file {path}: give path/file.py:function, from {os.getcwd()} or in full.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[name]
        raise EquipoiseError(f"cannot import {path}: {type(e).__name__}: {_first_line(e)}") from e
    return module
