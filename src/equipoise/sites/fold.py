"""The way back: the user's own class and state_dict keys, normalization and expected noise folded in where that is exact."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

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


def keep_layer(plain: nn.Module, name: str, layer: nn.Module) -> None:
    """Keep a normalization in the user's model: a child of the affine module, applied to its output by a hook."""
    module: Any = plain.get_submodule(name)
    module.add_module("normalization", layer)
    module.register_forward_hook(_apply_kept)


def _apply_kept(module: Any, _: Any, out: Tensor) -> Tensor:
    return module.normalization(out)
