"""What the tests of augmentations share: a batch of images through one technique, as the step would call it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.rng import Noise, source
from equipoise.technique import At, Batch, Technique

from .noise_support import bound


def photos(n: int = 6, c: int = 3, h: int = 9, w: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images without symmetries in the units 0 … 255."""
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(n + h), dtype=dtype) * 255


def noise(seed: int = 0) -> Noise:
    """The source that `augmented` draws from: a test recomputes the draws from it."""
    return source(seed, "augmentation")


def augmented(t: Technique, x: Any, seed: int = 0, fit: Any = None, **at: Any) -> Any:
    """The images after the batch stage; ``fit``: the rows it learns from (default: x itself)."""
    first = x[0] if isinstance(x, tuple) else x
    rows = torch.zeros(len(first))
    learned = {k: v.to(first.dtype) for k, v in t.fit(x if fit is None else fit, rows, None).items()}  # type: ignore[arg-type]
    now = At(noise=noise(seed), fitted=learned, training=True, **at)
    return bound(t).batch(Batch(x, rows[:, None], rows), now).x


def assert_uniform(counts: Any) -> None:
    """Counts of equally likely outcomes: a chi-square test that a correct program fails less than once in a million."""
    from scipy.stats import chisquare

    counts = np.asarray(counts)
    assert counts.min() > 0, "an outcome never came"
    assert chisquare(counts.ravel()).pvalue > 1e-6, counts


def assert_share(hits: Tensor, p: float) -> None:
    """The share of True among independent draws lies within 6.5 standard errors of p."""
    se = (p * (1 - p) / hits.numel()) ** 0.5
    assert abs(float(hits.double().mean()) - p) < 6.5 * se, (float(hits.double().mean()), p)
