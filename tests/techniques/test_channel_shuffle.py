"""ChannelShuffle against the list of all permutations."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from equipoise import techniques as T
from equipoise.errors import EquipoiseError

from ..image_support import assert_share, assert_uniform, augmented, photos


def codes(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Which permutation made each example (n,); −1 for none."""
    every = torch.stack([(out == x[:, list(p)]).flatten(1).all(1) for p in permutations(range(x.shape[1]))], 1)
    assert (every.sum(1) == 1).all(), "an example is no permutation of its channels"
    return every.int().argmax(1)


def test_all_permutations_are_equally_likely():
    x = photos(6000, 3, 1, 2)
    assert_uniform(torch.bincount(codes(x, augmented(T.ChannelShuffle(1.0), x)), minlength=6))


def test_a_share_p_is_shuffled():
    x = photos(6000, 3, 1, 2)
    moved = codes(x, augmented(T.ChannelShuffle(0.3), x)) != 0
    assert_share(moved, 0.3 * 5 / 6)  # the identity is one of the six


def test_one_channel_is_refused():
    with pytest.raises(EquipoiseError, match=r"ChannelShuffle\(\) exchanges channels; these images have one"):
        augmented(T.ChannelShuffle(), photos(2, 1))
