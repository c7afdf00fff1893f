"""How runs are executed: options, which recipes share a program, and the executor of a cohort. Decided before step 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .errors import EquipoiseError
from .recipe import Recipe
from .technique import Technique, slot_of

HOST_STAGES = {"runs", "rate", "epoch"}  # techniques that act in no other stage never change a program
STACK_BYTES = 2 << 30  # a stacked cohort's parameters, optimizer state and activations stay below this


@dataclass(frozen=True)
class Options:
    """How, not what, to train. Results agree to float tolerance across all of them except ``precision``.

    device: "auto" (CUDA where there is one), "cpu", "cuda", …; precision: "float32", "float64", "bfloat16" (autocast);
    compile: "auto", "always", "never"; threads: of torch on CPU (None: torch's own choice); deterministic: torch's
    deterministic algorithms; progress: a progress bar (None: where standard error is a terminal).
    """

    device: str = "auto"
    precision: str = "float32"
    compile: str = "auto"
    threads: int | None = None
    deterministic: bool = True
    progress: bool | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("precision", ("float32", "float64", "bfloat16")),
            ("compile", ("auto", "always", "never")),
        ):
            if getattr(self, name) not in allowed:
                raise EquipoiseError(f"{name}={getattr(self, name)!r}: it is one of {', '.join(allowed)}.")
        if self.threads is not None and self.threads < 1:
            raise EquipoiseError(f"threads={self.threads}: a positive number, or None for torch's own choice.")

    def resolved_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as e:
            raise EquipoiseError(
                f"device {self.device!r} is not there ({str(e).splitlines()[0]}); use --device cpu."
            ) from None
        return device


@dataclass(frozen=True)
class Plan:
    """How a run was executed; stored with it, followed on resume."""

    executor: str  # single, stacked
    compiled: bool
    precision: str
    threads: int
    cohort: int  # runs trained together
    device: str
    torch: str = field(default_factory=lambda: str(torch.__version__))
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in self.__dataclass_fields__}


@dataclass(eq=False)
class Member:
    """One run of a cohort before it is trained."""

    recipe: Recipe
    seed: int
    rows: Tensor | None = None  # its fit rows (None: the data's)
    factor: float = 1.0  # multiplies the learning rate (the study's ladder)
    techniques: dict[str, Technique] = field(default_factory=dict)  # the program's, with this run's knobs


def group(members: Sequence[Member]) -> list[tuple[list[Technique], list[int]]]:
    """Programs: (techniques in order, indices of the members that share it). A technique that a member lacks is put in
    switched off where it has a neutral setting; otherwise the member needs a program of its own. Techniques that act on
    the host alone (schedules, early stopping) belong to the member and split nothing."""
    programs: list[tuple[list[Technique], list[int]]] = []
    for i, m in enumerate(members):
        rows, own = None if m.rows is None else len(m.rows), [t for t in m.recipe.active() if not on_host(t)]
        for p, (techniques, indices) in enumerate(programs):
            first = members[indices[0]]
            merged = _merge(techniques, own)
            if merged is not None and rows == (None if first.rows is None else len(first.rows)):
                programs[p] = (merged, [*indices, i])
                break
        else:
            programs.append((own, [i]))
    for techniques, indices in programs:
        for i in indices:
            mine = {t.key: t for t in members[i].recipe.active()}
            shared = {t.key: mine.get(t.key) or t.switched_off() for t in techniques}
            members[i].techniques = shared | {k: t for k, t in mine.items() if k not in shared}
    return programs


def on_host(t: Technique) -> bool:
    return set(t.stages()) <= HOST_STAGES


def _merge(left: Sequence[Technique], right: Sequence[Technique]) -> list[Technique] | None:
    """Both in one order, or None where they differ in more than knobs and switched-off entries."""
    a, b = {t.key: t for t in left}, {t.key: t for t in right}
    if any(a[k].structure != b[k].structure for k in a.keys() & b.keys()):
        return None
    if any(t.off is None for k, t in [*a.items(), *b.items()] if not (k in a and k in b)):
        return None
    shared = [k for k in a if k in b]
    if shared != [k for k in b if k in a]:
        return None
    merged = _interleave(list(a), list(b), set(shared))
    both = {**b, **a}
    slots = [slot_of(both[k]) for k in merged if slot_of(both[k]) not in (None, "normalization")]
    return [both[k] for k in merged] if len(slots) == len(set(slots)) else None


def _interleave(a: list[str], b: list[str], shared: set[str]) -> list[str]:
    out: list[str] = []
    j = 0
    for k in a:
        if k in shared:
            while b[j] != k:
                out.append(b[j])
                j += 1
            j += 1
        out.append(k)
    return out + b[j:]


def threads(options: Options) -> int:
    n = options.threads or torch.get_num_threads()
    torch.set_num_threads(n)
    return n


def split_cohort(size: int, bytes_per_run: int) -> int:
    """How many runs to stack at once so that a cohort stays in memory."""
    return max(1, min(size, STACK_BYTES // max(bytes_per_run, 1)))
