"""Spread of the sds of units: against NumPy's percentiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equipoise.probes.unequal_ranges import spread


def test_two_units():
    z = torch.tensor([[1.0, 10.0], [-1.0, -10.0], [1.0, -10.0], [-1.0, 10.0]])
    assert spread(z) == pytest.approx(9.55 / 1.45)  # percentiles of (1, 10): 1 + .95·9 and 1 + .05·9
    assert spread(1000 * z) == pytest.approx(spread(z))


def test_it_is_numpys_percentiles_and_leaves_constants_out():
    z = torch.randn(50, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.logspace(0, 2, 12)
    z[:, 3] = 7.0
    sd = np.delete(z.numpy(), 3, axis=1).std(0, ddof=1)
    assert spread(z) == pytest.approx(np.percentile(sd, 95) / np.percentile(sd, 5), rel=1e-6)
    assert math.isnan(spread(torch.ones(4, 3)))
