"""A preparation outside of any run: learned in float64 from some rows, applied to others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import equipoise as eq
from equipoise.data import Data
from equipoise.technique import Technique

F64 = torch.float64
NO_DATA = SimpleNamespace(task="classify", columns=None, name="arrays", kind="table")


def fitted(t: Technique, x: Any, y: Tensor | None = None, data: Any = NO_DATA) -> dict[str, Tensor]:
    return t.fit(x, torch.zeros(1) if y is None else y, data)


def prepared(t: Technique, x: Any, new: Any = None) -> Any:
    """``new`` (or ``x`` itself) prepared with what ``x`` taught, in float64 as inside a step."""
    new = x if new is None else new
    many = isinstance(new, tuple)
    as_float = [v.double() if v.is_floating_point() or v.dtype == torch.uint8 else v for v in (new if many else (new,))]
    return t.prepare(tuple(as_float) if many else as_float[0], fitted(t, x))


def check_predictions_read_prepared_rows(t: Technique, data: Data, **options: Any) -> Any:
    """In a real run the network reads what the preparation makes of raw rows: `predict` is softmax of `model` on it."""
    run = eq.train("mlp(hidden=(8,))", eq.Recipe(t, eq.techniques.SGD(1e-3)), data, epochs=1, **options)
    raw = data.select("test")[0]
    x = t.prepare(raw.float() if isinstance(raw, Tensor) else raw, run.const.fitted[t.key])
    with torch.no_grad():
        want = torch.softmax(run.model(x), -1)
    np.testing.assert_allclose(run.predict(raw), want, rtol=0, atol=1e-5)
    return run
