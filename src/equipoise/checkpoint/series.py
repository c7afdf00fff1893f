"""Checkpoints: what a cohort is so far, in files that can be trusted after a kill at any moment.

A checkpoint is two files: tensors (safetensors), then a JSON with the position, the progress of the runs and SHA-256 of
both; it exists when its JSON does. The last two of a cohort are kept. Nothing in them is ever unpickled or run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .. import files
from ..errors import EquipoiseError

SCHEMA = 1
KEPT = 2  # checkpoints of one cohort


# --- trees as named tensors -------------------------------------------------------------------------------------------
def named(tree: Any) -> dict[str, Tensor]:
    """The tensors of nested dicts and lists by their paths."""
    return {pytree.keystr(path): v for path, v in pytree.tree_flatten_with_path(tree)[0]}


def filled(template: Any, tensors: dict[str, Tensor]) -> Any:
    """A tree like ``template`` that holds the tensors of its paths, on its devices; KeyError, ValueError where they do
    not fit. Their dtypes and layouts are kept: bits depend on both."""
    leaves, spec = pytree.tree_flatten_with_path(template)
    out = []
    for path, old in leaves:
        new = tensors[pytree.keystr(path)]
        if new.shape != old.shape:
            raise ValueError(f"{pytree.keystr(path)} has shape {tuple(new.shape)}, not {tuple(old.shape)}")
        out.append(new.to(old.device))
    return pytree.tree_unflatten(out, spec)


def _order(v: Tensor) -> list[int] | None:
    """The order of the axes in memory where it is not the usual one: sums over a transposed tensor round otherwise."""
    order = sorted(range(v.dim()), key=lambda i: -v.stride(i))
    return order if not v.is_contiguous() and v.permute(order).is_contiguous() else None


def _laid_out(v: Tensor, order: list[int] | None) -> Tensor:
    """A fresh (aligned) copy of a tensor with its axes in memory in this order."""
    if order is None:
        return v.clone()
    back = [order.index(i) for i in range(v.dim())]
    return v.permute(order).clone(memory_format=torch.contiguous_format).permute(back)


# --- one checkpoint ---------------------------------------------------------------------------------------------------
class Series:
    """The checkpoints of one cohort: ``folder/name-000001.json`` and ``….safetensors``, and so on."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def numbers(self) -> list[int]:
        """Numbers of the checkpoints that exist, ascending."""
        found = self.folder.glob(f"{self.name}-*.json")
        return sorted(int(n) for p in found if (n := p.stem.rpartition("-")[2]).isdigit())

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint, then drop those before the last two. ``state``: "tensors", and facts JSON can hold."""
        from safetensors.torch import save

        tensors = {k: v.detach().cpu() for k, v in state["tensors"].items()}
        number = max(self.numbers(), default=0) + 1
        content = save({k: v.contiguous().clone() for k, v in tensors.items()})
        body = {k: v for k, v in state.items() if k != "tensors"} | {
            "schema": SCHEMA,
            "tensors": hashlib.sha256(content).hexdigest(),
            "order": {k: order for k, v in tensors.items() if (order := _order(v)) is not None},
        }
        files.write_bytes(self._path(number, "safetensors"), lambda path: Path(path).write_bytes(content))
        write_signed(self._path(number, "json"), body)
        for old in self.numbers()[:-KEPT]:
            self._path(old, "json").unlink(missing_ok=True)
            self._path(old, "safetensors").unlink(missing_ok=True)

    def restore(self, accept: Callable[[dict[str, Any]], None]) -> list[str]:
        """Hand the newest whole checkpoint to ``accept``; what had to be passed over, one line each."""
        notes = []
        for number in reversed(self.numbers()):
            try:
                accept(self._read(number))
                break
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as e:
                why = " ".join(str(e).split())[:120]
                notes.append(f"checkpoint {number} is damaged ({why}): went on from what was kept before it.")
        return notes

    def _read(self, number: int) -> dict[str, Any]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        body = read_signed(self._path(number, "json"))
        if body["schema"] != SCHEMA:
            raise ValueError(f"schema {body['schema']}, this version reads {SCHEMA}")
        content = self._path(number, "safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != body["tensors"]:
            raise ValueError("the checksum of its tensors is wrong")
        try:
            tensors = load(content)
        except SafetensorError as e:
            raise ValueError(str(e)) from None
        return body | {"tensors": {k: _laid_out(v, body["order"].get(k)) for k, v in tensors.items()}}

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{self.name}-{number:06d}.{suffix}"


def write_signed(path: Path, body: dict[str, Any]) -> None:
    """JSON with its own SHA-256. Numbers come back exactly; NaN and infinities as Python's json writes them."""
    text = json.dumps(body, ensure_ascii=False)
    files.write_text(path, json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": body}))


def read_signed(path: Path) -> dict[str, Any]:
    """What `write_signed` wrote; ValueError where a byte of it changed."""
    held = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps(held["body"], ensure_ascii=False)
    if hashlib.sha256(text.encode()).hexdigest() != held["sha256"]:
        raise ValueError("its checksum is wrong")
    return held["body"]


@contextmanager
def writing(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Writing fails in one line: the disk is full, or the folder cannot be written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else " ".join(str(e).split())[:120]
        raise EquipoiseError(
            f"cannot write to {os.fspath(folder)} ({why}); all that was written before is intact: make room or make it "
            "writable, then resume."
        ) from e
