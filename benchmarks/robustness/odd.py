"""Networks put together from odd parts, as users might write them."""

from __future__ import annotations

from typing import Any

import strategies as S
import torch
from hypothesis import strategies as st
from torch import nn


class Odd(nn.Module):
    """A network put together from odd parts; ``plan`` names them."""

    def __init__(self, plan: tuple[str, ...], outputs: int = 2) -> None:
        super().__init__()
        self.plan = plan
        self.first, self.shared, self.norm = nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.scale, self.last, self.batch = nn.Parameter(torch.ones(4)), nn.Linear(4, outputs), nn.BatchNorm1d(4)
        self.drop, self.rnn, self.attention = (
            nn.Dropout(0.5),
            nn.GRU(4, 4, batch_first=True),
            nn.MultiheadAttention(4, 2),
        )
        self.register_buffer("count", torch.zeros(()))
        if "tied" in plan:
            self.last = nn.Linear(4, 4)
            self.last.weight = self.shared.weight
        if "frozen" in plan:
            self.first.weight.requires_grad_(False)
        if "no affine" in plan:
            del self.first, self.shared, self.last, self.rnn, self.attention
        if "all frozen" in plan:
            self.requires_grad_(False)

    def forward(self, *given: Any) -> Any:
        x = sum(v.flatten(1)[:, :3].float() for v in given) if len(given) > 1 else given[0]
        if "no affine" in self.plan:
            return (self.scale[:2] * x[:, :2]) if "wide" not in self.plan else self.scale * x.sum(1, keepdim=True)
        h = self.first(x)
        for part in self.plan:
            h = self._part(part, h)
        return self._end(self.last(h))

    def _part(self, part: str, h: Any) -> Any:
        if part == "branch":
            return h if h.sum() > 0 else -h
        if part == "random":
            return h + torch.randn_like(h)
        if part == "in place":
            return h.relu_()
        if part == "count":
            self.count += 1
        if part == "item":
            return h * float(h.detach().mean())
        if part == "error":
            raise ValueError("broken\non purpose")
        return {
            "twice": lambda: self.shared(self.shared(h)), "norm": lambda: self.norm(h), "batch": lambda: self.batch(h),
            "drop": lambda: self.drop(h), "scale": lambda: self.scale * h, "rnn": lambda: self.rnn(h[None])[0][0],
            "attention": lambda: self.attention(h[None], h[None], h[None])[0][0], "exp": lambda: torch.exp(50 * h),
            "double": lambda: h.double().float(), "detach": h.detach, "nan": lambda: h / 0 * 0,
        }.get(part, lambda: h)()  # fmt: skip

    def _end(self, out: Any) -> Any:
        ends = {
            "tuple": lambda: (out, out), "dict": lambda: {"logits": out}, "scalar": out.mean, "flat": lambda: out[:, 0],
            "wide": lambda: torch.cat([out, out], 1), "deep": lambda: out[..., None], "none": lambda: None,
            "fewer rows": lambda: out[1:], "whole": out.long, "no gradient": out.detach,
        }  # fmt: skip
        return next((ends[p]() for p in self.plan if p in ends), out)


PARTS = [
    "branch", "random", "in place", "count", "item", "twice", "norm", "batch", "drop", "scale", "rnn",
    "attention", "exp", "double", "detach", "error", "nan", "tuple", "dict", "scalar", "flat", "wide", "deep", "none",
    "fewer rows", "whole", "no gradient", "no affine", "frozen", "all frozen", "tied",
]  # fmt: skip
PLAIN = PARTS[: PARTS.index("detach")]  # those that train
plans = S.mostly(st.lists(st.sampled_from(PLAIN), max_size=3), st.lists(st.sampled_from(PARTS), max_size=3), 60).map(
    tuple
)
