"""The way back: the user's own class and state_dict keys, normalization and expected noise folded in where exact."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..technique import Technique
from .network import Network


def fold(
    net: Network, techniques: Iterable[Technique], params: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> tuple[nn.Module, list[str]]:
    """The trained plain model, and what had to be kept. ``techniques`` carry this run's knobs as floats."""
    plain = copy.deepcopy(net.original)
    tensors = {**params, **buffers}
    with torch.no_grad():
        for name, p in [*plain.named_parameters(), *plain.named_buffers()]:
            if name in tensors:
                if p.dtype != tensors[name].dtype:
                    p.data = p.data.to(tensors[name].dtype)
                p.data.copy_(tensors[name])
        notes: list[str] = []
        for t in techniques:
            notes += t.fold(plain, net, tensors)
    return plain.eval(), notes
