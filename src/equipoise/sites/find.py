"""The finding pass: one forward of the copy tells the sites, their order, what they read, and residual additions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import EquipoiseError
from .adopt import BATCH_NORMS, NORMS
from .site import Residual, Site, canonical_names, kind_of, storage

_ADDS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__}


class Operand(NamedTuple):
    """One side of an addition as it was before it: an addition in place changes the tensor's node."""

    tensor: Tensor  # kept, so that its id stays its own
    id: int
    node: Any


@dataclass
class Trace:
    """What one forward pass showed. Tensors are kept so that their identities stay unique."""

    calls: list[tuple[str, Any, Any]] = field(default_factory=list)  # (module path, first input, output)
    adds: list[tuple[Operand, Operand]] = field(default_factory=list)
    output: Any = None
    random: bool = False  # it drew from torch's own generator


class _Adds(TorchFunctionMode):
    """Notes every addition of two tensors of one shape."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            func in _ADDS
            and len(args) > 1
            and all(isinstance(a, Tensor) for a in args[:2])
            and args[0].shape == args[1].shape
        ):
            left, right = (Operand(a, id(a), a.grad_fn) for a in args[:2])
            self._trace.adds.append((left, right))
        return func(*args, **(kwargs or {}))


def observe(model: nn.Module, x: Any) -> Trace:
    """Run ``model`` (a copy, in training mode) once on the prepared batch ``x``; its buffers are left as they were."""
    trace, handles, counts = Trace(), [], Counter[str]()

    def note(name: str) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            first = args[0] if args else next(iter(kwargs.values()), None)
            trace.calls.append((name, first, out))
            counts[name] += 1

        return hook

    for name, m in model.named_modules():
        if name or kind_of(m):  # the root only where it is an affine map itself
            handles.append(m.register_forward_hook(note(name), with_kwargs=True))
    saved = {k: v.clone() for k, v in model.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), _Adds(trace):
            before = torch.get_rng_state()
            trace.output = run(model, _tracked(x))
            trace.random = not torch.equal(before, torch.get_rng_state())
            _refuse_no_gradient(model, trace.output)
    except EquipoiseError:
        raise
    except Exception as e:
        shape = [tuple(v.shape) for v in x] if isinstance(x, tuple) else tuple(x.shape)
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise EquipoiseError(
            f"the model does not take a batch of shape {shape}: {reason}. Give a model made for this data."
        ) from e
    finally:
        for h in handles:
            h.remove()
        with torch.no_grad():
            for k, v in model.named_buffers():
                if k in saved and saved[k].shape == v.shape:
                    v.copy_(saved[k])
    return trace


def _refuse_no_gradient(model: nn.Module, out: Any) -> None:
    """The trial's backward pass: a network that cannot be trained is told before the first step."""
    if not isinstance(out, Tensor):
        return
    if not out.is_floating_point():
        raise EquipoiseError(f"the model returns {out.dtype} numbers: return floating ones, logits and not classes.")
    params = [p for p in model.parameters() if p.requires_grad]
    try:
        found = torch.autograd.grad(out.sum(), params, retain_graph=True, allow_unused=True) if params else (out,)
    except RuntimeError as e:
        raise EquipoiseError(
            f"no gradient can be taken through the model ({str(e).splitlines()[0][:160]}): do not detach its output "
            "or change in place what a layer needs for its gradient."
        ) from e
    if all(g is None for g in found):
        raise EquipoiseError("no parameter of the model reaches its output: there is nothing to train.")


def _tracked(x: Any) -> Any:
    """Floating inputs with a node of their own, so that x + F(x) is found where x is the network's input."""
    one = lambda v: v.detach().requires_grad_().view_as(v) if v.is_floating_point() else v  # noqa: E731
    return tuple(map(one, x)) if isinstance(x, tuple) else one(x)


def run(model: nn.Module, x: Any) -> Any:
    return model(*x) if isinstance(x, tuple) else model(x)


def find_sites(model: nn.Module, trace: Trace, x: Any) -> list[Site]:
    """The affine modules that fired, in execution order."""
    modules, names = dict(model.named_modules()), canonical_names(model)
    inputs = {storage(v) for v in (x if isinstance(x, tuple) else (x,))}
    sites: dict[str, Site] = {}
    readers: dict[int, tuple[int, int]] = {}  # id of a tensor → the first (site, call) that read it
    counts: Counter[str] = Counter()
    for name, value, out in trace.calls:
        m = modules[name]
        kind = kind_of(m)
        if kind is None or not isinstance(value, Tensor):
            continue
        if name not in sites:
            sites[name] = _site(len(sites), name, m, kind, names)
            first = out[0] if isinstance(out, tuple) else out
            sites[name].shapes = (tuple(value.shape[1:]), tuple(first.shape[1:]))
            sites[name].reads_input = storage(value) in inputs
        site, call = sites[name], counts[name]
        counts[name] += 1
        site.calls = counts[name]
        site.sources.append(readers.setdefault(id(value), (site.index, call)))
        site.is_output |= _same(out, trace.output)
    _mark_own_norms(sites, modules, trace)
    found = list(sites.values())
    if found and not any(s.is_output for s in found):
        found[-1].is_output = True  # its output reached the network's through functions only
    return found


def _site(index: int, name: str, m: nn.Module, kind: str, names: dict[int, str]) -> Site:
    own = {k: names[id(p)] for k, p in m.named_parameters(recurse=False)}
    weights = tuple(v for k, v in own.items() if "weight" in k)
    bias = own.get("bias") if kind != "recurrent" else None
    return Site(index, name, m, kind, weights, bias)


def _same(out: Any, output: Any) -> bool:
    return isinstance(out, Tensor) and isinstance(output, Tensor) and (out is output or storage(out) == storage(output))


def _mark_own_norms(sites: dict[str, Site], modules: dict[str, nn.Module], trace: Trace) -> None:
    producers = {id(out): name for name, _, out in trace.calls if name in sites}
    for name, value, _ in trace.calls:
        if isinstance(modules[name], (*NORMS, *BATCH_NORMS)) and id(value) in producers:
            sites[producers[id(value)]].normalized_by = name


def find_residuals(sites: list[Site], trace: Trace) -> list[Residual]:
    """Additions x + F(x) where F(x) is the output of a module and was computed from x."""
    made: dict[int, tuple[str, int]] = {}
    nodes: dict[Any, int] = {}  # autograd node of a site's output → site
    counts: Counter[str] = Counter()
    by_name = {s.name: s for s in sites}
    for name, _, out in trace.calls:
        if isinstance(out, Tensor):
            made.setdefault(id(out), (name, counts[name]))
            if name in by_name and out.grad_fn is not None:
                nodes[out.grad_fn] = by_name[name].index
        counts[name] += 1
    found: list[Residual] = []
    for a, b in trace.adds:
        for shortcut, branch in ((a, b), (b, a)):
            if branch.id not in made or branch.node is None:
                continue
            passed = _between(branch.node, shortcut)
            if passed:
                name, call = made[branch.id]
                found.append(Residual(name, call, tuple(sorted({nodes[n] for n in passed if n in nodes}))))
                break
    return found


def _between(end: Any, start: Operand) -> set[Any]:
    """Autograd nodes on paths from ``end`` back to ``start``; empty where ``start`` is no ancestor of ``end``."""
    goal = start.node
    if goal is None or end is goal:
        return set()
    reach: dict[Any, bool] = {goal: True}
    stack: list[tuple[Any, bool]] = [(end, False)]
    while stack:
        node, done = stack.pop()
        if done:
            reach[node] = any(reach.get(n, False) for n, _ in node.next_functions if n is not None)
        elif node not in reach:
            reach[node] = False
            stack.append((node, True))
            stack.extend((n, False) for n, _ in node.next_functions if n is not None)
    return {n for n, ok in reach.items() if ok and n is not goal} if reach[end] else set()
