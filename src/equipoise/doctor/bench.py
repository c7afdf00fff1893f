"""The bench: a fixed probe batch, and pure measurements on it. Nothing here moves the training it looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from .. import rng
from ..cohort import Cohort
from ..feed import select
from ..probe import Function, Layer, Look, Micro, Moment
from ..probes.activation_profile import second_moment
from ..probes.gradient_noise import signal_to_noise
from ..probes.gradient_profile import rms
from ..sites.network import Pass
from ..step import State
from ..technique import At, Batch, Params
from . import observe

ROWS = 512  # of the probe batch
PARTS, PART = 2, 64  # equal parts of it that gradients are taken on, and their rows


class Bench:
    """Measures the one run of ``cohort`` on up to 512 fit rows, drawn once from ``seed``: clean, prepared, no noise.

    Rows of every role are drawn, never the first ones of it: those of a sorted file are of one class."""

    def __init__(self, cohort: Cohort, seed: int) -> None:
        self.cohort, self.program = cohort, cohort.program
        self.net, self.objective = self.program.net, self.program.objective
        self.const = cohort.executor.member(cohort.const, 0)
        self.techniques = self.program.bind(self.const.knobs)
        drawn = lambda rows: rows[rng.permutation(seed, "probe", len(rows)).to(rows.device)]  # noqa: E731
        self.drawn = {k: drawn(v) for k, v in {**cohort.data.rows, "fit": cohort.feed.rows[0]}.items()}
        self.rows = self.drawn["fit"][:ROWS]
        self.copies = False  # of what a look sees
        self.batch = self.prepared(self.rows)
        n = min(PART, len(self.rows) // PARTS)
        cuts = [slice(i * n, (i + 1) * n) for i in range(PARTS)] if n > 1 else [slice(0, None)]
        self.parts = [Batch(*(select(v, c) for v in self.batch)) for c in cuts]

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
        """Decoded network outputs without noise; new buffers are dropped."""
        quiet = Pass(self.techniques, lambda key: self._at(state, key))
        out = self.net.call(self.net.held(params, self.techniques), dict(state["buffers"]), x, quiet, training)[0]
        return self.program.coding.decode(out, self.objective.task)

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

    def constants(self, state: State) -> tuple[float, float]:
        """Loss of the best constant prediction, class shares (as logits, or as they are) or the mean target; and that
        of outputs of 0 where classes are told: what says nothing of rare ones loses more than their shares do."""
        y, classes = self.batch.y.mean(0, keepdim=True), self.objective.task == "classify"
        candidates = [y.clamp_min(1e-12).log(), y, torch.zeros_like(y)] if classes else [y]
        with observe.untouched(self.net), torch.no_grad():
            each = [self._objective(state, c.expand_as(self.batch.y), self.batch, state["params"]) for c in candidates]
        best = min(v for v in map(float, each) if not math.isnan(v))
        return best, max(best, float(each[-1]))

    # --- gradients ----------------------------------------------------------------------------------------------------
    def _part(self, state: State, params: Params, batch: Batch) -> tuple[Params, float]:
        """∂loss/∂parameters (zeros where none reaches) and the loss on one part."""
        leaves = {k: v.detach().requires_grad_() for k, v in params.items()}
        with torch.enable_grad():
            loss = self.loss(state, leaves, batch)
            found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        grads = {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), found, strict=True)}
        return {k: g.detach() for k, g in grads.items()}, float(loss.detach())

    def gradient(self, state: State, params: Params) -> tuple[Params, float]:
        """Gradient and loss, means over the parts."""
        with observe.untouched(self.net):
            return _mean([self._part(state, params, part) for part in self.parts])

    def _seen_gradients(self, state: State) -> tuple[observe.Seen, list[tuple[Params, float]]]:
        """The one pass of a look: what the first part showed, gradients and losses of all."""
        params = state["params"]
        first = lambda copies: observe.observe(  # noqa: E731
            self.net, lambda: self._part(state, params, self.parts[0]), copies=copies
        )
        seen = first(self.copies)
        if seen.changed:  # a network that writes in place: from now on what is seen is copied
            self.copies = True
            seen = first(True)
        with observe.untouched(self.net):
            rest = [self._part(state, params, part) for part in self.parts[1:]]
        return seen, [seen.result, *rest]

    # --- looks and moments --------------------------------------------------------------------------------------------
    @property
    def state(self) -> State:
        return self.cohort.executor.member(self.cohort.state, 0)

    def look(self, step: int) -> Look:
        """A small look at the run as it is now."""
        seen, each = self._seen_gradients(self.state)
        return look_of(step, observe.layers(self.net, seen, units_last=False), *_mean(each))

    def moment(self, step: int) -> Moment:
        """The run as it is now."""
        state = self.state
        seen, each = self._seen_gradients(state)
        layers, (grads, loss) = observe.layers(self.net, seen), _mean(each)
        part = len(self.parts[0].y)
        return Moment(
            step, dict(state["params"]), dict(state["buffers"]), layers, {}, part, loss, math.nan, grads,
            lambda p: self.gradient(state, p), micro_of([g for g, _ in each], grads, part),
        )  # fmt: skip

    def weighed(self, m: Moment) -> Moment:
        """A moment with its loss on all rows of the probe batch, as that of the best constant is."""
        state = {**self.state, "buffers": m.buffers}
        with observe.untouched(self.net), torch.no_grad():
            return replace(m, loss=float(self.loss(state, m.params, self.batch)))

    def completed(self, m: Moment) -> Moment:
        """A moment of the run as it is now with layers, losses and batch norms on all rows of the probe batch."""
        state, params = self.state, m.params
        seen = self._observed(lambda: self.loss(state, params, self.batch))
        layers, loss = observe.layers(self.net, seen), float(seen.result)
        seen = self._observed(lambda: self.loss(state, params, self.batch, training=False))
        norms = observe.norms(self.net, self.techniques, params, seen)
        with observe.untouched(self.net):
            each = [self._part(state, params, part)[0] for part in self.parts]
        snr = signal_to_noise([torch.cat([v.flatten() for v in g.values()]) for g in each])
        return replace(
            m, layers=layers, norms=norms, rows=len(self.rows), loss=loss, evaluated=float(seen.result),
            micro=m.micro._replace(snr=snr),
        )  # fmt: skip

    def layers(self, state: State, x: Any, training: bool = True) -> tuple[Layer, ...]:
        """Layer by layer."""
        return observe.layers(self.net, self._observed(lambda: self.output(state, state["params"], x, training)))

    def _observed(self, forward: Any, keep: Mapping[str, Tensor] | None = None) -> observe.Seen:
        with torch.no_grad():
            return observe.observe(self.net, forward, keep)

    # --- the trained network ------------------------------------------------------------------------------------------
    def function(self) -> Function:
        """The network as it is now, in prediction mode, to be asked at other inputs and without some of its units."""
        state, x = self.state, self.batch.x
        inputs = x if isinstance(x, tuple) else (x,)
        floating = all(v.is_floating_point() for v in inputs)

        def respond(rows: tuple[Tensor, ...]) -> Mapping[str, Tensor]:
            seen = self.layers(state, rows if isinstance(x, tuple) else rows[0], training=False)
            return {s.name: s.a.reshape(len(rows[0]), -1) for s in seen if len(s.a) % len(rows[0]) == 0}

        def score(keep: Mapping[str, Tensor]) -> float:
            return self._score(self._observed(lambda: self.output(state, state["params"], x, False), keep).result)

        hidden = [s for s in self.layers(state, x, training=False) if s.activation and not s.is_output]
        y = self.batch.y
        chance = float(y.mean(0).max()) if self.objective.task == "classify" else 0.0
        widths = {s.name: s.a.shape[-1] for s in hidden}
        output = self._observed(lambda: self.output(state, state["params"], x, False)).result.detach()
        return Function(inputs if floating else (), respond, score, chance, widths, output)

    def _score(self, output: Tensor) -> float:
        """Accuracy, or the share of the targets' variance explained."""
        y = self.batch.y.double()
        if self.objective.task == "classify":
            p = self.techniques[self.objective.loss_key].probabilities(output)
            return float((p.argmax(1) == y.argmax(1)).double().mean())
        return 1 - float((output.double() - y).square().mean() / (y - y.mean(0)).square().mean())


def look_of(step: int, layers: tuple[Layer, ...], grads: Params, loss: float) -> Look:
    """What a look keeps of a pass."""
    scales = {s.name: second_moment(s.a) for s in layers}
    return Look(step, loss, scales, {s.name: rms(grads[s.weight]) for s in layers if s.weight in grads})


def _mean(each: list[tuple[Params, float]]) -> tuple[Params, float]:
    grads = {k: sum(g[k] for g, _ in each) / len(each) for k in each[0][0]}
    return grads, sum(loss for _, loss in each) / len(each)  # type: ignore[return-value]


def micro_of(each: list[Params], mean: Params, rows: int) -> Micro:
    """Squared norms of the gradients of equal parts, and of their mean."""
    squares = [get_total_norm(list(g.values())).double().square() for g in (*each, mean)]
    return Micro(torch.stack(squares[:-1]), float(squares[-1]), rows, math.nan)
