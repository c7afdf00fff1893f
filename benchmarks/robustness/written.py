"""Cases on what was written before: a damaged folder of a run or of a stopped training, and files to predict from."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import strategies as S
from harness import OPTIONS, SMALL, attempt, command, folder
from hypothesis import strategies as st

import equipoise as eq
from equipoise import techniques as T
from equipoise.checkpoint import Folder, Stopped
from equipoise.checkpoint.series import read_signed, write_signed
from equipoise.data import Data


@cache
def before() -> Path:
    """A finished run, a data file, and the checkpoints of a run that was stopped."""
    path = Path(tempfile.mkdtemp(prefix="fuzz-before-"))
    atexit.register(shutil.rmtree, path, True)
    g = np.random.default_rng(0)
    rows = [f"{v[0]:.3f},{v[1]:.3f},{v[2]:.3f},{'yes' if v[0] > 0 else 'no'}" for v in g.normal(size=(40, 3))]
    (path / "a.csv").write_text("a,b,c,t\n" + "\n".join(rows), encoding="utf-8")
    command("train", str(path / "a.csv"), "--target", "t", *SMALL, "--with", "EMA", "--out", str(path / "run"))
    waiting = Folder.waiting
    Folder.waiting = lambda self: bool(waiting(self) or self._stop(2, None))  # type: ignore[method-assign]
    try:
        eq.train(
            "mlp(hidden=(2,))", [T.EMA()], stored(path), epochs=2, batch_size=8, out=path / "stopped", options=OPTIONS
        )
    except Stopped:
        pass
    finally:
        Folder.waiting = waiting  # type: ignore[method-assign]
    return path


def stored(path: Path) -> Data:
    return Data.load(path / "a.csv", target="t")


@st.composite
def folder_case(draw: Any, which: str) -> tuple[str, str, bytes | None]:
    """(folder, file in it, its new content or None where it is gone)."""
    files = sorted(p.relative_to(before() / which) for p in (before() / which).rglob("*") if p.is_file())
    name = draw(st.sampled_from([str(f) for f in files]))
    content = (before() / which / name).read_bytes()
    if draw(st.integers(0, 9)) == 0:
        return which, name, None
    if draw(st.booleans()):
        return which, name, draw(S.spliced(content))
    return which, name, draw(_structured(name, content))


@st.composite
def _structured(draw: Any, name: str, content: bytes) -> bytes:
    """JSON and the heads of safetensors changed as whole values; signatures made right again."""
    if name.endswith(".json"):
        value = json.loads(content)
        if set(value) == {"sha256", "body"}:
            with folder() as path:
                write_signed(path / "a.json", draw(S.mutated(value["body"])))
                return (path / "a.json").read_bytes()
        return json.dumps(draw(S.mutated(value))).encode()
    if name.endswith(".safetensors"):
        (n,) = struct.unpack("<Q", content[:8])
        head = json.dumps(draw(S.mutated(json.loads(content[8 : 8 + n])))).encode()
        return struct.pack("<Q", len(head)) + head + content[8 + n :]
    return draw(S.recipe_bytes())


def use_folder(case: tuple[str, str, bytes | None]) -> str:
    which, name, content = case
    with folder() as path:
        out = path / "out"
        shutil.copytree(before() / which, out)
        if content is None:
            (out / name).unlink()
        else:
            (out / name).write_bytes(content)
        if which == "stopped":
            if name.endswith(".safetensors"):  # with the checksum of what is there now
                signed = (out / name).with_suffix(".json")
                body = read_signed(signed)
                digest = hashlib.sha256(content or b"").hexdigest()
                write_signed(signed, {**body, "tensors": digest})
            how: dict[str, Any] = {"epochs": 2, "batch_size": 8, "out": out, "resume": True, "options": OPTIONS}
            return attempt(lambda: eq.train("mlp(hidden=(2,))", [T.EMA()], stored(before()), **how))
        data = str(before() / "a.csv")
        command("train", data, "--target", "t", *SMALL, "--with", "EMA", "--out", str(out), "--resume")
        return command("predict", str(out), data)


@st.composite
def inputs_case(draw: Any) -> tuple[str, bytes]:
    if draw(st.booleans()):
        return "in.csv", draw(S.csv_bytes())
    try:
        content = S.npz_bytes(**{draw(st.sampled_from(["x", "y"])): np.asarray(draw(S.arrays(5)), dtype=None)})
    except (ValueError, TypeError):
        content = b"PK"
    return draw(st.sampled_from(["in.npz", "in.npz", "in.txt"])), draw(st.just(content) | S.spliced(content))


def predict_inputs(case: tuple[str, bytes]) -> str:
    with folder() as path:
        (path / case[0]).write_bytes(case[1])
        return command("predict", str(before() / "run"), str(path / case[0]), "--out", str(path / "p.csv"))
