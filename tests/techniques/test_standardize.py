"""Standardize against scikit-learn and NumPy, on every kind of input; published means of MNIST; its need of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data

from ..preparing import F64, fitted, prepared


def random(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2)) * scale + shift


def test_a_table_as_scikit_learn_does() -> None:
    x = random(300, 5) * torch.tensor([1.0, 100.0, 1e-3, 7.0, 1.0]) + torch.tensor([0.0, 1e4, 5.0, -3.0, 1e3])
    new = random(50, 5, scale=3)
    reference = StandardScaler().fit(x.double().numpy())
    learned = fitted(T.Standardize(), x)
    np.testing.assert_allclose(learned["mean0"], reference.mean_, rtol=1e-12)
    np.testing.assert_allclose(learned["std0"], reference.scale_, rtol=1e-9)
    got = T.Standardize().prepare(new.double(), learned)
    np.testing.assert_allclose(got, reference.transform(new.double().numpy()), rtol=1e-9)


@pytest.mark.parametrize(
    ("x", "over"),
    [
        (random(60, 3, 5, 4, scale=4, shift=9), (0, 2, 3)),
        (torch.randint(0, 256, (60, 3, 5, 4), dtype=torch.uint8), (0, 2, 3)),
        (random(20, 2, 3, 4, 5, scale=4, shift=9), (0, 2, 3, 4)),
        (random(60, 7, 3, scale=4, shift=9), (0, 1)),
    ],
    ids=["images", "bytes", "volumes", "sequences"],
)
def test_axes(x: Tensor, over: tuple[int, ...]) -> None:
    a = x.double().numpy()
    want = (a - a.mean(over, keepdims=True)) / a.std(over, keepdims=True)
    np.testing.assert_allclose(prepared(T.Standardize(), x), want, rtol=1e-9, atol=1e-9)


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from equipoise.techniques.preparation import _numbers

    x = random(101, 3, 4, 4, scale=2, shift=1e3)
    whole = fitted(T.Standardize(), x)
    monkeypatch.setattr(_numbers, "PIECE", 7 * 48)
    parts = fitted(T.Standardize(), x)
    for k in whole:
        torch.testing.assert_close(parts[k], whole[k], rtol=1e-12, atol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e8])
def test_a_constant_feature_gets_the_divisor_1(value: float) -> None:
    x = random(1000, 2)
    x[:, 1] = value
    learned = fitted(T.Standardize(), x)
    assert learned["std0"][1] == 1 and learned["std0"][0] != 1
    got = T.Standardize().prepare(x, {k: v.float() for k, v in learned.items()})
    assert got[:, 1].abs().max() == 0


def test_several_inputs_one_by_one_and_tokens_pass() -> None:
    x = (random(40, 4, shift=5), torch.arange(120).view(40, 3), random(40, 2, 3, 3, scale=9))
    got = prepared(T.Standardize(), x)
    assert got[1] is x[1]
    torch.testing.assert_close(got[0].mean(0), torch.zeros(4, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(got[2].std((0, 2, 3), correction=0), torch.ones(2, dtype=F64))
    tokens = torch.arange(12).view(4, 3)
    assert prepared(T.Standardize(), tokens) is tokens


def test_units_do_not_matter_to_a_run(table: Data) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    other = Data(table.x * torch.tensor([1.0, 1e3, 1e-3, 2.0, 5.0, 1.0]) + 4, table.y)  # type: ignore[operator]
    kwargs: dict[str, Any] = {"epochs": 2, "options": eq.Options(precision="float64")}
    recipe = eq.Recipe(T.Standardize(), T.SGD(0.1))
    a, b = eq.train(model, recipe, table, **kwargs), eq.train(model, recipe, other, **kwargs)
    for k, v in a.state["params"].items():
        torch.testing.assert_close(b.state["params"][k], v, rtol=0, atol=1e-4)  # the features are float32
    np.testing.assert_allclose(a.predict(table.x[:9]), b.predict(other.x[:9]), atol=1e-4)


def test_rows_outside_fit_teach_it_nothing(table: Data) -> None:
    x = table.x.clone()  # type: ignore[union-attr]
    for role in ("stop", "assess", "test"):
        x[table.rows[role]] *= 1000
    other = Data(x, table.y).with_rows(table.rows)
    runs = [eq.train("mlp(hidden=(4,))", eq.Recipe(T.SGD(0.1)), d, epochs=1) for d in (table, other)]
    for k, v in runs[0].const.fitted["Standardize"].items():
        assert torch.equal(runs[1].const.fitted["Standardize"][k], v)


def test_mnist_has_its_published_mean_and_deviation() -> None:
    folders = [os.environ.get("EQUIPOISE_DATA", ""), str(Path(__file__).parents[3] / "shared" / "data")]
    folder = next((f for f in folders if f and (Path(f) / "mnist").is_dir()), None)
    if folder is None:
        pytest.skip("no MNIST files: set EQUIPOISE_DATA to the folder that holds mnist/")
    data = Data.load("mnist", data_dir=folder)
    rows = torch.cat([data.rows[r] for r in ("fit", "stop", "assess")])
    learned = fitted(T.Standardize(), data.x[rows])  # type: ignore[index]
    assert len(rows) == 60_000
    assert round(float(learned["mean0"]) / 255, 4) == 0.1307 and round(float(learned["std0"]) / 255, 4) == 0.3081


def test_fitting_60000_images_needs_little_memory() -> None:
    """Peak memory beside the 47 MB of images stays below 200 MB for every preparation that reads all rows."""
    code = """
import resource, torch
from equipoise import techniques as T
x = torch.randint(0, 256, (60_000, 1, 28, 28), dtype=torch.uint8)
T.Standardize().fit(x[:100], None, None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for t in (T.Standardize(), T.ChannelMean(), T.MeanImage(), T.MinMax()):
    t.fit(x, None, None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 200e6
