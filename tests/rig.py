"""A network with techniques, outside of any training: what tests of single stages call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equipoise.rng import I32, Noise, signed, stream, subkeys
from equipoise.sites import Network, fold
from equipoise.sites.network import Pass
from equipoise.technique import At, Technique


class Rig:
    """``Rig(model, x, BatchNorm())``: the user's model with sites; a call is one pass and keeps the new buffers."""

    def __init__(self, model: nn.Module, x: Any, *techniques: Technique) -> None:
        self.net = Network(model, x)
        self.net.build(techniques)
        first = x[0] if isinstance(x, tuple) else x
        self.net.module.to(first.dtype) if first.is_floating_point() else None
        self.techniques = {t.key: t for t in techniques}
        trainable = set(self.net.trainable())
        tensors = [*self.net.module.named_parameters(), *self.net.module.named_buffers()]
        self.params = {n: p.detach().clone() for n, p in tensors if n in trainable}
        self.buffers = {n: p.detach().clone() for n, p in tensors if n not in trainable}

    def noise(self, seed: int, step: int = 0, row0: int = 0) -> Any:
        """(technique key, site, call) → the noise that a training step of this seed and number would get."""

        def of(who: Any, site: int, call: int) -> Noise | None:
            row = self.net.entries.get((who, site, call))
            if row is None:
                return None
            name, place, count = self.net.streams[row]
            words = (signed(seed), signed(stream(name) << 16 | place), step, count)
            return Noise(subkeys(*(torch.tensor(v, dtype=I32) for v in words)), row0)

        return of

    def run(
        self, params: dict[str, Tensor], buffers: dict[str, Tensor], x: Any, *, training: bool = True, noise: Any = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs and new buffers; pure."""
        source = noise or (lambda *_: None)
        now = Pass(self.techniques, lambda _: At(self.net, training=training), source)
        return self.net.call(self.net.held(params, self.techniques), buffers, x, now, training)

    def __call__(self, x: Any, *, training: bool = True, noise: Any = None) -> Tensor:
        out, self.buffers = self.run(self.params, self.buffers, x, training=training, noise=noise)
        return out

    def gradients(self, x: Any, loss: Any, *, noise: Any = None) -> dict[str, Tensor]:
        """∂loss(output)/∂parameters of one training pass; new buffers are kept."""
        leaves = {k: v.detach().requires_grad_() for k, v in self.params.items()}
        out, new = self.run(leaves, self.buffers, x, noise=noise)
        self.buffers = {k: v.detach() for k, v in new.items()}
        grads = torch.autograd.grad(loss(out), list(leaves.values()), allow_unused=True)
        return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), grads, strict=True)}

    def descend(self, x: Any, loss: Any, rate: float = 0.1) -> dict[str, Tensor]:
        """One step of gradient descent; returns the gradients."""
        grads = self.gradients(x, loss)
        self.params = {k: v - rate * grads[k] for k, v in self.params.items()}
        return grads

    def folded(self) -> tuple[nn.Module, list[str]]:
        """The plain model, and the notes."""
        return fold(self.net, self.techniques.values(), self.params, self.buffers)
