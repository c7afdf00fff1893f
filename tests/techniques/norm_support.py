"""What the tests of the normalizations share: a map of every kind, PyTorch's layer behind it, equality step by step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from equipoise.technique import Technique

from ..rig import Rig

F64 = torch.float64
C = 6  # units of the normalized map

MAPS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vectors": (lambda: nn.Linear(5, C), (9, 5)),
    "sequences": (lambda: nn.Linear(5, C), (4, 3, 5)),
    "images, channels last": (lambda: nn.Linear(2, C), (4, 3, 4, 2)),
    "conv1d": (lambda: nn.Conv1d(2, C, 3, groups=2), (5, 2, 7)),
    "conv2d": (lambda: nn.Conv2d(4, C, 3, 2, 1, groups=2), (5, 4, 5, 6)),
    "circular": (lambda: nn.Conv2d(2, C, 3, 1, 1, padding_mode="circular"), (5, 2, 4, 4)),
    "conv3d": (lambda: nn.Conv3d(2, C, 2), (4, 2, 3, 4, 3)),
}
LAST = ("vectors", "sequences", "images, channels last")  # units stand last
SPREAD = tuple(k for k in MAPS if k != "vectors")  # units have positions


class End(nn.Module):
    """Anything to (B, 3), so that every kind of map can stand before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, h: Tensor) -> Tensor:
        return self.fc(h.flatten(1))


class Flat(nn.Module):
    """PyTorch's layer for (N, C) on units that stand last: every position is a row."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, z: Tensor) -> Tensor:
        return self.norm(z.flatten(0, -2)).view(z.shape)


class Second(nn.Module):
    """PyTorch's layer for (N, C, …) on units that stand last."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, z: Tensor) -> Tensor:
        return self.norm(z.movedim(-1, 1)).movedim(1, -1)


def network(kind: str, seed: int = 0) -> tuple[nn.Sequential, Tensor]:
    """map → tanh → (B, 3), and an input."""
    torch.manual_seed(seed)
    make, shape = MAPS[kind]
    x = torch.randn(shape, dtype=F64) + 0.3
    first = make().double()
    return nn.Sequential(first, nn.Tanh(), End(first(x)[0].numel()).double()), x


def behind(model: nn.Sequential, norm: nn.Module, *, bias: bool) -> nn.Sequential:
    """A copy of `network` with ``norm`` behind the map, and the map's bias if wanted."""
    first = copy.deepcopy(model[0])
    if not bias:
        first.bias = None  # type: ignore[assignment]
    return nn.Sequential(first, norm.double(), nn.Tanh(), copy.deepcopy(model[2]))


def loss(out: Tensor) -> Tensor:
    return (out - torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).square().mean()


def assert_equals_torch(t: Technique, kind: str, norm: nn.Module, *, bias: bool, steps: int = 4) -> tuple[Rig, Any]:
    """Outputs, gradients and evaluation over some steps of gradient descent; ours is called ``0.normalization``."""
    model, x = network(kind)
    rig, theirs = Rig(model, x, t), behind(model, norm, bias=bias)
    inner = norm.norm if isinstance(norm, Flat | Second) else norm
    for step in range(steps):
        batch = x.roll(step, 0) * (1 + 0.1 * step)
        before = {k: v.clone() for k, v in rig.buffers.items()}
        theirs.zero_grad()
        expected = theirs(batch)
        loss(expected).backward()
        out, _ = rig.run(rig.params, rig.buffers, batch)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
        assert all(torch.equal(before[k], v) for k, v in rig.buffers.items())  # nothing was written in place
        grads = rig.descend(batch, loss)
        pairs = {"0.weight": theirs[0].weight, "0.bias": theirs[0].bias, "2.fc.weight": theirs[3].fc.weight}
        pairs |= {f"0.normalization.{k}": p for k, p in inner.named_parameters()}
        assert {k for k in grads if "normalization" in k} == {k for k in pairs if "normalization" in k}
        for name, p in pairs.items():
            if p is None:
                assert not grads[name].any()
            else:
                torch.testing.assert_close(grads[name], p.grad, rtol=0, atol=1e-10)
        with torch.no_grad():
            for p in theirs.parameters():
                p -= 0.1 * p.grad  # type: ignore[operator]
    theirs.eval()
    torch.testing.assert_close(rig(x, training=False), theirs(x), rtol=0, atol=1e-10)
    return rig, inner


def assert_stacked_equals_alone(t: Technique, kind: str) -> None:
    """Loss, gradients and new buffers of three runs under vmap are those of each run alone."""
    model, x = network(kind)
    rig = Rig(model, x, t)
    f = grad_and_value(lambda p, b, v: (lambda o, n: (loss(o), n))(*rig.run(p, b, v)), has_aux=True)
    scales = (1.0, 0.7, 1.4)
    runs = [({k: v * s for k, v in rig.params.items()}, rig.buffers, x.roll(i, 0)) for i, s in enumerate(scales)]
    tree = torch.utils._pytree
    together = torch.vmap(f, randomness="error")(*tree.tree_map(lambda *v: torch.stack(v), *runs))
    for i, run in enumerate(runs):
        for mine, theirs in zip(*map(tree.tree_leaves, (f(*run), together)), strict=True):
            torch.testing.assert_close(theirs[i], mine, rtol=0, atol=1e-12)


def assert_off_is_plain(t: Technique, kind: str) -> None:
    """At `off` the outputs are the plain network's bit for bit, its gradients to rounding, the layer's own are zero."""
    model, x = network(kind)
    rig, plain = Rig(model, x, t.switched_off()), Rig(model, x)
    assert torch.equal(rig(x), plain(x))
    grads, own = rig.gradients(x, loss), plain.gradients(x, loss)
    for k, g in grads.items():
        if k in own:
            torch.testing.assert_close(g, own[k], rtol=0, atol=1e-15)
        else:
            assert not g.any()


def assert_kept_on_export(t: Technique, kind: str) -> None:
    """The plain network predicts the same, with the layer kept and told."""
    model, x = network(kind)
    rig = Rig(model, x, t)
    for step in range(3):
        rig.descend(x * (1 + 0.2 * step), loss)
    plain, notes = rig.folded()
    torch.testing.assert_close(plain(x), rig(x, training=False), rtol=0, atol=1e-12)
    assert notes == [f"{type(t).__name__} at 0 is kept as a layer: it depends on the example."]
    assert type(plain) is type(model) and set(model.state_dict()) <= set(plain.state_dict())


def assert_half_precision_is_close(t: Technique, kind: str) -> None:
    """bfloat16 by autocast, alone and stacked, stays near float32."""
    model, x = network(kind)
    rig = Rig(model.float(), x.float(), t)
    out, x = rig(x.float()), x.float()
    both = torch.utils._pytree.tree_map(lambda v: torch.stack([v, v]), (rig.params, rig.buffers, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, (stacked, _) = rig(x), torch.vmap(rig.run)(*both)
    torch.testing.assert_close(half.float(), out, rtol=0, atol=0.06)
    torch.testing.assert_close(stacked[1].float(), half.float(), rtol=0, atol=0.03)
