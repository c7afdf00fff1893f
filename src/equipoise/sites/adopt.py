"""The user's own normalization and dropout layers, adopted: buffers become outputs of the step, noise is our streams'.

The class of the layer in our copy is swapped for a twin with the same parameters, buffers and names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.RMSNorm)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def batch_statistics(z: Tensor, channel: int) -> tuple[Tensor, Tensor, int]:
    """Mean and variance (1/m) per unit over all other axes, and m = N × positions."""
    axis = channel % z.dim()
    dims = [d for d in range(z.dim()) if d != axis]
    var, mean = torch.var_mean(z, dims, correction=0)
    return mean, var, z.numel() // max(z.shape[axis], 1)


def running(old: Tensor, new: Tensor, momentum: Any) -> Tensor:
    """Exponential average, out of place and without gradient."""
    return ((1 - momentum) * old + momentum * new.detach()).to(old.dtype)


def _batch_norm(self: Any, z: Tensor) -> Tensor:
    """nn.BatchNorm with rebound, not mutated, statistics; torch's own formula: ε inside, unbiased running variance."""
    view = [1, -1] + [1] * (z.dim() - 2)
    if self.training or self.running_mean is None:
        mean, var, m = batch_statistics(z, 1)
        if self.training and self.running_mean is not None:
            self.num_batches_tracked = self.num_batches_tracked + 1
            momentum = 1.0 / self.num_batches_tracked.to(z.dtype) if self.momentum is None else self.momentum
            self.running_mean = running(self.running_mean, mean, momentum)
            self.running_var = running(self.running_var, var * (m / max(m - 1, 1)), momentum)
    else:
        mean, var = self.running_mean, self.running_var
    out = (z - mean.view(view)) * torch.rsqrt(var.view(view) + self.eps)
    return out * self.weight.view(view) + self.bias.view(view) if self.weight is not None else out


@cache
def _twin(cls: type[nn.Module]) -> type[nn.Module]:
    return type(cls.__name__, (cls,), {"forward": _batch_norm})


def _drop(net: Any, module: Any, number: int, x: Tensor) -> Tensor:
    """The user's nn.Dropout: Bernoulli from our stream, inverted scaling; whole channels for Dropout1d–3d."""
    call = net.current
    if call is None or module.p == 0:
        return type(module).forward(module, x)
    noise = call.noise_of(-1 - number, call.count(module))
    if noise is None:
        return x
    shape = tuple(x.shape) if type(module) is nn.Dropout else (*x.shape[:2], *([1] * (x.dim() - 2)))
    keep = ~noise.bernoulli(shape, module.p)
    return x * keep / (1 - module.p) if module.p < 1 else x * 0


def adopt(net: Any) -> list[tuple[str, str]]:
    """Swap the layers of the copy; returns (stream name, what) of every adopted dropout, in module order."""
    drops: list[tuple[str, str]] = []
    for name, m in net.module.named_modules():
        if type(m) in BATCH_NORMS:
            m.__class__ = _twin(type(m))
        elif type(m) in DROPOUTS:
            number = len(drops)
            drops.append((f"own/{name}", type(m).__name__))
            m.forward = lambda x, m=m, number=number: _drop(net, m, number, x)
    return drops
