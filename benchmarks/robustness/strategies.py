"""Hypothesis strategies: recipes, knobs, arrays, tables, damaged bytes and JSON, networks, flags."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from equipoise import techniques as T

NAMES = T.names()
junk_text = st.text(max_size=8) | st.sampled_from(["", "all", "nan", "None", "0", "-1", "__class__", "ε", "a" * 300])
junk_number = st.sampled_from([0, 1, -1, 0.5, 2, 1e-300, 1e300, -0.0, math.nan, math.inf, -math.inf, 10**30, True])
junk = st.recursive(
    st.none() | junk_number | st.floats() | st.integers() | junk_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(junk_text, inner, max_size=2) | st.tuples(inner),
    max_leaves=4,
)


@st.composite
def mostly(draw: Any, usual: Any, rare: Any, per_cent: int = 88) -> Any:
    """One of two strategies; hypothesis itself would take each equally often."""
    return draw(usual if draw(st.integers(0, 99)) < per_cent else rare)


def usually(value: Any, *others: Any) -> Any:
    return mostly(st.just(value), st.sampled_from(others))


# --- recipes ----------------------------------------------------------------------------------------------------------
@st.composite
def fields(draw: Any, name: str, wild: int = 1) -> dict[str, Any]:
    """Knobs mostly inside of their range, options mostly among their choices; the rest is junk."""
    out: dict[str, Any] = {}
    for f in T.find(name).fields():
        if draw(st.integers(0, 9)) < 6:
            continue
        if draw(st.integers(1, 99)) > 100 - 5 * wild:
            out[f.name] = draw(junk)
        elif f.metadata["knob"]:
            low, high = f.metadata["low"], f.metadata["high"]
            low, high = (v if math.isfinite(v) else None for v in (low, high))
            out[f.name] = draw(st.floats(low, high, allow_nan=False, allow_infinity=False))
        elif f.metadata["choices"]:
            out[f.name] = draw(st.sampled_from(f.metadata["choices"]))
        else:
            near = [f.default, 0, 1, 2, 3, 0.5, -1, "all", (1,), (0, 1), "dense", None, True]
            out[f.name] = draw(st.sampled_from(near))
    return out


names = st.sampled_from(NAMES)
entries = st.lists(names.flatmap(lambda n: st.tuples(st.just(n), fields(n))), min_size=1, max_size=3)


@st.composite
def entry_text(draw: Any) -> str:
    """What stands behind --with: an entry, nearly one, or anything."""
    name = draw(mostly(names, names.map(lambda n: n[:-1]) | names.map(str.lower) | junk_text, 75))
    if name not in NAMES and draw(st.booleans()):
        return draw(st.text(max_size=20))
    values = draw(fields(name, 2)) if name in NAMES else draw(st.dictionaries(junk_text, junk, max_size=2))
    text = f"{name}({', '.join(f'{k}={v!r}' for k, v in values.items())})"
    return draw(mostly(st.just(text), spliced(text.encode()).map(lambda b: b.decode("utf-8", "replace")), 70))


@st.composite
def recipe_bytes(draw: Any) -> bytes:
    """recipe.yaml: a list of entries, other YAML, or damaged."""
    import yaml

    def one(n: str) -> Any:
        return st.just(n) | fields(n).map(lambda f: {n: f}) | junk

    body = draw(st.lists(names.flatmap(one), max_size=4) | junk)
    try:
        text = yaml.safe_dump(body, allow_unicode=True).encode("utf-8", "replace")
    except (yaml.YAMLError, UnicodeError):
        text = repr(body).encode("utf-8", "replace")
    tags = [
        b"",
        b"!!python/object/apply:os.system ['true']\n",
        b"&a [*a]\n",
        b"%YAML 9\n",
        b"--- 1\n--- 2\n",
        b"[" * 1200,
    ]
    return draw(mostly(st.just(text), spliced(text) | st.sampled_from(tags).map(lambda t: t + text), 50))


# --- bytes ------------------------------------------------------------------------------------------------------------
@st.composite
def spliced(draw: Any, content: bytes) -> bytes:
    """Some bytes of it replaced, put in, cut out; often cut off."""
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(out)))
        cut = draw(st.sampled_from([0, 1, 2, 8, 64]) | st.just(len(out)))
        out[at : at + cut] = draw(st.binary(max_size=6) | st.sampled_from([b"\0", b"\xff\xfe", b'"', b"\n", b"9" * 20]))
    return bytes(out)


@st.composite
def mutated(draw: Any, value: Any) -> Any:
    """A JSON value with one place changed, taken out, or put in."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        how = draw(st.sampled_from(["deeper", "deeper", "deeper", "drop", "rename"]))
        rest = {k: v for k, v in value.items() if k != key}
        if how == "drop":
            return rest
        return {**rest, key + "x": value[key]} if how == "rename" else {**rest, key: draw(mutated(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], *([draw(mutated(value[i]))] if draw(st.integers(0, 4)) else []), *value[i + 1 :]]
    if isinstance(value, str) and draw(st.booleans()):
        return draw(spliced(value.encode())).decode("utf-8", "replace")
    return draw(junk.filter(_json_able))


def _json_able(value: Any) -> bool:
    try:
        return bool(json.dumps(value).encode())
    except (TypeError, ValueError):
        return False


# --- arrays -----------------------------------------------------------------------------------------------------------
VALUES = {
    "normal": lambda g, s: g.normal(size=s), "constant": lambda g, s: np.full(s, 2.0),
    "huge": lambda g, s: g.normal(size=s) * 1e300, "large": lambda g, s: g.normal(size=s) * 1e38,
    "tiny": lambda g, s: g.normal(size=s) * 1e-300, "small": lambda g, s: g.normal(size=s) * 1e-40,
    "whole": lambda g, s: g.integers(0, 3, size=s), "bytes": lambda g, s: g.integers(0, 256, size=s),
    "mixed": lambda g, s: g.normal(size=s) * 10.0 ** g.integers(-30, 30, size=s),
}  # fmt: skip
DTYPES = ["f4", "f8", "f2", "i8", "u1", "?", "O", "U8", "S4", "c8", "M8[s]", "m8[s]", "u8", ">f4"]


@st.composite
def arrays(draw: Any, rows: int) -> Any:
    """Inputs of nearly so many rows: any dtype, form and kind of value, whole or with holes."""
    g = np.random.default_rng(draw(st.integers(0, 5)))
    n = draw(usually(rows, 0, 1, rows + 1))
    shape = (n, *draw(usually((3,), (1,), (0,), (), (1, 4, 4), (5, 3), (2, 1, 2, 2))))
    v: Any = VALUES[draw(st.sampled_from(sorted(VALUES)))](g, shape)
    if v.dtype.kind == "f" and v.size and draw(st.integers(0, 3)) == 3:
        holes = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        v.flat[draw(st.integers(0, v.size - 1))] = holes
    with np.errstate(all="ignore"):
        v = v.astype(draw(mostly(st.sampled_from(DTYPES[:2]), st.sampled_from(DTYPES), 70)))
    if v.dtype == object and v.size:
        v.flat[0] = draw(st.sampled_from([None, "a", 1, [1], {}, math.nan, b"x"]))
    return draw(mostly(st.just(FORMS[0]), st.sampled_from(FORMS), 50))(v)


def _tensor(v: Any) -> Any:
    try:
        return torch.as_tensor(v.copy())
    except (TypeError, ValueError):
        return v


def _frame(v: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(v) if v.ndim == 2 else v


FORMS = [lambda v: v, _tensor, _frame, lambda v: v.tolist(), lambda v: (v, v), lambda v: [v, v]]
LABELS = ["whole", "text", "floats", "one", "none", "bools", "several", "objects", "missing", "huge", "columns"]


@st.composite
def labels(draw: Any, rows: int) -> Any:
    g = np.random.default_rng(draw(st.integers(0, 5)))
    n = draw(usually(rows, 0, 1, rows + 1))
    missing = np.where(np.arange(n) % 5 == 0, np.nan, g.integers(0, 2, n).astype(float))
    return {
        "whole": g.integers(0, 3, n), "text": np.array(["no", "yes", "ä"])[g.integers(0, 3, n)],
        "floats": g.normal(size=n), "one": np.zeros(n, int), "none": None, "bools": g.integers(0, 2, n) > 0,
        "several": g.normal(size=(n, 2)), "objects": [None, "a", 1, 2.5, True][:n] * (n // 5 + 1),
        "missing": missing, "huge": g.normal(size=n) * 1e300, "columns": g.integers(0, 2, (n, 3)),
    }[draw(mostly(st.sampled_from(LABELS[:3]), st.sampled_from(LABELS), 60))]  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------------------
MISSING = ["", "?", "NA", "nan", "null", "-", "None", " "]


@st.composite
def columns(draw: Any, rows: int) -> list[str]:
    kind = draw(
        st.sampled_from(
            ["number", "number", "whole", "whole", "text", "text", "mixed", "constant", "wide", "dates", "quotes"]
        )
    )
    g = np.random.default_rng(draw(st.integers(0, 9)))
    cells = {
        "number": [f"{v:.3f}" for v in g.normal(size=rows)], "whole": [str(v) for v in g.integers(0, 3, rows)],
        "text": [["a", "b", "c"][v] for v in g.integers(0, 3, rows)], "constant": ["1"] * rows,
        "mixed": [["1", "x", "2.5", "1e400", "inf"][v] for v in g.integers(0, 5, rows)],
        "wide": [f"{v:e}" for v in g.normal(size=rows) * 10.0 ** g.integers(-300, 300, rows)],
        "dates": [f"2026-01-{v:02d}" for v in g.integers(1, 29, rows)],
        "quotes": [['"a,b"', '"a""b"', "'", "a\\"][v] for v in g.integers(0, 4, rows)],
    }[kind]  # fmt: skip
    if draw(usually(False, True)):
        code = draw(st.sampled_from(MISSING))
        cells = [code if v < 0.3 else c for c, v in zip(cells, g.random(rows), strict=True)]
    return cells


@st.composite
def csv_bytes(draw: Any) -> bytes:
    """A table as text, sometimes damaged."""
    rows = draw(usually(30, 12, 5, 2, 1, 0))
    held = draw(st.lists(columns(rows), min_size=draw(usually(2, 1)), max_size=4))
    sep, end = draw(usually(",", ";", "\t", "|", ", ")), draw(usually("\n", "\r\n", "\r"))
    known = st.sampled_from(["a", "b", "c", "t", "", "1", "0", "a"]) | st.text(max_size=4)
    usual = st.just(["t", "a", "b", "c"][: len(held)])
    head = draw(mostly(usual, st.lists(known, min_size=len(held), max_size=len(held))))
    lines = [sep.join(head)] if draw(usually(True, False)) else []
    lines += [sep.join(row) for row in zip(*held, strict=True)]
    code = draw(usually("utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"))
    content = (end.join(lines) + draw(st.sampled_from(["", end, end * 3]))).encode(code, "replace")
    return draw(mostly(st.just(content), spliced(content), 70))


def npz_bytes(**held: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **held)
    return out.getvalue()
