"""Where a run became non-finite: it is replayed alone and eagerly from the last snapshot, and watched at the step that
breaks. The first place whose output is not finite, though all before it were, is the origin.

The snapshot is the state in which the epoch began. No step writes in place, so keeping it costs its memory and no time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .executor import Single
from .feed import Feed
from .places import Place, calmer, remedy
from .sites.network import NORM
from .step import Const, Now, Program, State
from .technique import Batch, Technique

if TYPE_CHECKING:
    from .cohort import Cohort

STAGES = ("batch", "prepare", "weights", "act", "affine", "loss", "penalty", "grads", "update", "project")


# --- what failed ------------------------------------------------------------------------------------------------------
def failures(cohort: Cohort, losses: Tensor, scores: Mapping[str, Any]) -> dict[int, str]:
    """Runs that became non-finite in the epoch that just ended, in their losses (steps, R), weights or scores (R,):
    what was seen, where it began, and what would mend it. Runs that are over are left out."""
    unfit = torch.stack([~torch.as_tensor(v).isfinite() for v in scores.values()]).any(0)
    broken = ~losses.isfinite().all(0) | _broken(cohort.snapshot[1], cohort.state, len(cohort.runs)).cpu()
    found: dict[int, str] = {}
    told: dict[int, str] = {}  # a cohort may hold one member several times
    for i in (broken | unfit).nonzero().flatten().tolist():
        if not cohort.runs[i].over:
            who = id(cohort.members[i])
            if who not in told:
                where = _located(cohort, i) if broken[i] else calmer(cohort.members[i])
                told[who] = f"{_seen(losses[:, i], bool(broken[i]), cohort.epoch)}; {where}"
            found[i] = told[who]
    return found


def _seen(losses: Tensor, broken: bool, epoch: int) -> str:
    bad = ~losses.isfinite()
    if bad.any():
        at = int(bad.int().argmax())
        return f"the loss became {float(losses[at])} at step {at + (epoch - 1) * len(losses)} (epoch {epoch})"
    if broken:
        return f"the weights were not finite after epoch {epoch}"
    return f"the predictions on `stop` were not finite after epoch {epoch}, so its weights are too large"


def _broken(before: Any, after: Any, runs: int) -> Tensor:
    """Runs (R,) that hold a number that was finite and is not any more. States: stacked, or a list by run."""
    if isinstance(after, list):
        return torch.stack([_broken(b, a, 1)[0] for b, a in zip(before, after, strict=True)])
    out = torch.zeros(runs, dtype=torch.bool)
    held = [(before[p][k], v) for p in ("params", "buffers") for k, v in after[p].items() if v.is_floating_point()]
    if not held or bool(torch.stack([v.isfinite().all() for _, v in held]).all()):  # as a rule
        return out
    for b, a in held:
        out = out.to(a.device) | (b.isfinite() & ~a.isfinite()).reshape(runs, -1).any(1)
    return out


def _located(cohort: Cohort, i: int) -> str:
    """Where the replay of run ``i`` from the snapshot meets the first number that is not finite."""
    first, before = cohort.snapshot
    p, member, data, schedule = cohort.program, cohort.members[i], cohort.data, cohort.schedule
    feed, epoch = Feed(p, [member], data, schedule), cohort.epoch - 1
    state, const = cohort.executor.member(before, i), cohort.executor.member(cohort.const, i)
    steps = islice(feed.steps(epoch, [cohort.runs[i].factor]), first, None)
    sound = cohort.start(i, const), next(feed.steps(0, [1.0]))
    for k, place in enumerate(replayed(p, state, const, steps, sound)):
        if place is not None:
            step = first + k + epoch * len(feed.batches)
            return f"first not finite, in a replay of this run: {place}, at step {step}. {remedy(place, member, step)}"
    return f"a replay of this run alone stayed finite, so it is at the edge of {p.precision}. {calmer(member)}"


def replayed(
    program: Program, state: State, const: Const, steps: Iterable[Now], sound: tuple[State, Now]
) -> Iterator[Place | None]:
    """None for every step that stays finite, then the place where one does not. ``sound``: a state and a step to
    compare with where there is no step before: what is infinite there on purpose (a mask) is no origin."""
    for now in steps:
        new, stays = _step(program, state, const, now)
        if stays:
            yield None
            sound, state = (state, now), new
            continue
        before, then = sound
        usual = _places(program, before, const, then) if _step(program, before, const, then)[1] else []
        found = [v for v in _places(program, state, const, now) if v.kind not in ("layer", "code") or v not in usual]
        yield found[0] if found else Place("loss", "", program.objective.loss_key)
        return


def _step(program: Program, state: State, const: Const, now: Now) -> tuple[State, bool]:
    """One step of one run, and whether all stays finite."""
    (new,), loss = Single(program).step([state], [const], now)
    return new, bool(loss.isfinite()) and not bool(_broken([state], [new], 1))


# --- watching a step --------------------------------------------------------------------------------------------------
def _places(program: Program, state: State, const: Const, now: Now) -> list[Place]:
    with Watch(program) as watch:
        watch.given(now)
        Single(watch.program).step([state], [const], now)
    return watch.places


class Watch:
    """A step of ``program`` told in places that are not finite, in the order in which they were computed: the stages of
    its techniques are wrapped on bound copies, the modules of its network have hooks until the watch ends."""

    def __init__(self, program: Program) -> None:
        self.places: list[Place] = []
        self.program, self._net = copy.copy(program), program.net
        bind = program.bind
        watched = lambda *args: {k: self._watched(k, t) for k, t in bind(*args).items()}  # noqa: E731
        self.program.bind = watched  # type: ignore[method-assign]
        self._gaps = False  # the rows have missing values, which a preparation may fill
        self._after = "its input"
        self._undo: list[Callable[[], Any]] = []

    def __enter__(self) -> Watch:
        self._layers = {s.name for s in self._net.sites}
        for name, module in self._net.module.named_modules():
            if not any(True for _ in module.children()):
                self._layers.add(name)
            self._undo.append(module.register_forward_pre_hook(self._entering(name)).remove)
            self._undo.append(module.register_forward_hook(self._leaving(name)).remove)
        for site in self._net.sites:
            if site.norm_by is not None:
                self._watch_normalization(site)
        return self

    def __exit__(self, *_: object) -> None:
        for undo in self._undo:
            undo()

    def given(self, now: Now) -> None:
        """The batch as it comes. Missing values (NaN) are told where they reach the network."""
        for v in _tensors(now.x):
            self._gaps |= bool(v.isnan().any())
            if v.isinf().any():
                row, *rest = v[0].isinf().nonzero()[0].tolist()
                self._tell("input", f"row {int(now.rows[0, row])} of the data, entry {rest}, is infinite", False)

    def _tell(self, kind: str, where: str, fine: Any, key: str = "", inside: str = "") -> None:
        place = Place(kind, where, key, inside)
        if not bool(fine) and place not in self.places:
            self.places.append(place)

    def _watched(self, key: str, t: Technique) -> Technique:
        for stage in STAGES:
            if callable(method := getattr(t, stage)):  # a field may carry a stage's name: BatchNorm(affine=…)
                t.__dict__[stage] = self._stage(key, stage, method)
        return t

    def _stage(self, key: str, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if stage in ("grads", "update"):
                self._each("gradient", dict(reversed(args[0].items())), "")  # it came from the output
            out = method(*args, **kwargs)
            if stage in ("batch", "prepare"):
                x = out.x if isinstance(out, Batch) else out
                self._tell("technique", "the batch", all(self._fine(v) for v in _tensors(x)), key)
            elif stage == "weights":
                self._tell("technique", "the weights", all(map(_finite, out.values())), key)
            elif stage in ("act", "affine"):
                site = args[-1].site
                self._tell(
                    "technique", "its input" if stage == "act" else "the affine map", _finite(out), key, site.name
                )
            elif stage in ("loss", "penalty"):
                self._tell(stage, "", _finite(out), key)
            elif stage == "grads":
                self._tell("technique", "the gradients", all(map(_finite, out.values())), key)
            else:
                self._each("update", out[0] if stage == "update" else out, key)
            return out

        return call

    def _fine(self, v: Tensor) -> bool:
        return not bool(v.isinf().any() if self._gaps else ~v.isfinite().all())

    def _each(self, kind: str, tensors: Mapping[str, Tensor], key: str) -> None:
        for name, v in tensors.items():
            self._tell(kind, name, _finite(v), key)

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any) -> None:
            fine = all(map(_finite, _tensors(args)))
            if name:
                self._tell("code", self._after, fine)
            else:
                self._after = "its input"
                self._tell("input", "a missing value (NaN) that no preparation fills", fine)

        return hook

    def _leaving(self, name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, out: Any) -> None:
            fine = all(map(_finite, _tensors(out)))
            here = f"{name!r} ({type(module).__name__})"
            if name in self._layers:
                self._tell("layer", here, fine)
            else:
                self._tell("code", self._after, fine)
            if name in self._layers:
                self._after = f"layer {here}"

        return hook

    def _watch_normalization(self, site: Any) -> None:
        layer = getattr(site.module, NORM)
        plain = layer.gated

        def gated(z: Tensor, t: Any) -> Tensor:
            self._tell("layer", f"{site.name!r} ({type(site.module).__name__})", _finite(z))
            out = plain(z, t)
            self._tell("technique", "the affine map", _finite(out), site.norm_by, site.name)
            return out

        layer.gated = gated
        self._undo.append(lambda: layer.__dict__.pop("gated"))


def _tensors(v: Any) -> list[Tensor]:
    """The floating tensors in nested tuples, lists and dicts."""
    leaves = pytree.tree_leaves(v)
    return [t for t in leaves if isinstance(t, Tensor) and t.is_floating_point()]


def _finite(v: Any) -> bool:
    return bool(torch.as_tensor(v).isfinite().all())
