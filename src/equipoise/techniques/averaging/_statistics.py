"""Batch-norm statistics of averaged weights: those gathered in training belong to other weights."""

from __future__ import annotations

from typing import Any

import torch

from ...technique import At, Params


def refreshed(params: Params, buffers: Params, at: At) -> Params:
    """The buffers with every batch norm's statistics, ours and the user's own, measured anew for ``params``: the mean
    over
    the clean fit rows of each minibatch's mean and unbiased variance, weighted by its rows."""
    names = {n: share for n in buffers if (share := _share(n, at.net.module)) > 0}
    if not names:
        return buffers
    counters = [n for n in buffers if n.endswith("num_batches_tracked")]
    blank = buffers | {n: torch.zeros_like(buffers[n]) for n in [*names, *counters]}
    total, rows = {n: torch.zeros_like(buffers[n], dtype=torch.float64) for n in names}, 0
    for new, m in at.forward(params, blank):  # from zero, a pass leaves share · (statistic of its batch)
        total = {n: s + m * new[n].double() / names[n] for n, s in total.items()}
        rows += m
    return buffers | {n: (s / rows).to(buffers[n]) for n, s in total.items()}


def _share(name: str, module: Any) -> float:
    """The part of a batch's statistic that enters a running one; 0 for a buffer that is none."""
    path, _, kind = name.rpartition(".")
    if kind not in ("running_mean", "running_var"):
        return 0.0
    momentum = module.get_submodule(path).momentum
    return 1.0 if momentum is None else float(momentum)  # None: the cumulative mean, of one batch here
