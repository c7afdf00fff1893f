"""Does dropout lower the test error on a noisy one-dimensional toy (D4)? Not decided, so no direction is claimed.

y = x + noise of deviation 0.3 at 12 points in [−1, 1], a network far too large for them (two hidden layers of 100), 400
steps of Adam with a cosine, dropout 0.2 or none; the error is against the true line. Every seed draws its own noise.
The claim came out in none of five set-ups: this one; sin(x) with 40 points and dropout 0.2, +0.02 [−0.02, +0.06]; this
line with 20 points and dropout 0.5 at a constant rate, −0.03 [−0.12, +0.05]; with the cosine, 20 points and dropout
0.5, −0.04 [−0.11, +0.03], or 0.2, +0.02 [−0.02, +0.07].
"""

import torch
from evidence import Fact, show, train

import equipoise as eq
from equipoise import techniques as T
from equipoise.technique import Empty

SEEDS = range(12)
RATE, N, TIMES, EPOCHS = 0.2, 12, 40, 10  # an epoch passes over the points TIMES times: one score for many steps


def toy(seed: int) -> eq.Data:
    """The noisy points are `fit`; the true line is `assess`."""
    x = torch.cat([torch.linspace(-1, 1, N), torch.linspace(-1, 1, 206)])[:, None]
    y = x.clone()
    y[:N] += 0.3 * torch.randn(N, 1, generator=torch.Generator().manual_seed(seed))
    rows = {"fit": range(N), "stop": range(N, N + 3), "test": range(N + 3, N + 6), "assess": range(N + 6, N + 206)}
    data = eq.Data(x, y, task="regress", split=rows, name="x + noise, 12 points")
    return data.with_rows({"fit": [*range(N)] * TIMES})


def measure(seeds=SEEDS) -> list[Fact]:
    both = (T.He(), T.Adam(0.01), T.Cosine(), Empty("targets"))
    recipes = [eq.Recipe(*both), eq.Recipe(*both, T.Dropout(RATE))]
    rmse: list[list[float]] = [[], []]
    for s in seeds:
        for arm, [run] in zip(
            rmse, train("mlp(hidden=(100, 100))", recipes, toy(s), [s], epochs=EPOCHS, batch_size=N), strict=True
        ):
            arm.append(run.score("assess")["rmse"])
    return [Fact("the plain net over dropout", toy(0).name, "rmse to the true line", *rmse, stated=False)]


if __name__ == "__main__":
    show(measure())
