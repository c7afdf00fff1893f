"""Batch statistics: of one batch, of its ghosts, of all ranks together, and of the whole training set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...technique import Params
from ._layer import Layer


class BatchNormLayer(Layer):
    """γ u + β per unit with the statistics of the batch; the kept ones are rebound, never written in place.

    PyTorch's own kernel normalizes (4 to 8 times faster on CPU than separate operations); it gives back 1/√(σ²_B + ε),
    from which σ²_B follows. With ``queue`` the statistics of every call of the last pass are kept in buffers.
    """

    running_mean: Tensor
    running_var: Tensor
    queue_mean: Tensor
    queue_var: Tensor
    queue_m: Tensor
    cancels_bias = True

    def __init__(self, t: Any, site: Any, ddof: int = 0, *, queue: bool = False) -> None:
        super().__init__(t, site)
        self.ddof, self.momentum, self.epsilon, self.queue = ddof, t.momentum, t.epsilon, queue
        self.group: Any = None  # the process group that shares statistics, see `synchronize`
        n = site.units
        self.learn(n, scale=t.affine, shift=t.affine)
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))
        if queue:
            self.register_buffer("queue_mean", torch.zeros(site.calls, n), persistent=False)
            self.register_buffer("queue_var", torch.zeros(site.calls, n), persistent=False)
            self.register_buffer("queue_m", torch.zeros(site.calls), persistent=False)

    def normalized(self, z: Tensor) -> Tensor:
        flat = z if self.channel == 1 else z.reshape(-1, z.shape[-1])
        flat = flat.to(self.running_mean.dtype)  # statistics of half precision are taken in full
        if not self.training:
            mean, var = self.running_mean, self.running_var
            out = torch.native_batch_norm(flat, self.weight, self.bias, mean, var, False, 0.0, self.epsilon)[0]
            return out.view(z.shape)
        return self.by_batch(flat, z.shape[0]).view(z.shape)

    def by_batch(self, z: Tensor, rows: int) -> Tensor:
        """Normalize z (N, C, …) by its own statistics and remember them; ``rows`` examples are in it."""
        out, mean, var, m = self.alone(z) if self.group is None else synchronized(z, self)
        self.remember(mean.detach(), var.detach(), m)
        return out

    def alone(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Any]:
        """ẑ, μ_B, σ²_B (1/m) and m. With 1/(m − 1), r = (m − 1)/m: √(σ²/r + ε) = √(σ² + rε)/√r."""
        m = z.numel() // z.shape[1]
        r = (m - 1) / m if self.ddof and m > 1 else 1.0
        weight = self.weight
        if r != 1:
            weight = r**0.5 * (torch.ones_like(self.running_mean) if weight is None else weight)
        out, mean, inverse = torch.native_batch_norm(z, weight, self.bias, None, None, True, 0.0, r * self.epsilon)
        return out, mean, variance(inverse, r * self.epsilon), m

    def updates(self, rows: int) -> int:
        """How often one call with ``rows`` examples moves the running averages: by 1 − (1 − a)^updates in all."""
        return 1

    def remember(self, mean: Tensor, var: Tensor, m: Any) -> None:
        """Into the running averages, the variance as 1/(m − 1), and into the queue of this pass."""
        self.running_mean = torch.lerp(self.running_mean, mean, self.momentum)
        self.running_var = torch.lerp(self.running_var, var * unbiasing(m), self.momentum)
        if self.queue:
            self.queue_mean = torch.cat([self.queue_mean[1:], mean[None]])
            self.queue_var = torch.cat([self.queue_var[1:], var[None]])
            self.queue_m = torch.cat([self.queue_m[1:], 0 * self.queue_m[:1] + m])

    def as_affine(self) -> tuple[Tensor, Tensor]:
        a = torch.rsqrt(self.running_var.double() + self.epsilon)
        c = -self.running_mean.double() * a
        if self.weight is not None and self.bias is not None:
            a, c = a * self.weight.double(), c * self.weight.double() + self.bias.double()
        return a, c


def variance(inverse: Tensor, epsilon: float) -> Tensor:
    """σ² from 1/√(σ² + ε)."""
    return (1 / (inverse * inverse) - epsilon).clamp(min=0)


def unbiasing(m: Any) -> Any:
    """m/(m − 1), 1 for a single value; m is a whole number, or a tensor where ranks add theirs up."""
    return m / (m - 1).clamp(min=1) if isinstance(m, Tensor) else m / max(m - 1, 1)


class GhostBatchNormLayer(BatchNormLayer):
    """The batch cut into B // size ghosts of equal size (to one row), each normalized by its own statistics."""

    def __init__(self, t: Any, site: Any) -> None:
        super().__init__(t, site)
        self.size = t.size

    def updates(self, rows: int) -> int:
        return max(rows // self.size, 1)

    def by_batch(self, z: Tensor, rows: int) -> Tensor:
        ghosts = self.updates(rows)
        small, larger = divmod(rows, ghosts)  # `larger` ghosts of small + 1 rows, then the others of `small`
        per_row = z.shape[0] // rows
        cut = larger * (small + 1) * per_row
        parts = [(z[:cut], larger)] * (larger > 0) + [(z[cut:], ghosts - larger)]
        done = [self._ghosts(part, g) for part, g in parts]
        self._remember_all(torch.cat([d[1] for d in done]), torch.cat([d[2] for d in done]))
        return torch.cat([d[0] for d in done])

    def _ghosts(self, z: Tensor, g: int) -> tuple[Tensor, Tensor, Tensor]:
        """g ghosts of equal size as g·C channels: ẑ, μ (g, C) and the unbiased σ² (g, C)."""
        size, units, rest = z.shape[0] // g, z.shape[1], z.shape[2:]
        side_by_side = z.reshape(g, size, *z.shape[1:]).transpose(0, 1).reshape(size, g * units, *rest)
        weight = None if self.weight is None else self.weight.repeat(g)
        bias = None if self.bias is None else self.bias.repeat(g)
        out, mean, inverse = torch.native_batch_norm(side_by_side, weight, bias, None, None, True, 0.0, self.epsilon)
        m = side_by_side.numel() // (g * units)
        var = variance(inverse, self.epsilon) * unbiasing(m)
        out = out.reshape(size, g, units, *rest).transpose(0, 1).reshape(z.shape)
        return out, mean.detach().view(g, units), var.detach().view(g, units)

    def _remember_all(self, means: Tensor, variances: Tensor) -> None:
        """As if the ghosts had come one after the other: the i-th of G weighs a(1 − a)^(G − 1 − i)."""
        a, ghosts = self.momentum, len(means)
        later = torch.arange(ghosts - 1, -1, -1, dtype=means.dtype, device=means.device)[:, None]
        weights = a * (1 - a) ** later
        keep = (1 - a) ** ghosts
        self.running_mean = keep * self.running_mean + (weights * means).sum(0)
        self.running_var = keep * self.running_var + (weights * variances).sum(0)


# --- the whole training set -------------------------------------------------------------------------------------------
def population_statistics(
    names: Iterable[str], form: str, params: Params, buffers: Params, passes: Callable[[Params, Params], Any]
) -> Params:
    """The buffers with μ, σ² of the training set for the layers ``names``.

    ``passes(params, buffers)`` yields the buffers after a pass of each clean minibatch. Batches are weighted by m.
    "population": μ = E[μ_B], σ² = E[m/(m − 1) σ²_B]; "pooled": the same μ, σ² = E[σ²_B] + E[(μ_B − μ)²].
    """
    names = list(names)
    kinds = ("queue_m", "queue_mean", "queue_var")
    blank = dict(buffers)
    for n in names:
        blank |= {f"{n}.{k}": torch.zeros_like(buffers[f"{n}.{k}"]) for k in kinds}
    seen: dict[str, list[list[Tensor]]] = {n: [[], [], []] for n in names}
    for after, _ in passes(params, blank):
        for n in names:
            for values, k in zip(seen[n], kinds, strict=True):
                values.append(after[f"{n}.{k}"].detach().double())
    new = dict(buffers)
    for n in names:
        m, mean, var = (torch.cat(v) for v in seen[n])
        m = m[:, None]  # a call that did not happen has m = 0
        mu = (m * mean).sum(0) / m.sum()
        if form == "population":
            sigma2 = (m * unbiasing(m) * var).sum(0) / m.sum()
        else:
            sigma2 = (m * (var + (mean - mu) ** 2)).sum(0) / m.sum()
        for k, v in (("running_mean", mu), ("running_var", sigma2)):
            new[f"{n}.{k}"] = v.to(buffers[f"{n}.{k}"])
    return new


# --- all ranks together -----------------------------------------------------------------------------------------------
class _SumOverRanks(torch.autograd.Function):
    """Σ over ranks; the gradient of every rank's loss reaches every rank's summand."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = v.detach().clone()
        torch.distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = grad.contiguous().clone()
        torch.distributed.all_reduce(total, group=ctx.group)
        return total, None


def synchronized(z: Tensor, layer: BatchNormLayer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ẑ of this rank by the statistics of all ranks, and μ, σ² (1/m), m of all: what one process would compute."""
    units, dims, view = z.shape[1], [d for d in range(z.dim()) if d != 1], [1, -1] + [1] * (z.dim() - 2)
    total: Any = _SumOverRanks.apply(torch.cat([z.sum(dims), z.new_full((1,), z.numel() // units)]), layer.group)
    m = total[-1].detach()
    mean = total[:-1] / m
    centred = z - mean.view(view)
    var: Any = _SumOverRanks.apply((centred * centred).sum(dims), layer.group) / m
    u = centred * torch.rsqrt(var * (unbiasing(m) if layer.ddof else 1.0) + layer.epsilon).view(view)
    if layer.weight is not None and layer.bias is not None:
        u = u * layer.weight.view(view) + layer.bias.view(view)
    return u, mean, var, m


def synchronize(module: nn.Module, group: Any) -> int:
    """From now on every `BatchNorm` in ``module`` shares its statistics over the ranks of ``group`` (a process group,
    on CPU or GPU; None ends it). Ghosts stay with their rank. Returns how many layers."""
    layers = [m for m in module.modules() if type(m) is BatchNormLayer]
    for layer in layers:
        layer.group = group
    return len(layers)
