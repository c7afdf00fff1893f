"""``Data``: the examples, their targets, and which rows may be used for what."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.data import inputs, roles, targets
from equipoise.data.load import load
from equipoise.data.raw import Raw
from equipoise.data.table import Column
from equipoise.errors import EquipoiseError

Inputs = Tensor | tuple[Tensor, ...]


class Data:
    """Examples as tensors in memory, their targets, and four disjoint roles of rows: fit, stop, assess, test.

    Values are stored as they came (``uint8`` images stay bytes); what a recipe prepares, it prepares itself, fitted on
    ``fit``. ``fit`` (60 %) trains, ``stop`` (10 %) steers, ``assess`` (15 %) judges, ``test`` (15 %) confirms; an
    official test set stays ``test`` and the rest is divided 70 : 12 : 18. Roles are drawn once, from ``seed``.

    Attributes (all to be read only):
        x: (N, ...) examples first, or a tuple of such tensors: float32 tables, images (N, C, H, W) in uint8 or float32,
            sequences (N, T, F) in float32 or int64 tokens (N, T).
        y: classes: int64 (N,) codes 0 ... C-1, -1 where the label is missing; regression: float32 (N, T) in the
            target's own units, NaN where missing. Rows with a missing target are in ``fit`` or in no role.
        weights: float32 (N,) for training, or None; scores are never weighted.
        classes: the labels in code order, or None.
        rows: role → sorted int64 row numbers.
        groups: a code (N,) per row, rows of one group being dependent and in one role, or None.
        columns: of a table, what each column holds: numbers or the codes of categories, NaN where missing.
        outputs: C, or the number of targets.
        preserves: transformations that keep the label of this data's examples, e.g. ``{"flip_horizontal"}``.
    """

    x: Inputs
    y: Tensor
    weights: Tensor | None
    task: str
    classes: tuple[Any, ...] | None
    rows: dict[str, Tensor]
    groups: np.ndarray[Any, np.dtype[Any]] | None
    name: str
    source: str
    kind: str
    preserves: frozenset[str]
    columns: tuple[Column, ...] | None
    target_names: tuple[str, ...]

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        task: str | None = None,
        split: roles.Split = None,
        groups: Any = None,
        weights: Any = None,
        seed: int = 0,
        name: str = "arrays",
        preserves: Iterable[str] = (),
        kind: str | Sequence[str] | None = None,
    ) -> None:
        """Takes numpy arrays, tensors, pandas frames and series, lists; ``x`` may be a tuple of several inputs.

        Args:
            task: ``"classify"`` or ``"regress"``; where not given, floats are regressed, anything else is a label.
            split: None, four fractions, ``"time"``, ``{"test": rows}``, or the rows of all four roles.
            groups: a label per row; rows of one group share a role. ``"duplicates"``: equal inputs are a group.
            weights: per row, or per class ``{label: weight}``, or ``"balanced"``.
            preserves: names of the transformations that keep labels.
            kind: ``"table"``, ``"image"`` or ``"sequence"`` where dtype and shape do not tell (a list for several).

        Raises:
            EquipoiseError: what came, the rule and the way out, in one line.
        """
        preserved = (preserves,) if isinstance(preserves, str) else tuple(preserves)
        raw = Raw(x, y, name, name, None, preserved, kind, groups, weights, fresh=False)
        self._fill(raw, task, split, seed)

    @classmethod
    def load(
        cls,
        spec: str | os.PathLike[str],
        *,
        target: Any = None,
        task: str | None = None,
        split: roles.Split = None,
        groups: Any = None,
        weights: Any = None,
        seed: int = 0,
        data_dir: Any = None,
        test: str | os.PathLike[str] | None = None,
    ) -> Data:
        """Data from a named set (``"digits"``), a ``.csv``, ``.tsv`` or ``.npz`` file, or idx files.

        ``target``: the name or number of a .csv file's target column (a list for several). ``groups`` and ``weights``
        may name columns, which then are no inputs. ``test``: a file with the official test rows. ``data_dir``: where
        mnist, fashion-mnist and cifar10 lie, besides ``EQUIPOISE_DATA``. The rest as in ``Data(...)``.
        """
        raw = load(spec, target=target, data_dir=data_dir, test=test, groups=groups, weights=weights)
        self = cls.__new__(cls)
        self._fill(raw, task, split, seed)
        return self

    def _fill(self, raw: Raw, task: str | None, split: roles.Split, seed: int) -> None:
        if not isinstance(seed, int | np.integer):
            raise EquipoiseError(f"seed={seed!r}: the data seed is a whole number")
        self.name, self.source, self.preserves = raw.name, raw.source, frozenset(raw.preserves)
        self.x, self.kind, self.columns = _read_inputs(raw)
        self.y, self.task, self.classes, self.target_names = targets.read(raw.y, task)
        lengths = {len(t) for t in self.inputs} | {len(self.y)}
        if len(lengths) > 1:
            came = ", ".join(f"x of {len(t)}" for t in self.inputs)
            raise EquipoiseError(f"{came} rows and y of {len(self.y)}: give one target per example")
        self.groups = _group_labels(raw.groups, self.inputs, self.n)
        self.rows = roles.draw(split, self.y, self.classes, groups=self.groups, official=raw.official, seed=int(seed))
        self.weights = targets.row_weights(raw.weights, self.y, self.classes, self.rows["fit"])

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """``x`` as a tuple, also where there is one input."""
        return self.x if isinstance(self.x, tuple) else (self.x,)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Shape of one example, without the row axis; one shape per input where there are several."""
        shapes = tuple(tuple(t.shape[1:]) for t in self.inputs)
        return shapes if isinstance(self.x, tuple) else shapes[0]

    @property
    def outputs(self) -> int:
        """Width of a network's output: the number of classes (two for binary), or of targets."""
        return self.y.shape[1] if self.classes is None else len(self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, hex, over dtype, shape and bytes of the inputs, of y, and of the weights where there are any."""
        digest = hashlib.sha256()
        for t in (*self.inputs, self.y, *(() if self.weights is None else (self.weights,))):
            digest.update(f"{t.dtype}{tuple(t.shape)}".encode())
            digest.update(t.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def ready(self, recipe: Iterable[object] = ()) -> None:
        """Raises EquipoiseError for what a network cannot read or be taught and no entry of the recipe takes care of.

        Categories and missing values of a table need ``Encode``; missing labels ``SemiSupervised``, missing numbers
        among the targets ``MultiTask``.
        """
        entries = {type(t).__name__ for t in recipe}
        if self.columns is not None and isinstance(self.x, Tensor) and "Encode" not in entries:
            why = inputs.unready(self.x, self.columns)
            if why is not None:
                raise EquipoiseError(f"{why}; a network reads finite numbers: add the entry Encode (--with Encode)")
        entry = "MultiTask" if self.classes is None else "SemiSupervised"
        why = targets.unready(self.y, self.target_names)
        if why is not None and entry not in entries:
            raise EquipoiseError(f"{why}; drop such rows, or add the entry {entry} (--with {entry})")

    def to(self, device: torch.device | str) -> Data:
        """The same data on a device, or this object where it is there already."""
        if self.y.device == torch.device(device):
            return self
        other = copy.copy(self)
        other.x = tuple(t.to(device) for t in self.x) if isinstance(self.x, tuple) else self.x.to(device)
        other.y, other.rows = self.y.to(device), {role: r.to(device) for role, r in self.rows.items()}
        other.weights = None if self.weights is None else self.weights.to(device)
        return other

    def select(self, role: str) -> tuple[Inputs, Tensor]:
        """The inputs and targets of one role, in row order."""
        if role not in self.rows:
            raise EquipoiseError(f"no role {role!r}: the roles are {', '.join(roles.ROLES)}")
        r = self.rows[role]
        x = tuple(t[r] for t in self.x) if isinstance(self.x, tuple) else self.x[r]
        return x, self.y[r]

    def groups_of(self, role: str) -> np.ndarray[Any, np.dtype[Any]] | None:
        """The group code of every row of a role, in row order; None where rows were not grouped."""
        return None if self.groups is None else self.groups[self.rows[role].cpu().numpy()]

    def with_rows(self, rows: Mapping[str, Any]) -> Data:
        """The same data with other rows for the roles named; a row may occur twice in a role (a bootstrap bag)."""
        kept = {role: r.cpu() for role, r in self.rows.items() if role not in rows}
        other = copy.copy(self)
        checked = roles.checked({**kept, **rows}, self.n, repeats=True)
        roles.refuse_unlabelled(checked, self.y)
        other.rows = {role: checked[role].to(self.y.device) for role in roles.ROLES}
        return other

    def split_dict(self) -> dict[str, list[int]]:
        """Role → row numbers as plain integers, for ``run.json``; ``split=`` takes it back."""
        return {role: r.tolist() for role, r in self.rows.items()}

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        shapes = ", ".join("×".join(map(str, t.shape[1:])) for t in self.inputs)
        goal = f"{self.outputs} {'target' if self.classes is None else 'classe'}{'s' if self.outputs > 1 else ''}"
        sizes = ", ".join(f"{role} {len(r)}" for role, r in self.rows.items())
        return f"Data({self.name!r}, {self.kind} {shapes}, {goal}, {sizes})"


def _read_inputs(raw: Raw) -> tuple[Inputs, str, tuple[Column, ...] | None]:
    if not isinstance(raw.x, tuple):
        return inputs.read(raw.x, raw.kind, raw.fresh)
    kinds = raw.kind if isinstance(raw.kind, list | tuple) else [raw.kind] * len(raw.x)
    if not raw.x or len(kinds) != len(raw.x):
        raise EquipoiseError(f"{len(raw.x)} inputs and {len(kinds)} kinds; give at least one input, one kind for each")
    read = [inputs.read(x, k, raw.fresh) for x, k in zip(raw.x, kinds, strict=True)]
    for i, (t, _, columns) in enumerate(read):
        why = None if columns is None else inputs.unready(t, columns)
        if why is not None:
            raise EquipoiseError(f"input {i}: {why}; several inputs are finite numbers, Encode is for a single table")
    return tuple(t for t, _, _ in read), read[0][1], None


def _group_labels(groups: Any, x: tuple[Tensor, ...], n: int) -> np.ndarray[Any, np.dtype[Any]] | None:
    """Groups as integer codes (n,)."""
    if groups is None:
        return None
    if isinstance(groups, str):
        if groups != "duplicates":
            raise EquipoiseError(f"groups={groups!r}: give a label per row or 'duplicates'; columns are for .csv files")
        flat = np.concatenate([t.reshape(n, -1).numpy().view(np.uint8).reshape(n, -1) for t in x], axis=1)
        rows = np.ascontiguousarray(flat).view(np.dtype((np.void, flat.shape[1])))[:, 0]
        return np.unique(rows, return_inverse=True)[1]
    import pandas as pd

    labels = np.asarray(groups.detach().cpu() if isinstance(groups, Tensor) else groups)
    if labels.shape != (n,):
        raise EquipoiseError(f"groups of shape {labels.shape} for {n} rows; give one label per row")
    codes = pd.factorize(labels)[0]
    if (codes < 0).any():
        raise EquipoiseError(f"groups: row {int((codes < 0).argmax())} has none; give one label per row")
    return codes
