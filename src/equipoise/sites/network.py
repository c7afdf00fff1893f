"""A copy of the user's model in which techniques can act: what a forward pass of the objective calls.

The copy keeps class, attribute names, tied weights and state_dict keys. Each site's ``forward`` is replaced on the
instance: input noise → affine map → normalization. What a pass needs (techniques with their knobs, noise keys) is held
by one `Pass`, set for the duration of the call; the tensors come through `functional_call`, so that the pass is pure.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import EquipoiseError, nearest
from ..rng import Noise
from ..technique import At, Technique
from .adopt import BATCH_NORMS, adopt
from .find import find_residuals, find_sites, observe, run
from .site import Residual, Site, kind_of

WHOLE = 0xFFFF  # the "site" of draws that concern the whole batch
NORM = "normalization"  # name of the child that holds a site's normalization


class Pass:
    """What one forward pass knows: techniques by key, what stages are told (`at`), noise by (key, site, call), and what
    it records. The default is a quiet pass: every technique follows its deterministic rule."""

    def __init__(
        self,
        techniques: Mapping[str, Technique],
        at: Callable[[str], At] = lambda _: At(),
        noise: Callable[[Any, int, int], Noise | None] = lambda *_: None,
    ) -> None:
        self.techniques, self.at, self.noise = techniques, at, noise
        self.activations: list[Tensor] | None = None
        self._counts: Counter[int] = Counter()

    def at_site(self, key: str, site: Site, place: tuple[int, int]) -> At:
        return self.at(key)._replace(site=site, noise=self.noise(key, *place))

    def count(self, who: Any) -> int:
        n = self._counts[id(who)]
        self._counts[id(who)] += 1
        return n

    def noise_of(self, who: Any, call: int) -> Noise | None:
        return self.noise(who, 0, call)


class Network:
    """The user's model with sites. ``model`` is copied; ``x`` is a prepared batch of at least two rows."""

    def __init__(self, model: nn.Module, x: Any) -> None:
        self.original, self.module = model, copy.deepcopy(model).train()
        if not any(True for _ in model.parameters()):
            raise EquipoiseError("the model has no parameters: there is nothing to train.")
        trace = observe(self.module, x)
        self.output = _one_tensor(trace.output)
        self.sites = find_sites(self.module, trace, x)
        self.residuals: list[Residual] = find_residuals(self.sites, trace)
        self.calls = Counter(name for name, _, _ in trace.calls)
        fired = {s.name for s in self.sites}
        self.unreached = [n for n, m in self.module.named_modules() if kind_of(m) and n not in fired]
        self.notes: list[str] = []
        self.adopted = adopt(self)
        self.recurrent = any(s.kind == "recurrent" for s in self.sites) or any(
            isinstance(m, nn.RNNBase) for m in self.module.modules()
        )
        self.current: Pass | None = None
        self._layers: dict[int, nn.Module] = {}
        self.entries: dict[
            tuple[Any, int, int], int
        ] = {}  # (technique key or own layer, site, call) → row of the key table
        self.streams: list[tuple[str, int, int]] = []  # the same rows: (stream name, site, call)
        self._reserve_adopted()
        for s in self.sites:
            self._patch(s)
        self.own_norm_biases = _held_by_own_norms(self.sites, trace, dict(self.module.named_modules()))
        self.random_elsewhere = self._draws_elsewhere(x)

    # --- building -----------------------------------------------------------------------------------------------------
    def select(self, where: Any = "all", kinds: Iterable[str] = ("linear", "conv", "recurrent")) -> list[Site]:
        """Sites by ``where``: "all", "dense" (Linear only), a name, a pattern as "layers.*", or several of them."""
        if where in ("all", "dense"):
            wanted = ("linear",) if where == "dense" else tuple(kinds)
            return [s for s in self.sites if s.kind in wanted]
        names = (where,) if isinstance(where, str) else tuple(where)
        for n in names:
            if not any(fnmatchcase(s.name, n) for s in self.sites):
                known = [s.name for s in self.sites]
                hint = (
                    " It is no call of an affine module, so it cannot be reached."
                    if n in self.unreached
                    else nearest(n, known)
                )
                raise EquipoiseError(
                    f"where={n!r} names no site of the model.{hint} Sites: {', '.join(known) or 'none'}."
                )
        return [s for s in self.sites if any(fnmatchcase(s.name, n) for n in names)]

    def build(self, techniques: Iterable[Technique]) -> None:
        """Place every technique; one that finds no site is an error, never a silent no-op."""
        for t in techniques:
            self._place(t)
            t.build(self)
            if t.random:
                self.reserve(t.key, WHOLE, 1)
                for s in self.sites:
                    self.reserve(t.key, s.index, s.calls)

    def _place(self, t: Technique) -> None:
        stages = t.acts_in()
        if "act" not in stages and "affine" not in stages:
            return
        chosen: list[Site] = t.sites(self)
        if not chosen:
            raise EquipoiseError(
                f"{t!r} finds no site in this model ({self.describe()}): choose others with where=, or leave it out."
            )
        for s in chosen:
            if "act" in stages:
                s.acts.append(t.key)
            if "affine" in stages:
                if s.affine_by is not None:
                    raise EquipoiseError(
                        f"{t!r} and {s.affine_by} both replace the affine map of {s.name}: leave one out."
                    )
                s.affine_by = t.key
        missed = [s.name for s in self.sites if s not in chosen and not s.is_output] + self.unreached
        if missed:
            self.note(
                f"{type(t).__name__} acts at {len(chosen)} of {len(self.sites) + len(self.unreached)} affine maps; "
                f"not at {_few(missed)}."
            )

    def describe(self) -> str:
        kinds = Counter(s.kind for s in self.sites)
        return ", ".join(f"{n} {k}" for k, n in kinds.items()) or "no affine module is called"

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def normalize(self, site: Site, t: Technique, layer: nn.Module) -> None:
        """Put ``layer`` after the site's affine map; a site holds at most one normalization."""
        if site.norm_by is not None:
            raise EquipoiseError(
                f"{t!r} and {site.norm_by} would both normalize {site.name}: a site holds one normalization."
            )
        site.norm_by = t.key
        reference = next(site.module.parameters())
        site.module.add_module(NORM, layer.to(reference.dtype))

    def reserve(self, who: Any, site: int, calls: int) -> None:
        """Keep ``calls`` noise keys for a technique (its key) at a site, or at any number above 0x8000 of its own."""
        for call in range(calls):
            if (who, site, call) not in self.entries:
                self.entries[who, site, call] = len(self.streams)
                self.streams.append((str(who), site, call))

    def _reserve_adopted(self) -> None:
        for number, (name, _) in enumerate(self.adopted):
            for call in range(max(self.calls[name.removeprefix("own/")], 1)):
                self.entries[-1 - number, 0, call] = len(self.streams)
                self.streams.append((name, 0, call))

    # --- running ------------------------------------------------------------------------------------------------------
    def call(
        self, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Any, current: Pass, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs and the new buffers. Pure: everything it reads is an argument."""
        self.module.train(training)
        self.current, tensors = current, {**params, **buffers}
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # it would pass by the sites inside a TransformerEncoderLayer
        try:
            out = functional_call(self.module, tensors, x if isinstance(x, tuple) else (x,))
        finally:
            self.current = None
            torch.backends.mha.set_fastpath_enabled(fast)
        return _one_tensor(out), {k: tensors[k] for k in buffers}

    def held(self, params: dict[str, Tensor], techniques: Mapping[str, Technique]) -> dict[str, Tensor]:
        """Biases before a normalization enter as (1 − w)·b, those before the user's own batch norm without gradient."""
        out = dict(params)
        for s in self.sites:
            if s.bias in out and s.norm_by is not None and self._alone(s):
                layer: Any = getattr(s.module, NORM)
                out[s.bias] = layer.bias_share(techniques[s.norm_by], out[s.bias])
        for name in self.own_norm_biases:
            if name in out:
                out[name] = out[name].detach()
        return out

    def _alone(self, site: Site) -> bool:
        return all(o is site or o.bias != site.bias for o in self.sites)

    def _patch(self, site: Site) -> None:
        plain = site.module.forward

        def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
            now = self.current
            if now is None:
                return plain(x, *args, **kwargs)
            call = now.count(site)
            if now.activations is not None and not site.reads_input:
                now.activations.append(x)
            source = site.sources[call] if call < len(site.sources) else (site.index, min(call, site.calls - 1))
            for key in site.acts:
                x = now.techniques[key].act(x, now.at_site(key, site, source))
            if site.affine_by is None:
                z = plain(x, *args, **kwargs)
            else:
                m: Any = site.module
                t = now.techniques[site.affine_by]
                at = now.at_site(
                    site.affine_by, site, source if t.per_unit else (site.index, min(call, site.calls - 1))
                )
                z = t.affine(x, m.weight, m.bias, at)
            if site.norm_by is None:
                return z
            layer: Any = getattr(site.module, NORM)
            return layer.gated(z, now.techniques[site.norm_by])

        site.module.forward = forward

    def _draws_elsewhere(self, x: Any) -> bool:
        """Does the model draw from torch's generator outside of what is adopted (dropout in attention or an LSTM)?"""
        params, buffers = dict(self.module.named_parameters()), dict(self.module.named_buffers())
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            before = torch.get_rng_state()
            self.call(params, {k: v.clone() for k, v in buffers.items()}, x, Pass({}), training=True)
            return not torch.equal(before, torch.get_rng_state())

    def trainable(self) -> list[str]:
        return [n for n, p in self.module.named_parameters() if p.requires_grad]

    @cached_property
    def affine_weights(self) -> frozenset[str]:
        """Trainable parameters that penalties and decay mean: matrices and kernels, no biases, nothing of a norm."""
        norms = {
            id(p) for m in self.module.modules() if "Norm" in type(m).__name__ for p in m.parameters(recurse=False)
        }
        biases = {s.bias for s in self.sites}
        named = self.module.named_parameters()
        return frozenset(
            n for n, p in named if p.requires_grad and p.dim() > 1 and n not in biases and id(p) not in norms
        )


def _one_tensor(out: Any) -> Tensor:
    if isinstance(out, Tensor):
        return out
    raise EquipoiseError(
        f"the model returns a {type(out).__name__}; return one tensor of outputs (wrap the model to pick it)."
    )


def _few(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _held_by_own_norms(sites: list[Site], trace: Any, modules: Mapping[str, nn.Module]) -> set[str]:
    """Biases whose only consumer is a batch norm of the user's own: their gradient is rounding noise."""
    edges: Counter[Any] = Counter()
    seen, stack = set(), [getattr(trace.output, "grad_fn", None)]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for n, _ in node.next_functions:
            edges[n] += 1
            stack.append(n)
    outputs = {name: out for name, _, out in trace.calls if isinstance(out, Tensor)}
    return {
        s.bias
        for s in sites
        if s.bias
        and s.calls == 1
        and s.normalized_by
        and isinstance(modules[s.normalized_by], BATCH_NORMS)
        and edges[outputs[s.name].grad_fn] == 1
    }


__all__ = ["NORM", "WHOLE", "Network", "Pass", "run"]
