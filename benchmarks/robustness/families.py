"""The families of cases: what each draws, and what it does with it. A case ends in "done" or "refused", or it fails."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import odd
import strategies as S
import torch
from harness import OPTIONS, SMALL, attempt, command, folder, trained_or_absent
from hypothesis import strategies as st
from stores import read_store, store_case
from torch import nn
from written import before, folder_case, inputs_case, predict_inputs, use_folder

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.recipe import Recipe, parse, resolve


class Family(NamedTuple):
    """``share``: of all cases."""

    strategy: Any
    run: Callable[[Any], str]
    share: float


# --- recipes and knobs ------------------------------------------------------------------------------------------------
def read_entry(text: str) -> str:
    return attempt(lambda: resolve([parse(text)], "classify"))


def read_recipe(content: bytes) -> str:
    def read() -> None:
        again = Recipe.from_yaml(content.decode("utf-8", "replace"))
        assert Recipe.from_yaml(again.to_yaml()) == again
        resolve(again, "regress")

    return attempt(read)


@cache
def sets() -> list[tuple[Data, Any]]:
    """Small data of every kind, each with a network for it."""
    g = torch.Generator().manual_seed(0)
    table, y = torch.randn(40, 3, generator=g), torch.arange(40) % 2
    images = torch.rand(40, 1, 8, 8, generator=g)
    conv = lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2))  # noqa: E731
    return [
        (Data(table, y), "mlp(hidden=(4, 4))"), (Data(table, table[:, :2], task="regress"), "mlp(hidden=(4, 4))"),
        (Data(images, y, preserves=("flip_horizontal", "flip_vertical")), conv),
        (Data(torch.randn(40, 5, 3, generator=g), y, kind="sequence"), Recurrent),
    ]  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.rnn(x)[0][:, -1])


def train_recipe(case: tuple[list[tuple[str, dict[str, Any]]], int, int]) -> str:
    chosen, which, batch = case
    data, model = sets()[which]

    def train() -> None:
        recipe = Recipe(*(T.find(name)(**fields) for name, fields in chosen))
        eq.train(model, recipe, data, epochs=1, batch_size=batch, options=OPTIONS)

    return attempt(train)


# --- arrays and networks ----------------------------------------------------------------------------------------------
@st.composite
def array_case(draw: Any) -> tuple[Any, ...]:
    rows = draw(S.usually(30, 12, 5, 2, 1))
    how = {
        "task": draw(S.usually(None, "classify", "regress", "cluster")),
        "split": draw(S.usually(None, (0.6, 0.1, 0.15, 0.15), (1, 0, 0, 0), "time", (0.5, 0.5), "x", 3)),
        "groups": draw(S.usually(None, "duplicates", np.arange(rows) // 2, [0], "x")),
        "weights": draw(S.usually(None, "balanced", np.ones(rows), -np.ones(rows), {0: 1.0}, "x")),
    }
    entries = draw(S.usually([], ["Encode"], ["SemiSupervised"], ["MultiTask"], ["Whiten"], ["MinMax"]))
    return draw(S.arrays(rows)), draw(S.labels(rows)), how, entries, draw(st.sampled_from([64, 7, 1]))


def train_arrays(case: tuple[Any, ...]) -> str:
    x, y, how, entries, batch = case

    def train() -> None:
        recipe = Recipe(*(T.find(n)() for n in entries))
        data = Data(x, y, **{k: v for k, v in how.items() if v is not None})
        eq.train("mlp(hidden=(2,))", recipe, data, epochs=1, batch_size=batch, options=OPTIONS).predict(x)

    return attempt(train)


@st.composite
def network_case(draw: Any) -> tuple[Any, ...]:
    return draw(odd.plans), draw(S.usually(1, 2)), draw(S.mostly(st.just([]), S.entries, 60)), draw(st.booleans())


def train_network(case: tuple[Any, ...]) -> str:
    plan, inputs, chosen, built = case
    x = sets()[0][0].x
    data = Data(x if inputs == 1 else (x, x), sets()[0][0].y)

    def train() -> None:
        model = (lambda: odd.Odd(plan)) if built else odd.Odd(plan)
        recipe = Recipe(*(T.find(name)(**fields) for name, fields in chosen))
        run = eq.train(model, recipe, data, epochs=1, batch_size=16, options=OPTIONS)
        assert np.isfinite(run.predict(data.x)).all() and run.model is not None

    return attempt(train)


# --- files ------------------------------------------------------------------------------------------------------------
@st.composite
def table_case(draw: Any) -> tuple[bytes, list[str]]:
    flags = ["--target", draw(S.usually("t", "a", "b", "0", "-1", "9", "a,b", "", "zz"))]
    flags += draw(S.usually([], ["--task", "classify"], ["--task", "regress"]))
    flags += draw(S.usually(["--with", "Encode"], [], ["--with", "SemiSupervised"]))
    flags += draw(S.usually([], ["--split", "time"], ["--groups", "b"], ["--groups", "duplicates"]))
    return draw(S.csv_bytes()), flags


def train_file(content: bytes, name: str, flags: list[str], beside: dict[str, bytes]) -> str:
    with folder() as path:
        (path / name).write_bytes(content)
        for other, held in beside.items():
            (path / other).write_bytes(held)
        told = command("train", str(path / name), *SMALL, "--out", str(path / "out"), *flags)
        trained_or_absent(path / "out", told)
    return told


def _idx(a: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape) + a.astype(np.uint8).tobytes()


@cache
def whole_files() -> dict[str, bytes]:
    g = np.random.default_rng(0)
    pixels, digits = g.integers(0, 256, (30, 2, 2)), np.arange(30) % 3
    return {
        "a.npz": S.npz_bytes(x=g.normal(size=(30, 3)), y=digits), "a-images-idx3-ubyte": _idx(pixels),
        "a-images-idx3-ubyte.gz": gzip.compress(_idx(pixels), mtime=0), "a-labels-idx1-ubyte": _idx(digits),
        "objects.npz": S.npz_bytes(x=np.array([[1, "a"], [None, 2]] * 15, object), y=digits),
        "more.npz": S.npz_bytes(x=g.normal(size=(30, 3)), y=digits, z=digits), "one.npz": S.npz_bytes(a=digits),
    }  # fmt: skip


@st.composite
def binary_case(draw: Any) -> tuple[str, bytes, dict[str, bytes]]:
    name = draw(st.sampled_from(sorted(whole_files())))
    content, labels = whole_files()[name], whole_files()["a-labels-idx1-ubyte"]
    content = draw(S.spliced(content) | st.just(content))
    if draw(S.usually(False, True)):
        labels = draw(S.spliced(labels))
    return name, content, {} if "labels" in name or draw(S.usually(False, True)) else {"a-labels-idx1-ubyte": labels}


# --- flags ------------------------------------------------------------------------------------------------------------
VALUES = [
    "0",
    "1",
    "-1",
    "2",
    "nan",
    "1e9",
    "",
    "x",
    "auto",
    "time",
    ".6,.1,.15,.15",
    "1,2,3,4",
    "all",
    "mlp",
    "cnn(1)",
]
FLAGS = [
    "--model", "--recipe", "--with", "--without", "--batch-size", "--seed", "--split-seed", "--target", "--task",
    "--test", "--split", "--groups", "--metric", "--device", "--precision", "--threads", "--data-dir", "--steps",
    "--smallest", "--lr", "--techniques", "--nonsense",
]  # fmt: skip


@st.composite
def flags_case(draw: Any) -> list[str]:
    verb = draw(st.sampled_from(["train", "train", "recipe", "recipe", "doctor", "study", "techniques", "fit"]))
    value = st.sampled_from(VALUES) | S.entry_text() | st.text(max_size=5)
    pairs = draw(st.lists(st.tuples(st.sampled_from(FLAGS), value), max_size=2))
    first = draw(st.sampled_from(["DATA", "DATA", "DATA", "digits.csv", "RUN", ""]))
    bare = draw(st.lists(st.sampled_from(["--json", "--resume", "--overwrite", "--no-trade"]), max_size=1))
    return [verb, first, *(v for p in pairs for v in p), *bare]


def give_flags(case: list[str]) -> str:
    verb, first, *rest = case
    with folder() as path:
        known = {"DATA": before() / "a.csv", "RUN": before() / "run"}
        own = ["--target", "t"] if "--target" not in rest and verb != "techniques" else []
        own += {
            "train": [*SMALL, "--out", str(path / "out")], "doctor": ["--steps", "2", "--quiet"],
            "study": ["--plan", "--epochs", "1", "--model", "mlp(hidden=(2,))", "--quiet", "--out", str(path / "out")],
        }.get(verb, [])  # fmt: skip
        own = own if "--model" not in rest else [v for v in own if v not in ("--model", "mlp(hidden=(2,))")]
        return command(verb, str(known.get(first, first)), *own, *rest)


FAMILIES = {
    "entries": Family(S.entry_text(), read_entry, 0.25),
    "recipe files": Family(S.recipe_bytes(), read_recipe, 0.15),
    "knobs": Family(st.tuples(S.entries, st.integers(0, 3), st.sampled_from([16, 64, 5])), train_recipe, 0.08),
    "arrays": Family(array_case(), train_arrays, 0.15),
    "networks": Family(network_case(), train_network, 0.06),
    "tables": Family(table_case(), lambda c: train_file(c[0], "a.csv", c[1], {}), 0.1),
    "binary files": Family(binary_case(), lambda c: train_file(c[1], c[0], [], c[2]), 0.06),
    "run folders": Family(st.deferred(lambda: folder_case("run")), use_folder, 0.05),
    "checkpoints": Family(st.deferred(lambda: folder_case("stopped")), use_folder, 0.02),
    "prediction inputs": Family(inputs_case(), predict_inputs, 0.03),
    "flags": Family(flags_case(), give_flags, 0.03),
    "study stores": Family(st.deferred(store_case), read_store, 0.02),
}
assert abs(sum(f.share for f in FAMILIES.values()) - 1) < 1e-9
