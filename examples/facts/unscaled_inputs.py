"""Inputs 100 times too large saturate a sigmoid's first layer, its gradient vanishes, Standardize mends both (D3).

Digits × 100, one hidden layer of 32 sigmoid units, Xavier. Saturation: share of (unit, row) with σ′ below 5 % of its
maximum at the start values. Gradient: log10 of ‖∂L/∂W₁‖ over the size of the inputs, which ∂L/∂W₁ carries as a factor;
compared per seed, raw against standardized. Error: after 10 epochs of SGD(0.5). Nothing was varied.
"""

import torch
from evidence import SEEDS, Fact, errors, show, train
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.technique import Empty


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 10))


def first_layer(data: eq.Data, recipe: eq.Recipe, seed: int, scaled: bool) -> tuple[float, float]:
    """Saturation of the first layer and log10 of its gradient's signal, at the start values."""
    x, y = data.select("fit")
    init, _ = eq.step(model, recipe, (x, y))
    p = {k: v.clone().requires_grad_() for k, v in init(seed).params.items()}
    x = x.flatten(1)
    if scaled:
        x = (x - x.mean(0)) / torch.where(x.std(0) > 0, x.std(0), 1.0)
    h = torch.sigmoid(x @ p["1.weight"].T + p["1.bias"])
    loss = torch.nn.functional.cross_entropy(h @ p["3.weight"].T + p["3.bias"], y)
    size = torch.autograd.grad(loss, p["1.weight"])[0].norm() / x.square().mean().sqrt()
    return float((4 * h * (1 - h) < 0.05).float().mean()), float(size.log10())


def measure(seeds=SEEDS) -> list[Fact]:
    digits = eq.Data.load("digits")
    data = eq.Data(digits.x * 100, digits.y, name="digits × 100").with_rows(digits.rows)
    recipes = [eq.Recipe(T.Xavier(), T.SGD(0.5), entry) for entry in (Empty("inputs"), T.Standardize())]
    before = [first_layer(data, recipes[0], s, False) for s in seeds]
    after = [first_layer(data, recipes[1], s, True) for s in seeds]
    raw, scaled = (train(model, [r], data, seeds, epochs=10)[0] for r in recipes)
    return [
        Fact(
            "saturated share of the first layer, raw over standardized",
            data.name,
            "of 1",
            *([v[0] for v in w] for w in (before, after)),
        ),
        Fact(
            "the gradient's signal, standardized over raw",
            data.name,
            "decades",
            *([v[1] for v in w] for w in (after, before)),
        ),
        Fact("raw inputs lose to Standardize", data.name, "points of error", errors(raw), errors(scaled)),
    ]


if __name__ == "__main__":
    show(measure())
