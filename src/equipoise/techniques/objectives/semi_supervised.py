from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import tree
from ...technique import At, Batch, Params, State, Technique, knob, option
from ..averaging._statistics import refreshed
from ._rows import mean_over_rows


class SemiSupervised(Technique):
    """Cross-entropy on the labelled rows, and an agreement that unlabelled rows ask for.

    L = CE over labelled rows + λ r(t) U,  r(t) = exp(−5 (1 − min(1, t/(ρ T)))²) rises over the first ρ of the run
    `pseudo-label`: U = mean over unlabelled rows of 1[max_c p_c ≥ τ] · (−log p_ĉ), ĉ = argmax p, taken as given
    `mean-teacher`: U = mean over all rows of ‖p − p̃‖², p̃ the prediction of the weights
        θ̃ ← d θ̃ + (1 − d) θ, d = min(`decay`, 1 − 1/(t + 1)), after every step

    The teacher reads the same augmented batch without noise, with the batch's own statistics; its weights are kept at
    the end, with batch-norm statistics measured anew. A row that mixes (MixUp) counts as labelled by the share of its
    labels.

    Knobs: `weight` = λ ≥ 0; `threshold` = τ in [0, 1); `decay` in [0, 1); `ramp` = ρ in [0, 1].
    Options: `method` = "pseudo-label" or "mean-teacher".
    Shapes: outputs (B, C), targets y (B, C) with rows of zeros where the label is missing, weights w (B,); scalar in
        nats.
    Errors: refused for regression.
    Trade: variance down by rows that cost no label, where classes are clusters; where they are not, or the first
        guesses are wrong, it confirms its own errors: bias up. The teacher costs one more forward pass and one copy of
        the weights.
    Source: Lee (2013) for pseudo-labels, Sohn et al. (2020) for their threshold and λ = 1; Tarvainen and Valpola
        (2017) for the teacher (there λ = 10 in this norm) and the ramp; deck D1.
    """

    slot = "objective"
    tasks = ("classify",)
    turn = 2  # the teacher follows the optimizer
    conflicts = dict.fromkeys(("EMA", "SWA"), "each of them decides which weights are kept.")
    weight: float = knob(1.0, low=0.0)
    threshold: float = knob(0.95, low=0.0, high=1.0, open="high")
    decay: float = knob(0.99, low=0.0, high=1.0, open="high")
    ramp: float = knob(0.25, low=0.0, high=1.0)
    method: str = option("pseudo-label", choices=("pseudo-label", "mean-teacher"))

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        log_p, labelled = output.log_softmax(-1), batch.y.sum(-1)
        supervised = -(batch.y * log_p).sum(-1) / torch.where(labelled > 0, labelled, 1.0)
        agreement = self._agreement(log_p, labelled, batch, at)
        rise = 1 - torch.clamp(at.t / torch.clamp(torch.as_tensor(self.ramp * at.steps), min=1e-9), max=1.0)
        share = (self.weight * torch.exp(-5 * rise**2)).to(output.dtype)
        return mean_over_rows(supervised, batch.w * labelled) + share * agreement

    def _agreement(self, log_p: Tensor, labelled: Tensor, batch: Batch, at: At) -> Tensor:
        if self.method == "pseudo-label":
            sure, guess = log_p.detach().max(-1)
            own = torch.where(sure.exp() >= self.threshold, -log_p.gather(-1, guess[:, None])[:, 0], 0.0)
            return mean_over_rows(own, batch.w * (1 - labelled))
        teacher = torch.softmax(at.forward(batch.x, at.state["teacher"]), -1)
        return mean_over_rows((log_p.exp() - teacher).square().sum(-1), batch.w)

    def start(self, params: Params, net: Any) -> State:
        return {"teacher": dict(params)} if self.method == "mean-teacher" else {}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        if self.method == "pseudo-label":
            return params, state
        d = torch.minimum(torch.as_tensor(self.decay), 1 - 1 / (at.t + 1))
        return params, {
            "teacher": tree.like(tree.zip_map(lambda e, p: d * e + (1 - d) * p, state["teacher"], params), params)
        }

    def finish(self, params: Params, buffers: Params, at: At) -> tuple[Params, Params]:
        if self.method == "pseudo-label":
            return params, buffers
        return at.state["teacher"], refreshed(at.state["teacher"], buffers, at)
