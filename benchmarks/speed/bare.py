"""What one would write by hand: the tuned eager loop, and the whole step as one compiled graph on flat state."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from cases import DEVICE, Case, rows
from timing import Variant
from torch import Tensor
from torch._higher_order_ops import scan
from torch.fx.experimental.proxy_tensor import make_fx

BETA1, BETA2, DELTA, DECAY, MOMENTUM = 0.9, 0.999, 1e-8, 0.01, 0.9
LAYERS = {"a": ("fc1", "fc2", "fc3"), "c": ("fc1", "fc2", "fc3")}


def bare(case: Case) -> Variant:
    """Data in memory, fused optimizer, gradients set to None, no look at the loss."""

    def start() -> Callable[[int], None]:
        x, y = rows(case.name)
        torch.manual_seed(0)
        model = case.build(True).to(DEVICE).train()
        optimizer = case.optimizer_of(model.parameters())

        def run(epochs: int) -> None:
            torch.set_num_threads(case.threads)
            for _ in range(epochs):
                for i in torch.randperm(len(x), device=DEVICE).split(case.batch):
                    loss = F.cross_entropy(model(x[i]), y[i])
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()

        return run

    return Variant("bare PyTorch loop", start)


# --- the whole step by hand -------------------------------------------------------------------------------------------
def dropped(x: Tensor, p: float, key: Tensor) -> Tensor:
    """Inverted dropout by a counter hash of the element's number and two key words."""
    z = torch.arange(x.numel(), dtype=torch.int32, device=x.device).view(x.shape) + key[0]
    shift = lambda v, n: (v >> n) & ((1 << (32 - n)) - 1)  # noqa: E731
    z = (z ^ shift(z, 16)) * 0x21F0AAAD
    z = (z ^ shift(z, 15)) * (0xD35A2D97 - (1 << 32))
    z = (z ^ shift(z, 15) ^ key[1]) * (0xED5AD4BB - (1 << 32))
    z = z ^ shift(z, 16)
    return x * (shift(z, 8) >= int(p * 2**24)) * (1 / (1 - p))


class ByHand:
    """Parameters and moments as one vector each, buffers as one; `step` is pure."""

    def __init__(self, case: Case) -> None:
        self.case, self.model = case, case.build(True).to(DEVICE).train()
        self.names = {k: v.shape for k, v in self.model.named_parameters()}
        self.stats = [k for k, _ in self.model.named_buffers() if k.endswith(("mean", "var"))]
        params = torch.cat([v.detach().flatten() for v in self.model.parameters()])
        moments = [torch.zeros_like(params) for _ in range(1 if case.optimizer == "nesterov" else 2)]
        buffers = dict(self.model.named_buffers())
        held = torch.cat([buffers[k].flatten() for k in self.stats]) if self.stats else torch.zeros(1, device=DEVICE)
        # which parameters decay: carried along, because a constant cannot stand in the body of a scan
        masks = [torch.full((s.numel(),), float(len(s) > 1)) for s in self.names.values()]
        decays = torch.cat(masks).to(DEVICE) if case.optimizer == "adamw" else torch.zeros(1, device=DEVICE)
        self.state = (params, *moments, held, decays)

    def views(self, flat: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
        parts = flat.split([s.numel() for s in shapes.values()])
        return {k: v.view(s) for (k, s), v in zip(shapes.items(), parts, strict=True)}

    def forward(self, p: dict[str, Tensor], s: dict[str, Tensor], x: Tensor, key: Tensor) -> Tensor:
        norm = lambda v, n: F.batch_norm(v, s[f"{n}.running_mean"], s[f"{n}.running_var"], p[f"{n}.weight"],  # noqa: E731
                                         p[f"{n}.bias"], training=True)  # fmt: skip
        dense = lambda v, n: F.linear(v, p[f"{n}.weight"], p[f"{n}.bias"])  # noqa: E731
        if self.case.name == "a":
            for i in (1, 2):
                x = dropped(norm(dense(x, f"fc{i}"), f"bn{i}").relu(), 0.5, key[i - 1])
            return dense(x, "fc3")
        if self.case.name == "c":
            return dense(dense(dense(x, "fc1").relu(), "fc2").relu(), "fc3")
        for i in (1, 2):
            x = norm(F.conv2d(x, p[f"conv{i}.weight"], p[f"conv{i}.bias"]), f"bn{i}").relu()
        return dense(dense(dropped(F.max_pool2d(x, 2).flatten(1), 0.25, key[0]), "fc1").relu(), "fc2")

    def step(self, *args: Tensor) -> tuple[Tensor, ...]:
        """(parameters, moments…, statistics, x, y, keys, step number) → (new state…, loss)."""
        *state, x, y, key, t = args
        flat, moments, held, decays = state[0].detach().requires_grad_(), state[1:-2], state[-2].clone(), state[-1]
        buffers = dict(self.model.named_buffers())
        s = self.views(held, {k: buffers[k].shape for k in self.stats}) if self.stats else {}
        with torch.enable_grad():
            loss = F.cross_entropy(self.forward(self.views(flat, self.names), s, x, key), y)
        (g,) = torch.autograd.grad(loss, [flat])
        p, rate = state[0], self.case.rate
        if self.case.optimizer == "nesterov":
            v = MOMENTUM * moments[0] + g
            return p - rate * (g + MOMENTUM * v), v, held, decays.clone(), loss.detach()
        m, v = BETA1 * moments[0] + (1 - BETA1) * g, BETA2 * moments[1] + (1 - BETA2) * g * g
        size = torch.sqrt(v / (1 - torch.exp(math.log(BETA2) * t))) + DELTA
        new = p * (1 - rate * DECAY * decays) - rate * (m / (1 - torch.exp(math.log(BETA1) * t))) / size
        return new, m, v, held, decays.clone(), loss.detach()

    def blocks(self, k: int) -> Iterator[tuple[Tensor, ...]]:
        """An epoch in blocks of k batches: x, y, keys, step numbers, each with a leading axis k."""
        x, y = rows(self.case.name)
        order = torch.randperm(len(x), device=DEVICE).view(-1, k, self.case.batch)
        for n, i in enumerate(order):
            keys = torch.randint(-(2**31), 2**31, (k, 2, 2), device=DEVICE).to(torch.int32)
            yield x[i], y[i], keys, torch.arange(n * k + 1, n * k + k + 1, device=DEVICE).float()


def whole_step(case: Case) -> Variant:
    """The pure step as one Inductor graph, called step by step."""

    def start() -> Callable[[int], None]:
        from torch._inductor import compile as compiled

        torch.set_num_threads(case.threads)
        hand = ByHand(case)
        example = [*hand.state, *(v[0] for v in next(hand.blocks(8)))]
        graph = make_fx(hand.step)(*example)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        step = compiled(graph, example)
        state = hand.state

        def run(epochs: int) -> None:
            nonlocal state
            torch.set_num_threads(case.threads)
            for _ in range(epochs):
                for block in hand.blocks(8):
                    for batch in zip(*block, strict=True):
                        *new, _ = step(*state, *batch)
                        state = tuple(new)

        return run

    return Variant("whole step by hand, one graph", start)


def scanned(case: Case, k: int) -> Variant:
    """The pure step, scanned over k batches, exported and packaged ahead of time."""
    spent = 0.0

    def start() -> Callable[[int], None]:
        from torch._inductor import aoti_compile_and_package, aoti_load_package

        nonlocal spent
        torch.set_num_threads(case.threads)
        hand = ByHand(case)
        block, n = next(hand.blocks(k)), len(hand.state)
        body_graph = make_fx(hand.step)(*hand.state, *(v[0] for v in block))
        body_graph.graph.eliminate_dead_code()
        body_graph.recompile()

        class Loop(torch.nn.Module):
            def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
                def body(carry: list[Tensor], batch: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor]:
                    *new, loss = body_graph(*carry, *batch)
                    return [a.clone() for a in new], loss.clone()

                carry, losses = scan(body, list(args[:n]), tuple(args[n:]))
                return (*carry, losses)

        began = time.perf_counter()
        path = str(Path(tempfile.mkdtemp()) / "step.pt2")
        exported = torch.export.export(Loop(), (*hand.state, *block))
        package = aoti_load_package(aoti_compile_and_package(exported, package_path=path))
        spent = time.perf_counter() - began
        state = hand.state

        def run(epochs: int) -> None:
            nonlocal state
            torch.set_num_threads(case.threads)
            for _ in range(epochs):
                for block in hand.blocks(k):
                    *new, _ = package(*state, *block)
                    state = tuple(new)

        return run

    return Variant(f"whole step by hand, {k} a call", start, note=lambda: f"package {spent:.0f} s")
