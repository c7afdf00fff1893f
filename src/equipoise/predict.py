"""Prediction: the deterministic rule, or Monte-Carlo draws over every random technique of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import EquipoiseError
from .objective import NoiseOf
from .recipe import Recipe
from .step import Const, Program, State, own_gates
from .technique import At, Technique

CHUNK = 1 << 20  # input elements of one call


class Predictor:
    """Predictions of one run from raw inputs."""

    def __init__(self, program: Program, recipe: Recipe, state: State, const: Const, seed: int) -> None:
        self.program, self.recipe, self.state, self.const, self.seed = program, recipe, state, const, seed
        self._rule = next((t for t in recipe.active() if "predict" in t.acts_in()), None)
        self._techniques: Mapping[str, Technique] = {t.key: t for t in recipe.active()}

    def __call__(self, x: Any, samples: int | None = None) -> Tensor:
        """Probabilities (n, C) or targets (n, T): by the recipe's rule, or the mean of ``samples`` draws."""
        if samples is not None:
            return self.draws(x, samples).mean(0)
        if self._rule is not None:
            return self._rule.predict(self.one, x, At(self.program.net, task=self.program.objective.task))
        return self.one(x)

    def measure(self, x: Any) -> dict[str, float]:
        """Of a rule that averages over noise: spread, gap to the deterministic rule and the gap's standard error,
        means over rows and outputs; empty for every other rule."""
        measure = getattr(self._rule, "measure", None)
        return {} if measure is None else measure(self.one, x, At(self.program.net, task=self.program.objective.task))

    def draws(self, x: Any, samples: int) -> Tensor:
        """``samples`` Monte-Carlo predictions (T, n, K), the same for the same run, rows and number."""
        if samples < 1:
            raise EquipoiseError(f"samples={samples}: at least one draw.")
        return torch.stack([self.one(x, s) for s in range(samples)])

    def one(self, x: Any, sample: int | NoiseOf | None = None) -> Tensor:
        """The deterministic prediction, draw number ``sample``, or the one of a given source of noise."""
        p, x = self.program, _to(x, self.program.device)
        first = x[0] if isinstance(x, tuple) else x
        size = max(1, CHUNK // max(first[0].numel() if len(first) else 1, 1))
        parts = []
        with torch.no_grad():
            for a in range(0, max(len(first), 1), size):
                part = tuple(v[a : a + size] for v in x) if isinstance(x, tuple) else x[a : a + size]
                if sample is None:
                    techniques, s = p.bind(self.const.knobs, own_gates(self.const.knobs)), self.state
                    parts.append(p.objective.predict(s["params"], s["buffers"], part, techniques, self.const.fitted))
                elif isinstance(sample, int):
                    parts.append(self._draw(part, sample, a, len(first)))
                else:
                    parts.append(p.sample(self.state, self.const, part, sample, {}))
        return torch.cat(parts)

    def _draw(self, x: Any, sample: int, row0: int, rows: int) -> Tensor:
        p = self.program
        step = torch.tensor([-1 - sample])  # training counts from 0: no draw of prediction repeats one of training
        noise = p.noise(p.keys([self.seed], step)[0, 0], torch.tensor(row0, dtype=torch.int32, device=p.device))
        techniques = {k: self._techniques.get(k, t) for k, t in p.by_key.items()}
        n = len(x[0] if isinstance(x, tuple) else x)
        host = p.host([self.seed], [techniques], step, rows)
        mine = {k: v[0, 0] if v.dim() == 2 else v[0, 0, row0 : row0 + n] for k, v in host.items()}
        return p.sample(self.state, self.const, x, noise, mine)


def _to(x: Any, device: torch.device) -> Any:
    return tuple(v.to(device) for v in x) if isinstance(x, tuple) else x.to(device)
