"""Batch norm does not lower internal covariate shift (D4; Santurkar et al. 2018, Definition 2.1).

ICS_i = ‖G_i − G′_i‖: how much the gradient of layer i changes, on the same batch, when the layers before it take their
step. Digits, four hidden tanh layers of 32, SGD(0.1); the mean over the layers after the first and over the steps 5,
10, …, 100, relative to ‖G_i‖ so that it does not depend on the scale of the loss; and absolute, of which nothing is
claimed. "Does not lower": batch norm's is higher. Nothing was varied.
"""

from itertools import pairwise

import numpy as np
import torch
from evidence import Fact, show
from torch import nn
from torch.func import functional_call, grad_and_value

import equipoise as eq
from equipoise import techniques as T
from equipoise.probes.internal_covariate_shift import shifts

SEEDS, STEPS, EVERY, WIDTHS = range(6), 100, 5, (64, 32, 32, 32, 32)


def net(normed: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for i, o in pairwise(WIDTHS):
        layers += [nn.Linear(i, o), *([nn.BatchNorm1d(o)] if normed else []), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 10))


def shift(normed: bool, seed: int, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Mean absolute and relative ICS of one training."""
    model, found = net(normed), []
    buffers = {k: v.clone() for k, v in model.named_buffers()}
    layers = [
        [k for k in dict(model.named_parameters()) if k.startswith(f"{i}.")]
        for i, m in enumerate(model)
        if isinstance(m, nn.Linear)
    ]
    init, step = eq.step(lambda: net(normed), eq.Recipe(T.Xavier(), T.SGD(0.1)), (x, y), steps=STEPS)
    state, g = init(seed), torch.Generator().manual_seed(seed)
    inputs = (x - x.mean(0)) / torch.where(x.std(0) > 0, x.std(0), 1.0)
    for t in range(1, STEPS + 1):
        rows = torch.randperm(len(x), generator=g)[:64]

        def loss(p, rows=rows):
            out = functional_call(model, (p, {k: v.clone() for k, v in buffers.items()}), inputs[rows])
            return nn.functional.cross_entropy(out, y[rows])

        def gradient(p, of=loss):
            return grad_and_value(of)(p)

        old = state.params
        state, _ = step(state, x[rows], y[rows])
        if t % EVERY == 0:
            found += [each[:2] for each in shifts(gradient, old, state.params, layers, range(1, len(layers)))]
    return np.mean(found, 0)


def measure(seeds=SEEDS) -> list[Fact]:
    data = eq.Data.load("digits")
    x, y = data.select("fit")
    normed, plain = (np.array([shift(n, s, x, y) for s in seeds]).T for n in (True, False))
    return [
        Fact("relative ICS with batch norm over the plain net's", data.name, "of ‖G‖", normed[1], plain[1]),
        Fact("likewise absolute", data.name, "‖G − G′‖", normed[0], plain[0], stated=False),
    ]


if __name__ == "__main__":
    show(measure())
