"""One site: an affine map of the user's network, x → [noise] → W x + b → [normalization] → activation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS: dict[type[nn.Module], str] = {
    nn.Linear: "linear", nn.Conv1d: "conv", nn.Conv2d: "conv", nn.Conv3d: "conv",
    nn.RNN: "recurrent", nn.LSTM: "recurrent", nn.GRU: "recurrent",
}  # fmt: skip
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(eq=False)
class Site:
    """An affine map. A module called twice is one site; each call has its own counter in the noise key."""

    index: int
    name: str  # the module's path in the user's model
    module: nn.Module  # in our copy
    kind: str  # linear, conv, recurrent
    weights: tuple[str, ...]  # canonical names of its weight parameters
    bias: str | None  # canonical name of its bias, where there is exactly one
    calls: int = 1
    reads_input: bool = False  # its input is the network's input
    is_output: bool = False  # its output is the network's output
    sources: list[tuple[int, int]] = field(
        default_factory=list
    )  # per call: (site, call) whose noise on units it shares
    normalized_by: str | None = None  # a normalization of the user's own that follows
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())  # one example's input and output at the first call
    acts: list[str] = field(default_factory=list)  # keys of the techniques that act on its input
    affine_by: str | None = None  # the technique that replaces its affine map
    norm_by: str | None = None  # the technique that normalizes its output

    @property
    def channel(self) -> int:
        """The axis of units in the site's output (B, …)."""
        return 1 if self.kind == "conv" else -1

    @property
    def units(self) -> int:
        """How many output units: features or channels."""
        m: Any = self.module
        return int(
            {"linear": lambda: m.out_features, "conv": lambda: m.out_channels}.get(self.kind, lambda: m.hidden_size)()
        )

    @property
    def work(self) -> int:
        """Multiplications of one example's forward pass, all calls together."""
        weights = sum(p.numel() for n, p in self.module.named_parameters(recurse=False) if "weight" in n)
        return weights * self.calls * max(math.prod(self.shapes[1]) // self.units, 1)

    def fans(self, weight: Tensor) -> tuple[float, float]:
        """(fan_in, fan_out) of torch: C/groups × kernel."""
        return tuple(map(float, nn.init._calculate_fan_in_and_fan_out(weight)))  # type: ignore[return-value]

    def affine(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """The site's own affine map with weights ``w`` (of the module's shape) and bias ``b``."""
        m: Any = self.module
        if self.kind == "linear":
            return F.linear(x, w, b)
        if m.padding_mode != "zeros":
            x = F.pad(x, m._reversed_padding_repeated_twice, mode=m.padding_mode)
            return _CONVOLVE[w.dim() - 2](x, w, b, m.stride, 0, m.dilation, m.groups)
        return _CONVOLVE[w.dim() - 2](x, w, b, m.stride, m.padding, m.dilation, m.groups)

    def broadcast(self, v: Tensor, like: Tensor) -> Tensor:
        """A per-unit vector (units,) in the shape that broadcasts over an output (B, …)."""
        axis = self.channel % like.dim()
        return v.view(*(-1 if d == axis else 1 for d in range(like.dim())))


@dataclass(frozen=True)
class Residual:
    """A residual addition x + F(x): where the branch F ends and which sites it holds, in execution order."""

    module: str  # the module whose output is F(x)
    call: int  # which call of it
    sites: tuple[int, ...]  # indices of the sites inside the branch


def kind_of(m: nn.Module) -> str | None:
    """The kind of site a module is: one of KINDS, or a subclass that keeps its forward."""
    return next((k for c, k in KINDS.items() if isinstance(m, c) and type(m).forward is c.forward), None)


def canonical_names(model: nn.Module) -> dict[int, str]:
    """id of parameter → its name in ``named_parameters()`` (tied parameters share one)."""
    return {id(p): n for n, p in model.named_parameters()}


def storage(t: Any) -> int | None:
    return t.untyped_storage().data_ptr() if isinstance(t, Tensor) and t.layout == torch.strided else None
