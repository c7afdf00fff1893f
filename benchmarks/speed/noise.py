"""Dropout masks against F.dropout, and the block batch norm, ReLU, dropout against eager layers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from cases import DEVICE
from timing import against, times
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.rng import Noise, source
from equipoise.technique import At
from equipoise.techniques.normalization._statistics import BatchNormLayer

SHAPES = {"MLP 128×512": (128, 512), "CNN 128×64×24×24": (128, 64, 24, 24)}
ELEMENTS = (512, 512)
SITE = SimpleNamespace(reads_input=False, kind="linear", units=512, channel=1, calls=1, index=0)


def acted(technique: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The technique on a site's input, as the step calls it, from a noise key."""
    bound = technique.bind(
        {k: torch.tensor(v, dtype=torch.float64, device=DEVICE) for k, v in technique.knobs().items()}
    )
    return lambda x, key: bound.act(x, At(None, Noise(key), SITE, training=True))


def masks(blocks: int, seconds: float) -> dict[str, Any]:
    """Elements dropped a second, forward, on one thread."""
    x, key = torch.randn(ELEMENTS, device=DEVICE), source(0, "speed").bits((2,)).to(DEVICE)
    ours = acted(T.Dropout(0.5))
    functions: dict[str, Callable[[], Any]] = {
        "F.dropout": lambda: F.dropout(x, 0.5, True),
        "Dropout, eager": lambda: ours(x, key),
    }
    for name, t in {"Dropout": T.Dropout(0.5), "GaussianNoise": T.GaussianNoise(on="activations")}.items():
        fused = torch.compile(acted(t), dynamic=False)
        functions[f"{name}, compiled"] = lambda f=fused: f(x, key)
    with torch.no_grad():
        return against(times(functions, blocks, seconds), "F.dropout")


class Block(nn.Module):
    def __init__(self, channels: int, images: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels) if images else nn.BatchNorm1d(channels)
        self.drop = nn.Dropout(0.5)

    def forward(self, z: Tensor) -> Tensor:
        return self.drop(F.relu(self.bn(z)))


class Ours(nn.Module):
    """The same of our parts. ``whole``: all of it compiled; else PyTorch's own batch norm and the rest compiled."""

    def __init__(self, channels: int, images: bool, whole: bool) -> None:
        super().__init__()
        site = SimpleNamespace(**{**vars(SITE), "units": channels, "kind": "conv" if images else "linear"})
        self.layer, drop = BatchNormLayer(T.BatchNorm(), site), acted(T.Dropout(0.5))
        compiled = lambda f: torch.compile(f, dynamic=False)  # noqa: E731
        rest = lambda z, key: drop(F.relu(z), key)  # noqa: E731
        if whole:
            self.call = compiled(lambda z, key: rest(self.layer.alone(z)[0], key))
        else:
            fused = compiled(rest)
            self.call = lambda z, key: fused(self.layer.alone(z)[0], key)
        self.key = source(0, "block").bits((2,)).to(DEVICE)

    def forward(self, z: Tensor) -> Tensor:
        return self.call(z, self.key)


def both_ways(block: nn.Module, z: Tensor) -> None:
    out = block(z)
    torch.autograd.grad(out, [z, *block.parameters()], torch.ones_like(out))


def in_one_graph(z: Tensor) -> tuple[Callable[[], Any], int]:
    """Both ways as one graph, as they lie in a compiled step, and the bytes that wait inside of it: the input and every
    buffer it allocates that is no result."""
    from torch._inductor import compile as compiled
    from torch._inductor.utils import run_and_get_code
    from torch.fx.experimental.proxy_tensor import make_fx

    drop, n = acted(T.Dropout(0.5)), z.shape[1]

    def step(z: Tensor, w: Tensor, b: Tensor, key: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        leaves = [v.detach().requires_grad_() for v in (z, w, b)]
        with torch.enable_grad():
            u = torch.native_batch_norm(*leaves, None, None, True, 0.0, 1e-5)[0]
            out = drop(F.relu(u), key)
        return out.detach(), *torch.autograd.grad(out, leaves, g)

    args = [z.detach(), torch.ones(n), torch.zeros(n), source(0, "block").bits((2,)), torch.ones_like(z)]
    args = [v.detach().to(DEVICE) for v in args]
    graph = make_fx(step)(*args)
    run, (code,) = run_and_get_code(lambda: compiled(graph, args))

    def call() -> Any:
        with torch.no_grad():
            return run(*args)

    made = re.findall(r"empty_strided_\w+\(\(([\d, ]*)\), \([\d, ]*\), torch\.(\w+)\)", code.split("def get_args")[0])
    bytes_of = lambda shape, kind: math.prod(map(int, re.findall(r"\d+", shape))) * getattr(torch, kind).itemsize  # noqa: E731
    allocated = sum(bytes_of(*m) for m in made)
    return call, allocated - sum(v.nbytes for v in call()) + z.nbytes


def saved(block: nn.Module, z: Tensor) -> int:
    """Bytes that wait for the backward pass, each tensor once."""
    held: dict[int, int] = {}

    def keep(v: Tensor) -> Tensor:
        held[v.untyped_storage().data_ptr()] = v.untyped_storage().nbytes()
        return v

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda v: v):
        out = block(z)
    del out
    return sum(held.values())


def measure(blocks: int, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    out: dict[str, Any] = {"elements": ELEMENTS[0] * ELEMENTS[1], "masks": masks(blocks, seconds), "blocks": {}}
    for name, shape in SHAPES.items():
        z = torch.randn(shape, device=DEVICE, requires_grad=True)
        made: dict[str, nn.Module] = {
            "eager": Block(shape[1], len(shape) == 4),
            "ours, native batch norm": Ours(shape[1], len(shape) == 4, False),
            "ours, all compiled": Ours(shape[1], len(shape) == 4, True),
        }
        made = {k: v.to(DEVICE).train() for k, v in made.items()}
        calls: dict[str, Callable[[], Any]] = {k: lambda b=b, z=z: both_ways(b, z) for k, b in made.items()}
        calls["ours, both ways in one graph"], waiting = in_one_graph(z)
        taken = against(times(calls, blocks, seconds), "eager")
        taken["ours, both ways in one graph"]["saved bytes"] = waiting
        for k, b in made.items():
            taken[k]["saved bytes"] = saved(b, z)
        out["blocks"][name] = taken
    return out
