"""`precision="auto"`: what is measured to be faster, decided once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import precision
from equipoise import techniques as T
from equipoise.feed import Schedule
from equipoise.plan import Member
from equipoise.recipe import resolve

SHORT = {"epochs": 1, "batch_size": 16}


@pytest.fixture
def data() -> eq.Data:
    generator = torch.Generator().manual_seed(0)
    return eq.Data(torch.randn(96, 6, generator=generator), torch.arange(96) % 2)


def options(name: str = "auto") -> eq.Options:
    return eq.Options(precision=name, threads=1, compile="never")


@pytest.mark.parametrize(("slower", "chosen"), [("float32", "bfloat16"), ("bfloat16", "float32"), ("", "float32")])
def test_the_faster_one_is_taken_and_told(
    data: eq.Data, slower: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both are equally fast the finer one stays."""
    monkeypatch.setattr(precision, "_seconds", lambda o, *_: 2.0 if o.precision == slower else 1.0)
    run = eq.train(lambda: nn.Linear(6, 2), [T.SGD(0.1)], data, **SHORT, options=options())
    assert run.record.plan["precision"] == chosen
    same = eq.train(lambda: nn.Linear(6, 2), [T.SGD(0.1)], data, **SHORT, options=options(chosen))
    assert torch.equal(run.model.weight, same.model.weight)  # type: ignore[union-attr, arg-type]


def test_it_measures_a_network_of_the_users(data: eq.Data) -> None:
    run = eq.train(lambda: nn.Linear(6, 2), [T.SGD(0.1)], data, **SHORT, options=options())
    assert run.record.plan["precision"] in ("float32", "bfloat16")


def test_a_run_that_goes_on_keeps_its_precision(data: eq.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", lambda o, *_: 2.0 if o.precision == "float32" else 1.0)
    model = lambda: nn.Linear(6, 2)  # noqa: E731
    eq.train(model, [T.SGD(0.1)], data, **SHORT, out=tmp_path, options=options())
    monkeypatch.setattr(precision, "_seconds", lambda *_: pytest.fail("it was decided"))
    again = eq.train(model, [T.SGD(0.1)], data, **SHORT, out=tmp_path, resume=True, options=options())
    assert again.record.plan["precision"] == "bfloat16"


def test_looking_draws_nothing(data: eq.Data) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    member = Member(resolve(eq.Recipe(T.SGD(0.1)), "classify"), 0)
    asked = (options("float32"), lambda: model, member, data, Schedule(1, 16))
    before = torch.get_rng_state()
    assert 0 < precision._seconds(*asked) < 60
    assert torch.equal(before, torch.get_rng_state())
