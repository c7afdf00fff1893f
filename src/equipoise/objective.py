"""Where a step's loss is put together: batch → preparation → mixing → weights → forward with sites → loss + penalty."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .rng import Noise
from .sites import Network
from .sites.network import WHOLE, Pass
from .technique import At, Batch, Params, Technique

Fitted = Mapping[str, Mapping[str, Tensor]]
NoiseOf = Callable[[Any, int, int], Noise | None]
AtOf = Callable[[str], At]
Techniques = Mapping[str, Technique]


def acting(techniques: Sequence[Technique], stage: str) -> list[str]:
    """Keys of the techniques that act in a stage, in the order they act."""
    chosen = [t for t in techniques if stage in t.acts_in()]
    return [t.key for t in sorted(chosen, key=lambda t: t.turn)]


def neighbours(techniques: Sequence[Technique]) -> list[tuple[list[str], Callable[..., Batch] | None]]:
    """Keys of techniques in the order they act, those with one function ``together`` beside each other as one."""
    order = sorted(techniques, key=lambda t: t.turn)
    groups = itertools.groupby(order, lambda t: getattr(t, "together", t.key))
    return [([t.key for t in some], None if isinstance(how, str) else how) for how, some in groups]


class Objective:
    """Loss and prediction of one program. ``techniques`` fix the structure; knobs come with every call."""

    def __init__(
        self,
        net: Network,
        techniques: Sequence[Technique],
        coding: Technique,
        task: str,
        outputs: int,
        precision: str = "float32",
    ) -> None:
        self.net, self.coding, self.task, self.outputs, self.precision = net, coding, task, outputs, precision
        self.stages = {s: acting(techniques, s) for s in ("prepare", "batch", "weights", "penalty")}
        self.phase = {t.key: t.phase for t in techniques}
        self._raw = neighbours([t for t in techniques if t.key in self._of_phase("raw")])
        self.loss_key = next(t.key for t in techniques if t.slot == "objective")
        self._activations = any(t.needs_activations for t in techniques)

    # --- training -----------------------------------------------------------------------------------------------------
    def batch(self, x: Any, y: Tensor, w: Tensor, dtype: torch.dtype) -> Batch:
        """The stored rows as the stages see them: floating inputs in ``dtype``, class codes as probabilities.

        Bytes stay bytes, which are cheaper to move; `transform` and `prepare` make numbers of them."""
        as_float = lambda v: v.to(dtype) if v.is_floating_point() else v  # noqa: E731
        x = tuple(map(as_float, x)) if isinstance(x, tuple) else as_float(x)
        if self.task == "classify":
            y = (y[..., None] == torch.arange(self.outputs, device=y.device)).to(dtype)  # F.one_hot fails under vmap
        return Batch(x, y.to(dtype), w.to(dtype))

    def transform(self, batch: Batch, techniques: Techniques, fitted: Fitted, at: AtOf) -> Batch:
        """Augment the raw rows, prepare them, then mix and smooth."""
        batch = self._augmented(batch, techniques, at)
        batch = batch._replace(x=self.prepare(batch.x, techniques, fitted))
        for key in self.stages["prepare"]:
            batch = batch._replace(y=techniques[key].prepare_target(batch.y, fitted[key]))
        for key in self._of_phase("mixed"):
            batch = techniques[key].batch(batch, at(key))
        return batch

    def _augmented(self, batch: Batch, techniques: Techniques, at: AtOf) -> Batch:
        """The raw rows after the techniques that act on them."""
        for keys, together in self._raw:
            if together is None:
                (key,) = keys
                batch = techniques[key].batch(batch._replace(x=self._numbers(batch.x)), at(key))
            else:
                batch = together(batch, [(techniques[key], at(key)) for key in keys])
        return batch

    def _numbers(self, x: Any) -> Any:
        """Bytes as floating numbers."""
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        one = lambda v: v.to(dtype) if v.dtype == torch.uint8 else v  # noqa: E731
        return tuple(map(one, x)) if isinstance(x, tuple) else one(x)

    def _of_phase(self, phase: str) -> list[str]:
        return [k for k in self.stages["batch"] if self.phase[k] == phase]

    def prepare(self, x: Any, techniques: Techniques, fitted: Fitted) -> Any:
        x = self._numbers(x)
        for key in self.stages["prepare"]:
            x = techniques[key].prepare(x, fitted[key])
        return x

    def loss(
        self,
        params: Params,
        buffers: Params,
        batch: Batch,
        techniques: Techniques,
        at: AtOf,
        noise: NoiseOf,
    ) -> tuple[Tensor, Params]:
        """Scalar loss of a transformed batch, and the new buffers."""
        held = self.net.held(params, techniques)
        for key in self.stages["weights"]:
            held = techniques[key].weights(held, self._at_sites(key, at, noise))
        now = Pass(techniques, at, noise)
        now.activations = [] if self._activations else None
        new_buffers = dict(buffers)

        def forward(x: Any, weights: Params | None = None) -> Tensor:
            if weights is not None:
                quiet = Pass(techniques, lambda key: at(key)._replace(noise=None))
                return self._call(self.net.held(weights, techniques), buffers, x, quiet, training=True)[0].detach()
            out, changed = self._call(held, new_buffers, x, now, training=True)
            new_buffers.update(changed)
            return out

        output = forward(batch.x)
        here = at(self.loss_key)._replace(forward=forward, params=params)
        total = techniques[self.loss_key].loss(output, batch, here)
        for key in self.stages["penalty"]:
            total = total + techniques[key].penalty(params, at(key)._replace(activations=now.activations or ()))
        return total, new_buffers

    def _at_sites(self, key: str, at: AtOf, noise: NoiseOf) -> Callable[[Any], At]:
        return lambda site: at(key)._replace(site=site, noise=noise(key, WHOLE if site is None else site.index, 0))

    def _call(self, params: Params, buffers: Params, x: Any, now: Pass, training: bool) -> tuple[Tensor, Params]:
        """Decoded outputs and new buffers."""
        if self.precision != "bfloat16":
            out, changed = self.net.call(params, buffers, x, now, training)
        else:
            device = next(iter(params.values())).device.type
            with torch.autocast(device, dtype=torch.bfloat16):
                out, changed = self.net.call(params, buffers, x, now, training)
            out, changed = out.float(), {k: v.to(buffers[k].dtype) for k, v in changed.items()}
        return self.coding.decode(out, self.task), changed

    # --- prediction ---------------------------------------------------------------------------------------------------
    def predict(self, params: Params, buffers: Params, x: Any, techniques: Techniques, fitted: Fitted) -> Tensor:
        """Raw inputs to class probabilities (B, C) or targets in the user's units (B, T), by the deterministic rule."""
        x = self.prepare(self._inputs(params, x).x, techniques, fitted)
        output, _ = self._call(self.net.held(params, techniques), buffers, x, self._quiet(techniques, fitted), False)
        return self.read(output, techniques, fitted)

    def sample(
        self, state: Mapping[str, Params], x: Any, techniques: Techniques, fitted: Fitted, at: AtOf, noise: NoiseOf
    ) -> Tensor:
        """The same with one draw of every random technique, augmentation included; batch statistics stay as kept."""
        params, buffers = state["params"], state["buffers"]
        batch = self._augmented(self._inputs(params, x), techniques, at)
        x = self.prepare(batch.x, techniques, fitted)
        held = self.net.held(params, techniques)
        for key in self.stages["weights"]:
            held = techniques[key].weights(held, self._at_sites(key, at, noise))
        output, _ = self._call(held, buffers, x, Pass(techniques, at, noise), training=False)
        return self.read(output, techniques, fitted)

    def refresh(self, params: Params, buffers: Params, x: Any, techniques: Techniques, fitted: Fitted) -> Params:
        """The buffers after one training-mode pass over raw rows, all noise and augmentation off."""
        x = self.prepare(self._inputs(params, x).x, techniques, fitted)
        return self._call(self.net.held(params, techniques), buffers, x, self._quiet(techniques, fitted), True)[1]

    def _quiet(self, techniques: Techniques, fitted: Fitted) -> Pass:
        return Pass(techniques, lambda key: At(self.net, fitted=fitted.get(key, {}), task=self.task))

    def _inputs(self, params: Params, x: Any) -> Batch:
        """Raw inputs as a batch with blank targets."""
        like = next(iter(params.values()))
        rows = len(x[0] if isinstance(x, tuple) else x)
        blank = torch.zeros(rows if self.task == "classify" else (rows, self.outputs), device=like.device)
        return self.batch(x, blank, torch.ones(rows, device=like.device), like.dtype)

    def read(self, output: Tensor, techniques: Techniques, fitted: Fitted) -> Tensor:
        """Decoded outputs to class probabilities or the user's units."""
        if self.task == "classify":
            output = techniques[self.loss_key].probabilities(output)
        for key in reversed(self.stages["prepare"]):
            output = techniques[key].restore(output, fitted[key])
        return output
