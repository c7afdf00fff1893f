"""Open: is deeper smoother (D2)? Measured, whatever comes out.

Two classes in the plane, inside and outside of two rings, of 1,000 or 10,000 instances; tanh networks of 3, 4, 6 and 11
layers (affine maps) with 60 hidden units in all, or with about 900 parameters; Xavier, Adam, 200 steps of 100 rows.
On a grid: curvature per slope, mean ‖∇²f‖ over mean ‖∇f‖ of the logits' difference f, and the length of the boundary
f = 0. Printed is 3 layers less the deeper net: above 0 where deeper is smoother.
"""

import numpy as np
import torch
from evidence import Fact, show, train

import equipoise as eq
from equipoise import techniques as T

SEEDS, SIZES, GRID, STEPS, BATCH = range(6), (1000, 10_000), 80, 200, 100
WIDTHS = {"units": {3: 30, 4: 20, 6: 12, 11: 6}, "parameters": {3: 27, 4: 20, 6: 14, 11: 9}}


def rings(n: int) -> eq.Data:
    """n points of [−2, 2]², of which those closer than 0.7 to (−1, 0) or (1, 0) are the other class."""
    x = 4 * torch.rand(n + 300, 2, generator=torch.Generator().manual_seed(0)) - 2
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    y = (torch.cdist(x, centres).amin(1) < 0.7).long()
    rows = {
        "fit": range(n),
        "stop": range(n, n + 100),
        "assess": range(n + 100, n + 200),
        "test": range(n + 200, n + 300),
    }
    return eq.Data(x, y, split=rows, name=f"two rings, {n} rows")


def roughness(run) -> tuple[float, float]:
    """Curvature per slope, and the length of the boundary, on a grid over [−2, 2]²."""
    line = np.linspace(-2, 2, GRID)
    h = line[1] - line[0]
    points = torch.tensor(np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2), dtype=torch.float32)
    p = np.clip(run.predict(points), 1e-30, 1)
    f = np.log(p[:, 1] / p[:, 0]).reshape(GRID, GRID)
    first = np.gradient(f, h)
    second = [np.gradient(v, h) for v in first]
    curvature = np.sqrt(sum(v**2 for pair in second for v in pair)).mean() / np.hypot(*first).mean()
    side = f > 0
    crossings = (side[1:] != side[:-1]).sum() + (side[:, 1:] != side[:, :-1]).sum()
    return float(curvature), float(crossings * h * np.pi / 4)  # Cauchy and Crofton, over two directions


def measure(seeds=SEEDS) -> list[Fact]:
    facts = []
    for n in SIZES:
        data = rings(n)
        for equal, widths in WIDTHS.items():
            found = {}
            for layers, width in widths.items():
                model = f"mlp(hidden={(width,) * (layers - 1)}, activation='tanh')"
                [runs] = train(
                    model,
                    [eq.Recipe(T.Xavier(gain=5 / 3), T.Adam(0.01))],
                    data,
                    seeds,
                    epochs=STEPS * BATCH // n,
                    batch_size=BATCH,
                )
                found[layers] = np.array([roughness(r) for r in runs]).T
            for layers in list(widths)[1:]:
                for i, what in enumerate(("curvature per slope", "length of the boundary")):
                    claim = f"{what}, 3 layers less {layers}, equal {equal}"
                    facts.append(Fact(claim, data.name, "", found[3][i], found[layers][i], stated=False))
    return facts


if __name__ == "__main__":
    show(measure())
