from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError
from ...technique import Technique, knob, option
from ._units import owners

FIRST = 0x8000  # branch l draws at "site" FIRST + l

LINEAR_IN_ITS_PARAMETERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
)  # fmt: skip


class StochasticDepth(Technique):
    """Leave out whole residual branches at random.

    H = x + b_l·F(x) with b_l ~ Bernoulli(keep_l) for the l-th of L branches in the order of execution:
    keep_l = 1 − (l/L)·p_last (`linear`, default), or 1 − p_last for all (`constant`). `scaling` = "inverted" (default):
    b_l/keep_l in training, 1 in prediction; "at_test": b_l in training, keep_l in prediction (the paper; on export it
    is multiplied into the layer that ends the branch). Branches are additions x + F(x) found in the network, where F(x)
    is a module's output; `where` also names modules whose output is a branch that was not found.

    Knobs: `p_last` = probability to leave out the last branch, in [0, 1).
    Options: `where` = "all" (default: every branch found), or names of the modules that end branches; `rule` = "linear"
        or "constant"; `per` = "batch" (default) or "example"; `scaling` = "inverted" or "at_test".
    Shapes: F(x) of any shape; per example, rows are its first axis.
    Errors: no branch found; a `where` that names no module that is called; a branch two entries leave out; "at_test"
        for a module that ends branches with different keep rates, or is called elsewhere too.
    Trade: trains an ensemble of shallower networks: variance down, bias up a little where depth is short; gradients
        reach early layers through fewer branches. No time is saved here: left-out branches are computed.
    Source: Huang, Sun, Liu, Sedra, Weinberger (2016); deck D1.
    """

    place = ("where",)
    off = {"p_last": 0.0}
    random = True
    p_last: float = knob(0.5, low=0.0, high=1.0, open="high")
    where: Any = option("all")
    rule: str = option("linear", choices=("linear", "constant"))
    per: str = option("batch", choices=("batch", "example"))
    scaling: str = option("inverted", choices=("inverted", "at_test"))

    def branches(self, net: Any) -> dict[str, dict[int, int]]:
        """Module that ends a branch → {its call: number l of the branch, from 1}, in the order of execution."""
        found = [(r.module, r.call) for r in net.residuals]
        if self.where != "all":
            found = self._named(net, found)
        if not found:
            raise EquipoiseError(
                f"{self!r} finds no residual branch (an addition of a tensor and a module's output computed from it): "
                "name the modules that end the branches with where=, or leave it out."
            )
        numbered: dict[str, dict[int, int]] = {}
        for level, (name, call) in enumerate(found, 1):
            numbered.setdefault(name, {})[call] = level
        return numbered

    def _named(self, net: Any, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """The branches of ``where``: those found, else every call of a module so named; in the order of execution."""
        chosen: list[tuple[str, int]] = []
        for pattern in (self.where,) if isinstance(self.where, str) else self.where:
            hits = [f for f in found if fnmatchcase(f[0], pattern)]
            hits = hits or [(n, c) for n, k in net.calls.items() if fnmatchcase(n, pattern) for c in range(k)]
            if not hits:
                known = ", ".join(dict.fromkeys(n for n, _ in found)) or "none"
                raise EquipoiseError(
                    f"{self!r}: {pattern!r} names no module that is called. Modules that end branches: {known}."
                )
            chosen += [h for h in hits if h not in chosen]
        order = list(net.calls)
        return sorted(chosen, key=lambda h: (order.index(h[0]), h[1]))

    def keep(self, level: int, levels: int) -> Any:
        """keep_l."""
        return 1 - self.p_last * (level / levels if self.rule == "linear" else 1.0)

    # --- in the step --------------------------------------------------------------------------------------------------
    def build(self, net: Any) -> None:
        branches = self.branches(net)
        levels = sum(map(len, branches.values()))
        for name, calls in branches.items():
            if self.scaling == "at_test":
                self._one_keep(net, name, calls)
            for level in calls.values():
                net.reserve(self.key, FIRST + level, 1)
            self._leave_out(net, name, calls, levels)

    def _one_keep(self, net: Any, name: str, calls: Mapping[int, int]) -> None:
        if len(calls) < net.calls[name] or (len(calls) > 1 and self.rule == "linear"):
            raise EquipoiseError(
                f'{self!r}: {name} is called {net.calls[name]} times, not all alike; use scaling="inverted".'
            )

    def _leave_out(self, net: Any, name: str, calls: Mapping[int, int], levels: int) -> None:
        """Multiply what the module returns, whatever else acts inside it."""
        module, key = net.module.get_submodule(name), self.key
        plain = module.forward
        if hasattr(plain, "left_out_by"):
            raise EquipoiseError(f"{self!r} and {plain.left_out_by} both leave out the branch that ends in {name}.")

        def forward(*args: Any, **kwargs: Any) -> Any:
            out, now = plain(*args, **kwargs), net.current
            if now is None or (level := calls.get(now.count(calls))) is None:
                return out
            return now.techniques[key].branch(out, level, levels, now.noise(key, FIRST + level, 0))

        forward.left_out_by = key  # type: ignore[attr-defined]
        module.forward = forward

    def branch(self, out: Tensor, level: int, levels: int, noise: Any) -> Tensor:
        """b_l·F(x), or its rule in prediction."""
        if not isinstance(out, Tensor):
            raise EquipoiseError(
                f"{self!r}: the module named by where= returns a {type(out).__name__}, not one tensor."
            )
        keep = self.keep(level, levels)
        if noise is None:
            return out if self.scaling == "inverted" else (out * keep).to(out.dtype)
        single = self.per == "batch"
        shape = (1 if single else out.shape[0], *[1] * (out.dim() - 1))
        b = noise.bernoulli(shape, keep, shared=single).to(torch.promote_types(out.dtype, torch.float32))
        return (out * (b / keep if self.scaling == "inverted" else b)).to(out.dtype)

    # --- the way back -------------------------------------------------------------------------------------------------
    def fold(self, plain: Any, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        if self.scaling == "inverted" or self.p_last == 0:
            return []
        branches, notes = self.branches(net), []
        levels = sum(map(len, branches.values()))
        normalized = {s.name for s in net.sites if s.norm_by is not None}
        for name, calls in branches.items():
            keep, module = float(self.keep(next(iter(calls.values())), levels)), plain.get_submodule(name)
            why = "a normalization ends the branch" if name in normalized else _obstacle(plain, module)
            if why:
                module.register_forward_hook(ScaleOutput(keep))
                notes.append(f"StochasticDepth scales the output of {name} by {keep:.6g} in a hook: {why}.")
            else:
                for p in module.parameters(recurse=False):
                    p.data.copy_(p.data.double() * keep)
        return notes


def _obstacle(plain: nn.Module, module: nn.Module) -> str:
    """Why a factor on the module's output cannot go into its parameters, or nothing."""
    own = list(module.parameters(recurse=False))
    if not isinstance(module, LINEAR_IN_ITS_PARAMETERS) or not own:
        return "its last layer has no weights of its own"
    if any(owners(plain, p) > 1 for p in own):
        return "its weights are tied"
    return "" if all(p.requires_grad for p in own) else "its weights are frozen"


class ScaleOutput:
    """A forward hook that multiplies a module's output by a fixed factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        return out * self.factor
