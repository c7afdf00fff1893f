"""What every augmentation of raw images keeps, by discovery: it reaches training, not prediction, and it stacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe
from equipoise.rng import source
from equipoise.technique import At, Batch
from equipoise.techniques.augmentation._image import ImageAugmentation

from ..image_support import augmented, photos
from ..noise_support import OneStep, bound

EVERY = [t for t in (T.find(n) for n in T.names()) if issubclass(t, ImageAugmentation)]
every = pytest.mark.parametrize("kind", EVERY, ids=lambda k: k.__name__)


def color_images() -> Data:
    x = (photos(90, 3, 8, 8, torch.float32)).to(torch.uint8)
    return Data(x, torch.arange(90) % 3, name="photos")


def test_the_family_is_found():
    assert {k.__name__ for k in EVERY} >= {"FlipHorizontal", "RandomAffine", "Cutout", "ColorJitter", "TrivialAugment"}


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_off_is_the_identity_bit_for_bit(kind: Any, dtype: torch.dtype):
    x = photos(30, 3, 7, 5, dtype)
    assert torch.equal(augmented(kind().switched_off(), x, fit=x.flip(0) + 1), x)
    assert not torch.equal(augmented(kind(), x, fit=x.flip(0) + 1), x)


@every
def test_the_step_trains_on_the_augmented_batch_standardized(kind: Any):
    """Stored bytes → augmentation → Standardize, then a step of plain PyTorch on the result."""
    step = OneStep(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), color_images(), kind())
    now = At(
        noise=step.noise(),
        fitted=step.fitted.get(step.key, {}),
        training=True,
        rows=step.now.rows,
        epoch=step.now.epoch,
    )
    rows = torch.ones(16, dtype=torch.float64)
    raw = step.raw
    x = bound(kind()).batch(Batch(raw, rows[:, None], rows), now).x
    assert not torch.equal(x, raw)
    standardized = step._standardize(x).flatten(1)
    step.assert_follows(lambda p: standardized @ p["1.weight"].T + p["1.bias"])


@every
def test_a_stack_of_runs_draws_what_each_run_draws_alone(kind: Any):
    """Under vmap over runs, with their own knobs, noise, images and learned tensors: the same to rounding."""
    t, runs = kind(), 3
    x = torch.stack([photos(6, 3, 9, 7) + 3 * r for r in range(runs)])
    learned = [{k: v.double() for k, v in t.fit(v, torch.zeros(6), None).items()} for v in x]  # type: ignore[arg-type]
    keys = torch.stack([source(r, "stack")._key for r in range(runs)])
    values = [{k: v * (1 - 0.2 * r) for k, v in t.knobs().items()} for r in range(runs)]
    rows = torch.arange(6).expand(runs, 6)

    def one(x: Tensor, key: Tensor, knobs: dict[str, Tensor], fitted: dict[str, Tensor], rows: Tensor) -> Tensor:
        from equipoise.rng import Noise

        at = At(noise=Noise(key), fitted=fitted, training=True, rows=rows, epoch=torch.zeros(()).double())
        return t.bind(knobs).batch(Batch(x, x[:, 0, 0, :1], x[:, 0, 0, 0]), at).x

    knobs = [{k: torch.tensor(v, dtype=torch.float64) for k, v in d.items()} for d in values]
    together = lambda dicts: {k: torch.stack([d[k] for d in dicts]) for k in dicts[0]}  # noqa: E731
    stacked = torch.vmap(one, randomness="error")(x, keys, together(knobs), together(learned), rows)
    for r in range(runs):
        alone = one(x[r], keys[r], knobs[r], learned[r], rows[r])
        torch.testing.assert_close(stacked[r], alone, rtol=0, atol=1e-9)


@every
def test_each_example_draws_for_itself_whatever_the_batch(kind: Any):
    """Row i of a batch depends on its own number alone: a larger batch starts with the same rows; a later batch of the
    same step (row0) continues it; a single row works."""
    t, x = kind(), photos(8, 3, 8, 8)
    learned = {k: v.double() for k, v in t.fit(x, torch.zeros(8), None).items()}  # type: ignore[arg-type]

    def run(part: slice, row0: int) -> Tensor:
        noise = source(0, "rows")
        noise._row0 = row0
        v = x[part]
        rows, ones = torch.arange(8)[part], torch.ones(len(v))
        return bound(t).batch(Batch(v, ones[:, None], ones), At(noise=noise, fitted=learned, rows=rows)).x

    whole = run(slice(0, 8), 0)
    for part in (slice(0, 5), slice(5, 8), slice(7, 8)):
        torch.testing.assert_close(run(part, part.start), whole[part], rtol=0, atol=1e-9)


@every
def test_all_images_of_an_example_get_the_same_draws(kind: Any):
    x, numbers = photos(50, 3, 8, 8), torch.rand(50, 4)
    first, second, left = augmented(kind(), (x, x.clone(), numbers), rows=torch.arange(50))
    assert torch.equal(first, second) and torch.equal(left, numbers) and not torch.equal(first, x)


@every
def test_prediction_is_deterministic_and_monte_carlo_averages_augmented_copies(kind: Any):
    data = color_images()
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3))  # noqa: E731
    run = eq.train(build, Recipe(T.SGD(0.1), kind()), data, epochs=1)
    x = data.select("test")[0]
    once = run.predict(x)
    prepared = run.program.objective.prepare(x.float(), run.program.by_key, run.const.fitted)  # type: ignore[union-attr]
    np.testing.assert_allclose(once, torch.softmax(run.model(prepared), -1).detach().numpy(), atol=1e-6)
    draws = run.predict(x, samples=2)
    assert np.abs(draws - once).max() > 1e-4
    np.testing.assert_array_equal(draws, run.predict(x, samples=2))


@every
def test_data_that_are_no_images_are_refused_before_training(kind: Any, table: Data):
    with pytest.raises(EquipoiseError, match=rf"{kind.__name__}\(\) is for image data; table is table data") as e:
        eq.train("mlp(hidden=8)", Recipe(kind()), table, epochs=1)
    assert "\n" not in str(e.value)
    volumes = Data(torch.rand(40, 1, 3, 4, 4), torch.arange(40) % 2, kind="image", name="scans")
    with pytest.raises(EquipoiseError, match=rf"{kind.__name__}\(\) acts on images \(C, H, W\).*\(1, 3, 4, 4\)"):
        eq.train(lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), Recipe(kind()), volumes, epochs=1)
