from __future__ import annotations

import torch

from ...technique import At, Params, Technique, knob


class GradientNoise(Technique):
    """Gaussian noise on the gradient, fading with the steps.

    g ← g + N(0, η/(1 + t)^γ), independent per parameter, t the step from 0; γ = 0 keeps the variance at η. Drawn once
    per step for the whole batch, the same on all ranks, after any clipping.

    Knobs: `eta` = η ≥ 0, the variance at step 0 in the gradient's units squared, 0 switches it off; `gamma` = γ ≥ 0.
    Shapes: every trainable parameter, whatever its shape.
    Trade: neither bias nor variance by itself: exploration, which leaves shallow minima and bad starts, for slower
        convergence.
    Source: Neelakantan et al. (2015), Adding gradient noise improves learning for very deep networks; deck D3.
    """

    off = {"eta": 0.0}
    random = True
    turn = 10  # after clipping, which would otherwise cut the noise with the gradient
    eta: float = knob(0.01, low=0.0)
    gamma: float = knob(0.55, low=0.0)

    def grads(self, grads: Params, params: Params, at: At) -> Params:
        assert at.noise is not None
        sigma = (self.eta / (1 + at.t) ** self.gamma) ** 0.5
        sizes = [g.numel() for g in grads.values()]
        z = at.noise.normal((sum(sizes),), next(iter(grads.values())).dtype, shared=True)
        parts = torch.split(z, sizes)  # one draw for all parameters: fewer operations
        return {k: (g + sigma * e.view(g.shape)).to(g.dtype) for (k, g), e in zip(grads.items(), parts, strict=True)}
