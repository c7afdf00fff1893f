"""The bench: a fixed probe batch, and pure measurements on it. Nothing here moves the training it looks at."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .. import rng
from ..cohort import Cohort
from ..feed import select
from ..probe import Layer, Moment
from ..sites.network import Pass
from ..step import State
from ..technique import At, Batch, Params
from . import observe

ROWS = 512  # of the probe batch
MICRO = 8  # micro-batches it is divided into for the noise of the gradient


class Bench:
    """Measures the one run of ``cohort`` on up to 512 fit rows, drawn once from ``seed``: clean, prepared, no noise."""

    def __init__(self, cohort: Cohort, seed: int) -> None:
        self.cohort, self.program = cohort, cohort.program
        self.net, self.objective = self.program.net, self.program.objective
        self.const = cohort.executor.member(cohort.const, 0)
        self.techniques = self.program.bind(self.const.knobs)
        fit = cohort.feed.rows[0]
        self.rows = fit[rng.permutation(seed, "probe", len(fit)).to(fit.device)[:ROWS]]
        self.batch = self.prepared(self.rows)

    def prepared(self, rows: Tensor) -> Batch:
        """Rows as the network and the objective see them, without augmentation, mixing and smoothing."""
        data, o = self.cohort.data, self.objective
        raw = o.batch(select(data.x, rows), data.y[rows], torch.ones(len(rows), device=rows.device), self.program.dtype)
        y = raw.y
        for key in o.stages["prepare"]:
            y = self.techniques[key].prepare_target(y, self.const.fitted[key])
        return raw._replace(x=o.prepare(raw.x, self.techniques, self.const.fitted), y=y)

    # --- pure calls ---------------------------------------------------------------------------------------------------
    def output(self, state: State, params: Params, x: Any, training: bool) -> Tensor:
        """Network outputs without noise; new buffers are dropped."""
        quiet = Pass(self.techniques, lambda key: self._at(state, key))
        return self.net.call(self.net.held(params, self.techniques), dict(state["buffers"]), x, quiet, training)[0]

    def _at(self, state: State, key: str) -> At:
        fitted, own = self.const.fitted.get(key, {}), state["own"].get(key, {})
        return At(self.net, fitted=fitted, state=own, task=self.objective.task)

    def loss(self, state: State, params: Params, batch: Batch, training: bool = True) -> Tensor:
        """The objective on a batch, without penalties."""
        return self._objective(state, self.output(state, params, batch.x, training), batch, params)

    def _objective(self, state: State, output: Tensor, batch: Batch, params: Params) -> Tensor:
        key = self.objective.loss_key
        at = self._at(state, key)._replace(forward=lambda x: self.output(state, params, x, True))
        return self.techniques[key].loss(output, batch, at)

    def gradient(self, state: State, params: Params, batch: Batch) -> tuple[Params, float]:
        """∂loss/∂parameters (zeros where none reaches) and the loss."""
        leaves = {k: v.detach().clone().requires_grad_() for k, v in params.items()}
        with observe.untouched(self.net), torch.enable_grad():
            loss = self.loss(state, leaves, batch)
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        grads = {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), found, strict=True)}
        return {k: g.detach() for k, g in grads.items()}, float(loss.detach())

    def constant(self, state: State) -> float:
        """Loss of the best constant prediction: class shares (as logits, or as they are) or the mean target."""
        y = self.batch.y.mean(0, keepdim=True)
        candidates = [y.clamp_min(1e-12).log(), y] if self.objective.task == "classify" else [y]
        with observe.untouched(self.net), torch.no_grad():
            each = [self._objective(state, c.expand_as(self.batch.y), self.batch, state["params"]) for c in candidates]
        return min(v for v in map(float, each) if not math.isnan(v))

    # --- a moment -----------------------------------------------------------------------------------------------------
    def moment(self, step: int) -> Moment:
        """The run as it is now."""
        state: State = self.cohort.executor.member(self.cohort.state, 0)
        params, batch = state["params"], self.batch
        grads, loss = self.gradient(state, params, batch)
        with observe.untouched(self.net), torch.no_grad():
            evaluated = float(self.loss(state, params, batch, training=False))
        micro, mean, rows = self._micro(state)
        return Moment(
            step, params, state["buffers"], self.layers(state, batch.x), self.norms(state), len(self.rows), loss,
            evaluated, grads, lambda p: self.gradient(state, p, batch), micro, mean, rows,
        )  # fmt: skip

    def layers(self, state: State, x: Any) -> tuple[Layer, ...]:
        """Layer by layer, in training mode."""
        return observe.layers(self.net, self._observed(state, x, True))

    def norms(self, state: State) -> dict[str, Tensor]:
        """What the batch norms are shown in prediction mode."""
        seen = self._observed(state, self.batch.x, False)
        return observe.norms(self.net, self.techniques, state["params"], seen)

    def _observed(self, state: State, x: Any, training: bool) -> Any:
        return observe.observe(self.net, lambda: self.output(state, state["params"], x, training))

    def _micro(self, state: State) -> tuple[Tensor, float, int]:
        """Squared norms of the gradients of equal parts of the probe batch, of their mean, and the rows of a part."""
        n = min(MICRO, len(self.rows) // 2)
        rows = len(self.rows) // max(n, 1)
        squares, total = [], {}
        for i in range(n):
            part = Batch(*(select(v, slice(i * rows, (i + 1) * rows)) for v in self.batch))
            g, _ = self.gradient(state, state["params"], part)
            squares.append(sum(float(v.double().square().sum()) for v in g.values()))
            total = {k: v.double() + total.get(k, 0.0) for k, v in g.items()}
        mean = sum(float((v / n).square().sum()) for v in total.values())
        return torch.tensor(squares, dtype=torch.float64), mean, rows
