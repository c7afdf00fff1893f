"""CONTRACT §7: techniques on networks written by users, honestly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.executor import Single, Stack
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve

from .models_of_users import FOR, Lstm, OwnLayers, Residual, Shared, mlp, pretrained

QUICK = {"epochs": 1, "batch_size": 32}


@pytest.fixture
def data_of(table: Data, images: Data, sequences: Data) -> Any:
    two = Data((table.x[:, :4], table.x[:, 4:]), table.y, name="two")  # type: ignore[index]
    return {"table": table, "images": images, "sequences": sequences, "two": two}.__getitem__


@pytest.mark.parametrize("name", FOR)
def test_every_model_trains_predicts_and_comes_back_plain(name: str, data_of: Any) -> None:
    build, kind = FOR[name]
    data = data_of(kind)
    run = eq.train(build, Recipe(T.Dropout(0.2, where="all"), T.L2(1e-3), T.Momentum(0.05)), data, **QUICK)
    model = run.model
    assert type(model) is type(build()) and list(model.state_dict()) == list(build().state_dict())
    x, _ = data.select("test")
    prepared = run.program.objective.prepare(x, run.program.by_key, run.const.fitted)
    plain = torch.softmax(model(*prepared) if isinstance(prepared, tuple) else model(prepared), -1)
    np.testing.assert_allclose(run.predict(x), plain.detach().numpy(), atol=2e-6)
    assert any(
        not torch.equal(a, b) for a, b in zip(model.state_dict().values(), build().state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", FOR)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_run_of_a_cohort_equals_the_run_alone(name: str, precision: str, data_of: Any) -> None:
    """50 steps, noise included; parameters to 1e-9 in float64, the loss to 1e-6 in float32."""
    build, kind = FOR[name]
    data, options = data_of(kind), Options(precision=precision)
    arms = [Recipe(T.Dropout(0.3, where="all"), T.Momentum(0.02)), Recipe(T.L2(1e-3), T.Momentum(0.04))]
    if name not in ("lstm", "transformer", "own layers"):
        arms[1] = arms[1].plus(T.BatchNorm(where="all"))
    epochs = -(-50 // len(Schedule(1, 16).batches(len(data.rows["fit"]))))
    members = [Member(resolve(r, data.task), 5) for r in arms]
    [(techniques, _)] = group(members)
    program = make_program(build, techniques, members[0], data, options)
    cohorts = {
        k: Cohort(program, members, data, Schedule(epochs, 16), k)
        for k in ((Single, Stack) if name != "lstm" else (Single,))
    }
    for cohort in cohorts.values():
        while not cohort.finished:
            cohort.train_epoch()
    for i, recipe in enumerate(arms):
        alone = eq.train(build, recipe, data, epochs=epochs, batch_size=16, seed=5, options=options)
        for cohort in cohorts.values():
            together = cohort.result(i)["params"]
            last = cohort.runs[i].history[-1]["loss"]
            assert last == pytest.approx(alone.history[-1]["loss"], abs=1e-6)
            if precision == "float64":
                for k, v in alone.state["params"].items():
                    torch.testing.assert_close(together[k], v, rtol=0, atol=1e-9)


def test_the_model_given_is_never_touched(table: Data) -> None:
    model = pretrained()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run = eq.train(model, Recipe(T.BatchNorm(), T.Dropout(0.2)), table, **QUICK)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items()) and model.training
    assert any("seeds do not vary its start" in n for n in run.notes)


def test_tied_and_frozen_parameters_stay_tied_and_frozen(table: Data) -> None:
    model = Shared()
    frozen = model.fixed.weight.clone()
    run = eq.train(model, Recipe(T.SGD(0.1)), table, **QUICK)
    assert run.model.dec.weight is run.model.enc.weight  # type: ignore[union-attr]
    assert torch.equal(run.model.fixed.weight, frozen)  # type: ignore[union-attr,arg-type]
    assert not torch.equal(run.model.enc.weight, model.enc.weight)  # type: ignore[union-attr,arg-type]


def test_own_dropout_and_batch_norm_are_adopted(images: Data) -> None:
    """Two runs of one seed agree bit for bit: the model's own nn.Dropout does not depend on torch's generator."""
    torch.manual_seed(1)
    a = eq.train(OwnLayers, Recipe(), images, **QUICK)
    torch.manual_seed(2)
    b = eq.train(OwnLayers, Recipe(), images, **QUICK)
    assert all(torch.equal(v, b.state["params"][k]) for k, v in a.state["params"].items())
    assert int(a.state["buffers"]["bn.num_batches_tracked"]) == 3
    assert "own/drop" in {n for n, _, _ in a.program.net.streams}


def test_a_technique_without_a_site_is_refused(sequences: Data) -> None:
    with pytest.raises(EquipoiseError, match=r"names no site.*Sites: rnn, fc"):
        eq.train(Lstm, Recipe(T.Dropout(0.2, where="nothing")), sequences, **QUICK)


def test_a_technique_says_what_it_did_not_reach(sequences: Data) -> None:
    build, _ = FOR["transformer"]
    run = eq.train(build, Recipe(T.Dropout(0.1)), sequences, **QUICK)
    assert any("self_attn.out_proj" in n for n in run.notes)


def test_residual_branches_are_found() -> None:
    from equipoise.sites import Network

    net = Network(Residual(), torch.randn(3, 2, 8, 8))
    assert [(r.module, [net.sites[i].name for i in r.sites]) for r in net.residuals] == [
        ("a2", ["a1", "a2"]),
        ("b2", ["b1", "b2"]),
    ]


def test_inputs_and_outputs_are_known() -> None:
    from equipoise.sites import Network

    net = Network(mlp(), torch.randn(4, 6))
    assert [s.reads_input for s in net.sites] == [True, False, False]
    assert [s.is_output for s in net.sites] == [False, False, True]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda: nn.Linear(6, 4), r"output has shape \(8, 4\).*3 classes"),
        (lambda: nn.Linear(5, 3), "does not take a batch"),
        (nn.Flatten, "no parameters"),
        (lambda: 3, "returned a int"),
        (lambda x: x, "not a builder"),
    ],
)
def test_models_that_do_not_fit_are_refused_in_one_line(model: Any, text: str, table: Data) -> None:
    with pytest.raises(EquipoiseError, match=text) as e:
        eq.train(model, Recipe(), table, **QUICK)
    assert "\n" not in str(e.value)
