"""One program: the pure training step that all runs of one structure share, their start, and the public `step`.

``step(state, const, now) → state, loss`` reads nothing but its arguments, so it runs plain, under vmap, and traced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from . import tree
from .errors import EquipoiseError
from .objective import NoiseOf, Objective, acting
from .rng import I32, Noise, mix3, shr, source, stream, threefry2x32, words
from .sites import Network
from .sites.network import WHOLE, Pass
from .technique import At, Batch, Params, Technique

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


class Const(NamedTuple):
    """What stays fixed during a run: knobs by technique, fitted preparation by technique."""

    knobs: dict[str, dict[str, Tensor]]
    fitted: dict[str, dict[str, Tensor]]


class Now(NamedTuple):
    """What one step is given. A stack of runs has its run axis first, but for the clock (t, epoch, row0)."""

    x: Any
    y: Tensor
    w: Tensor
    keys: Tensor  # noise keys (entries, 2)
    host: dict[str, Tensor]  # what techniques drew on the host
    rate: Tensor  # learning rate
    rows: Tensor  # the rows' numbers in the data (B,)
    t: Tensor  # step number from 0
    epoch: Tensor  # epoch from 0
    steps: Tensor  # steps in all
    row0: Tensor  # global number of the batch's first row


MOVING = ("x", "y", "w", "keys", "host", "rate", "rows", "t")  # what differs between the steps of a block


def at_step(block: Now, i: int) -> Now:
    """One step of a block, whose moving fields have an axis of steps first."""
    return block._replace(**{f: tree.member(getattr(block, f), i) for f in MOVING})


def first_step(block: Now) -> Now:
    """The block of its first step alone."""
    return block._replace(**{f: tree.head(getattr(block, f), 1) for f in MOVING})


State = dict[str, Any]  # params, buffers, own: {technique key: its state}


class Program:
    """Structure of a set of runs: the network with its sites, the techniques in order, the noise key table."""

    def __init__(
        self,
        builder: Callable[[], nn.Module],
        techniques: Sequence[Technique],
        x: Any,
        task: str,
        outputs: int,
        precision: str = "float32",
    ) -> None:
        """``x``: a prepared example batch (at least two rows) on the device and in the dtype of training."""
        self.builder, self.techniques, self.precision, self.dtype = (
            builder,
            tuple(techniques),
            precision,
            DTYPES[precision],
        )
        self.by_key = {t.key: t for t in self.techniques}
        device = (x[0] if isinstance(x, tuple) else x).device
        self.device = device
        self.net = Network(self.fresh(0), x)
        self.coding = coding(self.techniques)
        self._check_width(len(x[0] if isinstance(x, tuple) else x), outputs, task)
        self.net.build(self.techniques)
        if not self.net.trainable():  # those that techniques bring count
            raise EquipoiseError("the model has only frozen parameters: there is nothing to train.")
        self.net.module.to(device=device, dtype=self.dtype)
        self.objective = Objective(self.net, self.techniques, self.coding, task, outputs, precision)
        self.stages = {s: acting(self.techniques, s) for s in ("gradient", "grads", "update", "project", "init")}
        self.compiled: dict[Any, Any] = {}  # compiled steps by executor, size and batch
        self.gates_open: frozenset[str] = frozenset()  # keys of gated techniques that are fully on in every run
        self._streams = words([stream(n) << 16 | s for n, s, _ in self.net.streams] or [0])[None, None]
        self._calls = words([c for _, _, c in self.net.streams] or [0])[None, None]
        self._refuse_collisions()

    def _check_width(self, rows: int, outputs: int, task: str) -> None:
        shape, allowed = tuple(self.net.output.shape), self.coding.widths(outputs, task)
        if len(shape) != 2 or shape[0] != rows or shape[1] not in allowed:
            what = f"{outputs} classes" if task == "classify" else f"{outputs} target{'s' if outputs > 1 else ''}"
            wanted = " or ".join(f"({rows}, {w})" for w in allowed)
            raise EquipoiseError(
                f"the model's output has shape {shape} for {rows} rows, but the data has {what}: "
                f"make its last layer give {wanted}."
            )
        logits = next((t for t in self.techniques if getattr(t, "on", "") == "logits"), None)
        if logits is not None and shape[1] != outputs:
            raise EquipoiseError(
                f"{logits!r} regresses one output per class: make the model's last layer give {outputs}."
            )

    def _refuse_collisions(self) -> None:
        names = {n for n, _, _ in self.net.streams}
        if len({stream(n) for n in names}) < len(names):
            raise EquipoiseError(
                f"two noise streams of {sorted(names)} share a number: rename a place (where=) of one of them."
            )

    def fresh(self, seed: int) -> nn.Module:
        """The user's model; its own random start is keyed by (seed, "init")."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(source(seed, "init").bits((1,)).item()) & 0x7FFFFFFF)
            return self.builder().to(device=self.device, dtype=self.dtype)

    # --- start --------------------------------------------------------------------------------------------------------
    def start(self, seed: int, techniques: Mapping[str, Technique], batch: Batch | None = None) -> State:
        """State before step 0. ``techniques`` carry this run's knobs; data-driven starts read ``batch``, prepared."""
        fresh = self.fresh(seed)
        given = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
        params: Params = {}
        buffers: Params = {}
        trainable = set(self.net.trainable())
        for n, p in [*self.net.module.named_parameters(), *self.net.module.named_buffers()]:
            (params if n in trainable else buffers)[n] = given.get(n, p).detach().clone()
        for key in self.stages["init"]:
            at = self._at_start(key, seed, params, buffers, batch, techniques)
            params = techniques[key].init(params, at)
        own = {key: techniques[key].start(params, self.net) for key in self.stages["update"]}
        return {"params": params, "buffers": buffers, "own": own}

    def _at_start(
        self,
        key: str,
        seed: int,
        params: Params,
        buffers: Params,
        batch: Batch | None,
        techniques: Mapping[str, Technique],
    ) -> Callable[[Any], At]:
        def forward(p: Params) -> Any:
            assert batch is not None
            return self.net.call(p, buffers, batch.x, Pass(techniques), training=True)

        def at(site: Any) -> At:
            name = f"{key}/init" if site is None else f"{key}/init/{site.index}"
            return At(self.net, source(seed, name), site, batch=batch, forward=forward)

        return at

    # --- the step -----------------------------------------------------------------------------------------------------
    def bind(self, knobs: Mapping[str, Mapping[str, Any]], gates: frozenset[str] | None = None) -> dict[str, Technique]:
        """The techniques with knobs as tensors; a gate that is fully on in every run stays a plain 1.0. ``gates``: keys
        of those (default: the ones of the cohort in training, which are no other run's)."""
        gates = self.gates_open if gates is None else gates
        bound = {}
        for key, t in self.by_key.items():
            values = dict(knobs[key])
            if key in gates:
                values["w"] = 1.0
            bound[key] = t.bind(values)
        return bound

    def step(self, state: State, const: Const, now: Now, differentiate: Callable[..., Any]) -> tuple[State, Tensor]:
        """One update. ``differentiate(f)`` turns params → (loss, aux) into params → (gradients, (loss, aux)); it may
        ask ``f(params, rows)`` for the share of the loss of some rows (`gradients.in_parts`)."""
        techniques = self.bind(const.knobs)
        noise = self.noise(now.keys, now.row0)
        own = state["own"]

        task = self.objective.task
        base = At(self.net, t=now.t, rate=now.rate, task=task, training=True, rows=now.rows)
        base = base._replace(epoch=now.epoch, steps=now.steps)

        def at(key: str) -> At:
            mine = const.fitted.get(key, {})
            return base._replace(
                noise=noise(key, WHOLE, 0), host=now.host.get(key), fitted=mine, state=own.get(key, {})
            )

        batch = self.objective.batch(now.x, now.y, now.w, self.dtype)
        batch = self.objective.transform(batch, techniques, const.fitted, at)

        def loss_of(p: Params, rows: slice | None = None) -> tuple[Tensor, Params]:
            if rows is None:
                return self.objective.loss(p, state["buffers"], batch, techniques, at, noise)
            own, part = self.noise(now.keys, now.row0 + rows.start), batch.select(rows)
            told = lambda key: at(key)._replace(noise=own(key, WHOLE, 0), rows=now.rows[rows])  # noqa: E731
            loss, buffers = self.objective.loss(p, state["buffers"], part, techniques, told, own)
            return loss * (part.w.sum() / batch.w.sum().clamp(min=1e-30)), buffers

        value_and_grad = differentiate(loss_of)
        for key in self.stages["gradient"]:
            value_and_grad = techniques[key].gradient(value_and_grad)
        grads, (loss, buffers) = value_and_grad(state["params"])
        params = state["params"]
        for key in self.stages["grads"]:
            grads = techniques[key].grads(grads, params, at(key))
        own = dict(own)
        for key in self.stages["update"]:
            new, own[key] = techniques[key].update(grads, own[key], params, at(key))
            params = tree.like(new, params)
        for key in self.stages["project"]:
            params = tree.like(techniques[key].project(params, at(key)), params)
        return {"params": params, "buffers": buffers, "own": own}, loss

    def sample(self, state: State, const: Const, x: Any, noise: NoiseOf, host: Mapping[str, Tensor]) -> Tensor:
        """One Monte-Carlo prediction: every random technique draws once, batch statistics stay those of prediction."""
        techniques = self.bind(const.knobs, own_gates(const.knobs))

        def at(key: str) -> At:
            fitted = const.fitted.get(key, {})
            return At(self.net, noise(key, WHOLE, 0), host=host.get(key), fitted=fitted, task=self.objective.task)

        return self.objective.sample(state, x, techniques, const.fitted, at, noise)

    def gates_for(self, open_: frozenset[str]) -> frozenset[str]:
        """Gates to leave open: those of compiled code that fits, else all that may be."""
        return max((k[-1] for k in self.compiled if k[-1] <= open_), key=len, default=open_)

    def noise(self, keys: Tensor, row0: Any = 0) -> Callable[[Any, int, int], Noise | None]:
        """(technique key, site, call) → its noise in this step."""

        def of(who: Any, site: int, call: int) -> Noise | None:
            row = self.net.entries.get((who, site, call))
            return None if row is None else Noise(keys[row], row0)

        return of

    # --- inputs of a block of steps -----------------------------------------------------------------------------------
    def keys(self, seeds: Sequence[int], steps: Tensor) -> Tensor:
        """Noise keys of a block, int32 (steps, runs, entries, 2)."""
        given = (words(seeds)[None, :, None], self._streams, steps.to(I32).numpy()[:, None, None], self._calls)
        return torch.from_numpy(np.stack(threefry2x32(*given), -1)).to(self.device)

    def host(
        self, seeds: Sequence[int], techniques: Sequence[Mapping[str, Technique]], steps: Tensor, rows: int
    ) -> dict[str, Tensor]:
        """What techniques draw on the host for a block: (steps, runs) or (steps, runs, rows)."""
        drawn: dict[str, Tensor] = {}
        for t in self.techniques:
            if t.host_draws is None:
                continue
            own = words([stream(f"{t.key}/host") << 16])
            k = threefry2x32(words(seeds)[None, :], own, steps.to(I32).numpy()[:, None], words([0]))
            i = np.arange(rows if t.host_draws == "row" else 1, dtype=np.int32)
            u = shr(mix3(i, k[0][..., None], k[1][..., None]), 8).astype(np.float64) * 2.0**-24
            u = u if t.host_draws == "row" else u[..., 0]
            each = [np.asarray(techniques[r][t.key].host(u[:, r])) for r in range(len(seeds))]
            drawn[t.key] = torch.as_tensor(np.stack(each, 1), dtype=self.dtype, device=self.device)
        return drawn

    def knobs(self, techniques: Mapping[str, Technique]) -> dict[str, dict[str, Tensor]]:
        """One run's knobs as 0-d float64 tensors, which behave like the Python numbers PyTorch's own code uses."""
        return {
            k: {n: torch.tensor(v, dtype=torch.float64, device=self.device) for n, v in techniques[k].knobs().items()}
            for k in self.by_key
        }

    def rates(self, techniques: Mapping[str, Technique], steps: Tensor, total: int, factor: float = 1.0) -> Tensor:
        """Learning rates (K,) float64 of one run at step numbers ``steps`` of ``total``."""
        base = next(t for t in techniques.values() if t.slot == "optimizer").knobs()["rate"]
        rate = torch.full((len(steps),), base * factor, dtype=torch.float64)
        for key in acting(list(techniques.values()), "rate"):
            rate = techniques[key].schedule(steps.double(), total, rate)
        return rate


def own_gates(knobs: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Keys of the techniques whose gate w is 1 in one run's knobs."""
    return frozenset(k for k, values in knobs.items() if "w" in values and float(values["w"]) == 1.0)


def coding(techniques: Sequence[Technique]) -> Technique:
    """The entry that says how targets are coded in the network's outputs; without one the plain coding of `Targets`."""
    from .techniques import find

    return next((t for t in techniques if t.slot == "targets"), None) or find("Targets")()
