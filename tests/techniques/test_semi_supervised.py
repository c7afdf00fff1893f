"""SemiSupervised against its terms by hand, the teacher against its recursion, and rows without labels put to use."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Batch

from ..stepping import EXECUTORS, cohort_of, own_of, params_of, plain, steps

LABELS = torch.tensor([0, 2, -1, 1, -1, -1, 0])


def drawn() -> tuple[Tensor, Batch]:
    """Logits, and a batch in which the rows 2, 4 and 5 have no label."""
    g = torch.Generator().manual_seed(5)
    z = 3 * torch.randn(7, 3, generator=g, dtype=torch.float64)
    y = (LABELS[:, None] == torch.arange(3)).double()
    return z, Batch(torch.zeros(7, 1), y, torch.rand(7, generator=g, dtype=torch.float64) + 0.1)


def at(t: float, steps: float = 100.0, **more: Any) -> Any:
    return SimpleNamespace(t=torch.tensor(t).double(), steps=torch.tensor(steps).double(), task="classify", **more)


@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_pseudo_labels_by_hand(threshold: float) -> None:
    z, batch = drawn()
    p, w = torch.softmax(z, -1), batch.w
    labelled = [i for i, c in enumerate(LABELS.tolist()) if c >= 0]
    supervised = sum(w[i] * -torch.log(p[i, LABELS[i]]) for i in labelled) / sum(w[i] for i in labelled)
    rest = [2, 4, 5]
    sure = [i for i in rest if float(p[i].max()) >= threshold]
    assert 0 < len(sure) < 3 or threshold == 0
    agreement = sum(w[i] * -torch.log(p[i].max()) for i in sure) / sum(w[i] for i in rest)
    t = T.SemiSupervised(2.0, threshold, ramp=0.5)
    for step, share in ((0.0, np.exp(-5.0)), (25.0, np.exp(-5 * 0.25)), (50.0, 1.0), (99.0, 1.0)):
        want = float(supervised) + 2 * share * float(agreement)
        assert float(t.loss(z, batch, at(step))) == pytest.approx(want, rel=1e-12)


def test_a_guess_is_taken_as_given() -> None:
    """The gradient at an unlabelled row is that of a cross-entropy with its own argmax as label: p − e_ĉ."""
    z, batch = drawn()
    z.requires_grad_()
    [grad] = torch.autograd.grad(T.SemiSupervised(1.0, 0.0, ramp=0.0).loss(z, batch, at(1.0)), z)
    p = torch.softmax(z, -1)
    for i in (2, 4, 5):
        own = F.one_hot(p[i].argmax(), 3)
        torch.testing.assert_close(grad[i], batch.w[i] / batch.w[[2, 4, 5]].sum() * (p[i] - own))


def test_mean_teacher_by_hand() -> None:
    z, batch = drawn()
    other = torch.randn(7, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    calls = []

    def forward(x: Tensor, weights: Any) -> Tensor:
        calls.append((x, weights))
        return other

    t = T.SemiSupervised(10.0, ramp=0.0, method="mean-teacher")
    ours = t.loss(z, batch, at(1.0, forward=forward, state={"teacher": {"w": z}}))
    labelled = [0, 1, 3, 6]
    ce = F.cross_entropy(z[labelled], LABELS[labelled], reduction="none") * batch.w[labelled]
    apart = (torch.softmax(z, -1) - torch.softmax(other, -1)).square().sum(-1)
    want = ce.sum() / batch.w[labelled].sum() + 10 * (apart * batch.w).sum() / batch.w.sum()
    torch.testing.assert_close(ours, want)
    assert calls == [(batch.x, {"w": z})]


def test_batches_without_labels_and_without_gaps() -> None:
    z, batch = drawn()
    t = T.SemiSupervised(1.0, 0.0, ramp=0.0)
    none = t.loss(z, batch._replace(y=torch.zeros_like(batch.y)), at(0.0))
    assert bool(none.isfinite())
    full = batch._replace(y=torch.eye(3).double()[[0, 1, 2, 0, 1, 2, 0]])
    torch.testing.assert_close(t.loss(z, full, at(0.0)), T.CrossEntropy().loss(z, full, at(0.0)))


def classes() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_teacher_follows_the_network(executor: Any, table: Data) -> None:
    """θ̃ ← d θ̃ + (1 − d) θ after every step, d = min(decay, 1 − 1/(t + 1)) with t from 0; its pass leaves no trace."""
    decays = (0.9, 0.5)
    arms = [[T.SGD(0.1), T.SemiSupervised(1.0, decay=d, method="mean-teacher")] for d in decays]
    cohort = cohort_of(arms, table, executor, build=classes, epochs=4)
    teachers = [dict(params_of(cohort, i)) for i in range(2)]
    for t, _ in enumerate(steps(cohort)):
        for i, decay in enumerate(decays):
            d = min(decay, 1 - 1 / (t + 1))
            teachers[i] = {k: d * v + (1 - d) * params_of(cohort, i)[k] for k, v in teachers[i].items()}
            held = own_of(cohort, "SemiSupervised", i)["teacher"]
            assert max(float((held[k] - v).abs().max()) for k, v in teachers[i].items()) < 1e-12
            counted = cohort.executor.member(cohort.state, i)["buffers"]["1.num_batches_tracked"]
            assert int(counted) == t + 1


def test_the_teacher_is_what_is_kept(table: Data) -> None:
    cohort = cohort_of([[T.SGD(0.5), T.SemiSupervised(1.0, method="mean-teacher")]], table, build=classes, epochs=3)
    list(steps(cohort))
    kept, teacher = cohort.result(0), own_of(cohort, "SemiSupervised")["teacher"]
    assert all(torch.equal(kept["params"][k], v) for k, v in teacher.items())
    assert any(not torch.equal(kept["params"][k], v) for k, v in params_of(cohort).items())


def partly_labelled(table: Data) -> Data:
    """The table with two of three fit rows unlabelled."""
    fit = set(table.rows["fit"].tolist())
    labels = [None if i in fit and i % 3 else int(c) for i, c in enumerate(table.y)]
    return Data(table.x, labels, task="classify", split={r: v.tolist() for r, v in table.rows.items()})


def plain_classes() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("method", ["pseudo-label", "mean-teacher"])
def test_training_equals_a_plain_loop_step_for_step(method: str, executor: Any, table: Data) -> None:
    """Half-labelled data, the two losses written with torch's functions, a teacher that is a second network."""
    data = partly_labelled(table)
    entry = T.SemiSupervised(2.0, 0.4, decay=0.9, ramp=0.5, method=method)
    cohort = cohort_of([[T.SGD(0.3), entry]] * 2, data, executor, build=plain_classes, epochs=10)
    nets, total = [plain(cohort, i, plain_classes) for i in range(2)], 50
    teachers = copy.deepcopy(nets)
    for t, now in enumerate(steps(cohort)):
        share = 2 * np.exp(-5 * (1 - min(1, t / (0.5 * total))) ** 2)
        for i, (net, teacher) in enumerate(zip(nets, teachers, strict=True)):
            x, y = data.x[now.rows[i]].double(), data.y[now.rows[i]]  # type: ignore[index]
            z, known = net(x), y >= 0
            loss = F.cross_entropy(z[known], y[known])
            if method == "pseudo-label":
                p, guess = torch.softmax(z[~known], -1).max(-1)
                own = F.cross_entropy(z[~known], guess, reduction="none")
                loss = loss + share * (own * (p.detach() >= 0.4)).mean()
            else:
                apart = (torch.softmax(z, -1) - torch.softmax(teacher(x).detach(), -1)).square().sum(-1)
                loss = loss + share * apart.mean()
            net.zero_grad()
            loss.backward()
            with torch.no_grad():
                for (n, w), e in zip(net.named_parameters(), teacher.parameters(), strict=True):
                    w -= 0.3 * w.grad  # type: ignore[operator]
                    d = min(0.9, 1 - 1 / (t + 1))
                    e.copy_(d * e + (1 - d) * w)
                    assert float((w - params_of(cohort, i)[n]).abs().max()) < 1e-10
    assert t + 1 == total


def test_half_labelled_data_trains_with_it_alone(table: Data) -> None:
    data = partly_labelled(table)
    run = eq.train("mlp(hidden=(16,))", [T.SemiSupervised(), T.Adam(0.02)], data, epochs=20)
    assert run.score("test")["accuracy"] > 0.6
    with pytest.raises(EquipoiseError, match="SemiSupervised"):
        eq.train("mlp(hidden=(16,))", [T.Adam(0.02)], data, epochs=1)


def test_it_is_for_classes_and_decides_the_weights_alone() -> None:
    with pytest.raises(EquipoiseError, match="is for classify"):
        resolve(Recipe(T.SemiSupervised()), "regress")
    with pytest.raises(EquipoiseError, match="each of them decides which weights are kept"):
        Recipe(T.SemiSupervised(), T.EMA())
