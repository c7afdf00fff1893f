"""Figures of the catalogue's pages, drawn by the techniques themselves: SVG, the same bytes from the same code."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch

from equipoise import techniques as T
from equipoise.rng import source
from equipoise.technique import At, Batch, Technique

mpl.use("svg")
STYLE = {
    "svg.hashsalt": "equipoise",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=["#1f4e79", "#c55a11", "#548235"]),
}
STEPS = 200
SHOWN = 5  # augmented copies beside the original


def schedule(entry: Any) -> Callable[[Any], str]:
    """The rate over a run, as a multiple of the optimizer's."""

    def draw(axes: Any) -> str:
        t = torch.arange(STEPS, dtype=torch.float64)
        rate = bound(entry).schedule(t, STEPS, torch.ones(STEPS, dtype=torch.float64))
        axes.plot((t / STEPS).numpy(), rate.numpy())
        axes.set(xlabel="part of the run", ylabel="rate, relative", ylim=(0, None), xlim=(0, 1))
        return f"The rate that {entry!r} gives over a run, as a multiple of the optimizer's."

    return draw


def augmentation(entry: Technique) -> Callable[[Any], str]:
    """A digit, and what the technique makes of it."""

    def draw(axes: Any) -> str:
        from sklearn.datasets import load_digits

        digits = torch.as_tensor(load_digits().images[:64, None], dtype=torch.float64)
        rows = torch.zeros(len(digits), dtype=torch.float64)
        learn: Any = entry.fit
        at = At(noise=source(7, "figure"), fitted=learn(digits, rows, None), training=True)
        copies = digits[3:4].repeat(SHOWN, 1, 1, 1)
        made = bound(entry).batch(Batch(copies, rows[:SHOWN, None], rows[:SHOWN]), at).x
        strip = torch.cat([digits[3:4], made])[:, 0].numpy()
        for i, image in enumerate(strip):
            axes.pcolormesh(np.arange(9) + 9.5 * i, np.arange(8, -1, -1), image, cmap="gray_r", vmin=0, vmax=16)
        axes.figure.set_size_inches(4.8, 1.0)
        axes.set_aspect("equal")
        axes.axis("off")
        return f"A digit (left) and {SHOWN} draws of {entry!r}."

    return draw


def shrinkage(name: str, minimum: Callable[[Any, float], Any]) -> Callable[[Any], str]:
    """Where a quadratic loss of curvature 1 with its minimum at w has it under the penalty."""

    def draw(axes: Any) -> str:
        w = np.linspace(-2, 2, 401)
        for alpha in (0.0, 0.25, 0.75):
            axes.plot(w, minimum(w, alpha), label=f"α = {alpha:g}")
        axes.set(xlabel="minimum of the loss, w", ylabel="minimum with the penalty, w*")
        axes.legend(frameon=False)
        return f"What {name} makes of the minimum w of a quadratic loss of curvature 1."

    return draw


def mixing(axes: Any) -> str:
    """The density of the share λ."""
    from scipy.stats import beta

    share = np.linspace(0.002, 0.998, 250)
    for a in (0.2, 1.0, 4.0):
        axes.plot(share, beta.pdf(share, a, a), label=f"a = {a:g}")
    axes.set(xlabel="share λ of the first example", ylabel="density", ylim=(0, 4), xlim=(0, 1))
    axes.legend(frameon=False)
    return "The share λ ~ Beta(a, a): small a leaves most pairs nearly unmixed."


def bound(entry: Technique) -> Any:
    """The entry with its knobs as the step sees them: 0-d float64 tensors."""
    return entry.bind({k: torch.tensor(v, dtype=torch.float64) for k, v in entry.knobs().items()})


FIGURES: dict[str, Callable[[Any], str]] = {
    "Cosine": schedule(T.Cosine()),
    "Exponential": schedule(T.Exponential()),
    "InverseTime": schedule(T.InverseTime()),
    "OneCycle": schedule(T.OneCycle()),
    "StepDecay": schedule(T.StepDecay()),
    "WarmUp": schedule(T.WarmUp()),
    "Cutout": augmentation(T.Cutout()),
    "RandomAffine": augmentation(T.RandomAffine()),
    "RandomCrop": augmentation(T.RandomCrop()),
    "L1": shrinkage("L1", lambda w, alpha: np.sign(w) * np.maximum(np.abs(w) - alpha, 0)),
    "L2": shrinkage("L2", lambda w, alpha: w / (1 + alpha)),
    "MixUp": mixing,
}


def figures() -> dict[str, tuple[str, str]]:
    """Technique → (SVG, what it shows)."""
    return {name: drawn(draw) for name, draw in FIGURES.items()}


def drawn(draw: Callable[[Any], str]) -> tuple[str, str]:
    out = io.StringIO()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.8, 2.6), layout="tight")
        caption = draw(axes)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n", caption
