"""Training one run: equality of the three ways, files, failures, prediction rules."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.executor import Single
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve

from .models_of_users import Lstm, OwnLayers, mlp

SHARED = Path(__file__).parents[2] / "shared" / "data"


def test_step_is_train(table: Data) -> None:
    """The public pure step, fed the rows that train feeds, gives train's parameters to float tolerance."""
    recipe = Recipe(T.Dropout(0.3), T.BatchNorm(), T.Momentum(0.05), T.ClipGradients(1.0))
    run = eq.train(mlp, recipe, table, epochs=2, batch_size=24, seed=9, shuffle="never")
    x, y = table.select("fit")
    init, step = eq.step(mlp, recipe, (x, y), steps=10)
    state = init(9)
    for _ in range(2):
        for a in range(0, len(y), 24):
            state, loss = step(state, x[a : a + 24], y[a : a + 24])
    assert loss.dim() == 0
    for k, v in run.state["params"].items():
        torch.testing.assert_close(state.params[k], v, rtol=1e-5, atol=1e-6)


def test_step_changes_nothing_it_was_given(table: Data) -> None:
    x, y = table.select("fit")
    init, step = eq.step(mlp, None, (x[:32], y[:32]))
    start = init(0)
    before = {k: v.clone() for k, v in start.params.items()}
    a, b = step(start, x[:32], y[:32]), step(start, x[:32], y[:32])
    assert all(torch.equal(v, before[k]) for k, v in start.params.items()) and torch.equal(a[1], b[1])


def test_step_fits_what_a_regression_needs() -> None:
    """Without a recipe, targets are standardized: large ones do not give a large first loss."""
    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(64, 6, generator=g), 1000 + 50 * torch.randn(64, 1, generator=g)
    init, step = eq.step(lambda: torch.nn.Linear(6, 1), None, (x, y))
    _, loss = step(init(0), x, y)
    assert 0.2 < float(loss) < 2


def test_a_saved_run_predicts_the_same_bits(table: Data, tmp_path: Path) -> None:
    run = eq.train(
        "mlp(hidden=(16,))",
        Recipe(T.Dropout(0.2, scaling="at_test"), T.BatchNorm()),
        table,
        epochs=2,
        out=tmp_path / "r",
    )
    again = eq.load(tmp_path / "r")
    x, _ = table.select("test")
    np.testing.assert_array_equal(again.predict(x), run.predict(x))
    np.testing.assert_array_equal(again.predict(x, samples=3), run.predict(x, samples=3))
    assert again.recipe == run.recipe and again.history == run.history
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "r" / "weights.safetensors")
    assert list(weights) == sorted(run.model.state_dict())


def test_a_run_from_a_python_object_needs_its_builder_again(table: Data, tmp_path: Path) -> None:
    run = eq.train(mlp, None, table, epochs=1, out=tmp_path / "r")
    with pytest.raises(EquipoiseError, match="model=build"):
        eq.load(tmp_path / "r")
    x, _ = table.select("test")
    np.testing.assert_array_equal(eq.load(tmp_path / "r", model=mlp).predict(x), run.predict(x))


def test_loading_a_strangers_folder_imports_nothing(
    table: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\nfrom tests.models_of_users import mlp\n"
    )
    monkeypatch.chdir(tmp_path)
    eq.train("net.py:mlp", None, table, epochs=1, out="r")
    Path("ran").unlink()
    with pytest.raises(EquipoiseError, match=r"model='net.py:mlp'"):
        eq.load("r")
    assert not Path("ran").exists()
    assert eq.load("r", model="net.py:mlp").predict(table.select("test")[0]).shape == (30, 3)


def test_one_logit_serves_two_classes(table: Data) -> None:
    """p(class 1) = σ(z): the same as two logits (0, z)."""
    binary = Data(table.x, (table.y > 0).long(), name="binary")
    run = eq.train(lambda: nn.Linear(6, 1), Recipe(T.SGD(0.5)), binary, epochs=3)
    x, _ = binary.select("test")
    z = run.model(run.program.objective.prepare(x, run.program.by_key, run.const.fitted)).squeeze(1)
    np.testing.assert_allclose(run.predict(x)[:, 1], torch.sigmoid(z).detach().numpy(), rtol=1e-5)
    assert run.score("test")["accuracy"] > 0.8


def test_ordinal_targets_train_a_head_of_one_less(table: Data) -> None:
    run = eq.train("mlp(hidden=(8,))", Recipe(T.Targets("ordinal"), T.Adam(0.01)), table, epochs=10)
    assert run.model.head.out_features == 2  # type: ignore[union-attr]
    p = run.predict(table.select("test")[0])
    assert p.shape == (30, 3) and np.allclose(p.sum(1), 1, atol=1e-5) and run.score("test")["accuracy"] > 0.6


@pytest.mark.parametrize("name", ["run.json", "state.safetensors", "recipe.yaml", "history.csv"])
def test_a_damaged_folder_is_refused_in_one_line(name: str, table: Data, tmp_path: Path) -> None:
    eq.train("mlp(hidden=(4,))", None, table, epochs=1, out=tmp_path / "r")
    (tmp_path / "r" / name).write_bytes(b"\x80\x04damaged")
    with pytest.raises(EquipoiseError) as e:
        eq.load(tmp_path / "r")
    assert "\n" not in str(e.value)


def test_an_unfinished_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EquipoiseError, match="no finished run"):
        eq.load(tmp_path)


def test_divergence_names_the_step(table: Data) -> None:
    with pytest.raises(EquipoiseError, match=r"loss became (nan|inf) at step \d+ \(epoch 1\)"):
        eq.train(mlp, Recipe(T.SGD(1e38)), table, epochs=2)


def test_a_diverged_run_harms_nobody_and_scores_as_the_fallback(table: Data) -> None:
    good = Recipe(T.SGD(0.1))
    bad, fine = eq.train_many(mlp, [Recipe(T.SGD(1e38)), good], table, seeds=[0, 0], epochs=2)
    alone = eq.train(mlp, good, table, epochs=2)
    assert bad.failed and not fine.failed
    torch.testing.assert_close(fine.state["params"]["0.weight"], alone.state["params"]["0.weight"])
    share = np.bincount(table.select("fit")[1].numpy(), minlength=3) / len(table.rows["fit"])
    want = -np.log(share[table.select("assess")[1].numpy()]).mean()
    assert bad.score("assess")["loss"] == pytest.approx(want, rel=0.05)


def test_early_stopping_restores_the_best_weights(table: Data) -> None:
    recipe = Recipe(T.EarlyStopping(patience=3), T.Momentum(0.3))
    run = eq.train(mlp, recipe, table, epochs=60, seed=1)
    losses = [h["stop_loss"] for h in run.history]
    best = int(np.argmin(losses))
    assert run.record.ended and len(losses) == best + 4
    assert run.score("stop")["loss"] == pytest.approx(losses[best], rel=1e-5)
    again = eq.train(mlp, Recipe(T.Momentum(0.3)), table, epochs=best + 1, seed=1)
    for k, v in again.state["params"].items():
        torch.testing.assert_close(run.state["params"][k], v)


def test_sample_weights_count_as_repeats(table: Data) -> None:
    """Weight 2 for a row trains like the row twice: full batches, no noise."""
    rows = table.rows["fit"]
    weights = torch.ones(table.n)
    weights[rows[:30]] = 2.0
    heavy = Data(table.x, table.y, weights=weights, split={k: v.tolist() for k, v in table.rows.items()})
    twice = table.with_rows({"fit": torch.cat([rows, rows[:30]]).sort().values})
    a = eq.train(mlp, _raw(), heavy, epochs=3, batch_size=1000)
    b = eq.train(mlp, _raw(), twice, epochs=3, batch_size=1000)
    for k, v in a.state["params"].items():
        torch.testing.assert_close(b.state["params"][k], v, rtol=1e-4, atol=1e-6)


def _raw() -> Recipe:
    from equipoise.technique import Empty

    return Recipe(Empty("inputs"), T.SGD(0.1))


def test_shuffle_orders(table: Data) -> None:
    from equipoise.feed import Schedule

    runs = {s: eq.train(mlp, _raw(), table, epochs=3, shuffle=s) for s in ("each", "once", "never")}
    params = [r.state["params"]["0.weight"] for r in runs.values()]
    assert not torch.equal(params[0], params[1]) and not torch.equal(params[1], params[2])
    with pytest.raises(EquipoiseError, match="shuffle"):
        Schedule(1, 2, "sometimes")


def test_models_that_draw_elsewhere_run_one_by_one_and_repeat(sequences: Data) -> None:
    class Noisy(Lstm):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 8, num_layers=2, dropout=0.4, batch_first=True)

    a, b = eq.train_many(Noisy, [None, Recipe(T.L2(1e-3))], sequences, seeds=[0, 1], epochs=1)
    alone = eq.train(Noisy, Recipe(T.L2(1e-3)), sequences, epochs=1, seed=1)
    assert "one by one" in a.record.plan["why"]
    assert all(torch.equal(v, alone.state["params"][k]) for k, v in b.state["params"].items())


def test_monte_carlo_of_own_dropout_is_seeded(images: Data) -> None:
    run = eq.train(OwnLayers, None, images, epochs=1)
    x, _ = images.select("test")
    draws = run.predictor.draws(x, 4)
    assert not torch.equal(draws[0], draws[1])
    np.testing.assert_allclose(run.predict(x, samples=4), draws.mean(0).numpy(), atol=1e-7)


def test_the_gap_to_the_deterministic_rule_is_told(table: Data) -> None:
    run = eq.train(mlp, Recipe(T.Dropout(0.3), T.MonteCarlo(200)), table, epochs=2)
    found = run.monte_carlo(table.select("stop")[0])
    assert found["spread"] > 0 and any(f"gap to the deterministic rule {found['gap']:.4f}" in n for n in run.notes)
    assert eq.train(mlp, Recipe(T.Dropout(0.3)), table, epochs=1).monte_carlo(table.select("stop")[0]) == {}


@pytest.mark.slow
def test_the_reference_network_reaches_97_percent_on_digits() -> None:
    data = Data.load("digits")
    runs = eq.train_many("mlp(hidden=(64,64))", [None] * 5, data, seeds=range(5), epochs=40)
    accuracy = [r.score("test")["accuracy"] for r in runs]
    assert np.mean(accuracy) >= 0.97, accuracy


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "mnist").is_dir() and "EQUIPOISE_DATA" not in os.environ, reason="MNIST's files are not here"
)
def test_the_cnn_reaches_98_5_percent_on_mnist() -> None:
    data = Data.load("mnist", data_dir=os.environ.get("EQUIPOISE_DATA") or SHARED)
    assert eq.train("cnn", None, data, epochs=3).score("test")["accuracy"] >= 0.985


def test_a_run_without_end_needs_no_memory_for_its_end() -> None:
    """A billion epochs are planned; the first costs what the first of two costs."""
    data = Data(torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 2)
    member = Member(resolve(Recipe(T.SGD(0.1), T.Cosine()), data.task), 0)
    [(techniques, _)] = group([member])
    program = make_program(lambda: nn.Linear(4, 2), techniques, member, data, Options())
    assert Cohort(program, [member], data, Schedule(10**9, 16), Single).train_epoch()
