"""FlipHorizontal against NumPy's own mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.recipe import Recipe
from equipoise.risks import wrong_labels

from ..image_support import assert_share, augmented, photos


def test_mirrors_left_and_right():
    x = photos()
    np.testing.assert_array_equal(augmented(T.FlipHorizontal(1.0), x).numpy(), x.numpy()[..., ::-1])


def test_twice_is_the_identity():
    x = photos()
    assert torch.equal(augmented(T.FlipHorizontal(1.0), augmented(T.FlipHorizontal(1.0), x)), x)
    assert torch.equal(augmented(T.FlipHorizontal(0.5), augmented(T.FlipHorizontal(0.5), x)), x)  # the same draws twice


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_every_example_draws_for_itself(p: float):
    x = photos(4000, 1, 2, 3)
    out = augmented(T.FlipHorizontal(p), x)
    flipped, kept = (out == x.flip(-1)).flatten(1).all(1), (out == x).flatten(1).all(1)
    assert torch.equal(flipped, ~kept)
    assert_share(flipped, p)
    again = (augmented(T.FlipHorizontal(p), x, seed=1) == x.flip(-1)).flatten(1).all(1)
    assert_share(flipped & again, p * p)  # another step's draws are independent


def test_warns_where_the_data_does_not_declare_it(images: Data):
    declared, silent = images, Data(images.x, images.y, name="scans")
    assert wrong_labels(Recipe(T.FlipHorizontal()), declared) == []
    [line] = wrong_labels(Recipe(T.FlipHorizontal()), silent)
    assert "scans does not declare flip_horizontal label-preserving" in line
