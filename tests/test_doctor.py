"""The doctor end to end: faults are found, healthy set-ups are silent, and looking changes nothing."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import probes, schemas
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.doctor import Course, Diagnosis, diagnose, doctor
from equipoise.doctor.bench import Bench
from equipoise.doctor.chart import chart_of
from equipoise.doctor.diagnose import traced
from equipoise.doctor.mend import closed, with_proposals
from equipoise.doctor.watch import Watched, Watcher
from equipoise.errors import EquipoiseError
from equipoise.plan import Options
from equipoise.probe import section
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Empty, Technique
from tests.stepping import cohort_of

SMALL = "mlp(hidden=(16,16))"
DEEP = "mlp(hidden=(16,16,16,16,16,16),activation='tanh')"


def blobs(scale: float = 1.0, order: bool = False, rows: int = 600) -> Data:
    """Rows of 6 standard normal features in 3 classes that depend on them."""
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(7))
    y = (x @ torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0, 2.0])).mul(0.8).round().clamp(-1, 1).long() + 1
    if order:
        by_class = torch.argsort(y, stable=True)
        x, y = x[by_class], y[by_class]
    return Data(scale * x, y, name="blobs")


@pytest.fixture(scope="module")
def data() -> Data:
    return blobs()


def line() -> Data:
    """400 rows whose target is a sum of two features, in units of its own."""
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(3))
    return Data(x, x[:, :2].sum(1, keepdim=True) * 50 + 300, task="regress", name="line")


def found(diagnosis: Diagnosis) -> set[str]:
    return {f.probe for f in diagnosis.findings}


# --- faults -----------------------------------------------------------------------------------------------------------
def test_a_constant_start_is_symmetry_and_a_usual_one_mends_it(data: Data):
    seen = doctor(SMALL, Recipe(T.Constant(0.1), T.SGD(0.1)), data, fix=True)
    assert seen.findings[0].probe == "symmetry"
    assert {f.where for f in seen.findings if f.probe == "symmetry"} == {"layers.0", "layers.1"}  # never the output
    assert seen.findings[0].proposed == (T.Orthogonal(),)
    assert seen.mended is not None
    assert seen.mended.remedy
    assert seen.mended.recipe.find("Orthogonal") and not seen.mended.recipe.find("Constant")


def test_small_weights_in_a_deep_tanh_net_vanish(data: Data):
    seen = doctor(DEEP, Recipe(T.SmallRandom(0.001), T.SGD(0.1)), data)
    assert seen.findings[0].probe == "activation_profile"
    assert "vanish" in seen.findings[0].symptom
    assert {"activation_profile", "gradient_profile"} <= found(seen)
    rate = next(m for m in seen.measures if m.probe == "activation_profile" and m.unit == "per layer")
    # widths of 16: E[a²] falls by 16·10⁻⁶ a layer; over 6 layers its slope varies by a few tens of percent
    assert abs(math.log(rate.value / 16e-6)) < 1.5


def test_large_inputs_saturate_a_sigmoid():
    model = "mlp(hidden=(16,16),activation='sigmoid')"
    seen = doctor(model, Recipe(Empty("inputs"), T.SGD(0.1)), blobs(100.0))
    assert seen.findings[0].probe == "unscaled_inputs"
    assert {"unscaled_inputs", "saturation"} <= found(seen)
    assert seen.findings[0].proposed == (T.Standardize(),)
    assert seen.findings[0].value == pytest.approx(100, rel=0.1)
    assert not {"unscaled_inputs", "saturation"} & found(doctor(model, Recipe(T.AdamW(0.01)), blobs(100.0)))


@pytest.mark.parametrize("optimizer", [T.SGD(100.0), T.AdamW(1.0)], ids=["SGD", "AdamW"])
def test_a_rate_a_thousand_times_too_high(data: Data, optimizer: Technique):
    seen = doctor(SMALL, Recipe(optimizer), data, fix=True)
    assert seen.findings[0].probe == "gradient_spikes"
    rate = next(t for t in seen.findings[0].proposed if t.slot == "optimizer").knobs()["rate"]
    assert rate < optimizer.knobs()["rate"] / 100
    assert seen.mended is not None
    assert seen.mended.gap_closed > 0


def test_a_rate_far_too_low(data: Data):
    seen = doctor(SMALL, Recipe(T.SGD(1e-6)), data)
    assert found(seen) == {"update_ratio", "update_shape"}
    assert seen.findings[0].probe == "update_ratio"  # the first cause
    assert seen.findings[0].proposed[0].knobs()["rate"] > 1e-3


def test_a_loss_that_breaks_is_told_with_its_step():
    seen = doctor("mlp(hidden=())", Recipe(T.SGD(10.0)), line(), steps=100)
    broken = next(f for f in seen.findings if f.probe == "gradient_spikes")
    assert "non-finite" in broken.symptom
    assert 0 < broken.value < 100
    check(seen)


def test_sorted_rows_shift_from_batch_to_batch():
    recipe = resolve(Recipe(T.SGD(0.1)), "classify")
    ordered = blobs(order=True)
    seen = doctor(SMALL, recipe, ordered, steps=100, shuffle="never", fix=True)
    assert seen.findings[0].probe == "minibatch_shift"
    assert seen.findings[0].course == {"shuffle": "each"} and 'shuffle="each"' in seen.findings[0].why
    assert seen.mended is not None and seen.mended.course == {"shuffle": "each"}  # no recipe entry, but a way out
    assert seen.mended.recipe == seen.recipe
    assert "minibatch_shift" not in found(diagnose(SMALL, recipe, ordered, Course(100)))


def test_a_test_set_from_elsewhere_is_told(data: Data):
    x = data.x.clone()  # type: ignore[union-attr]
    x[data.rows["test"], 2] += 2.0
    moved = Data(x, data.y, split={k: v.tolist() for k, v in data.rows.items()}, name="moved")
    seen = doctor(SMALL, Recipe(T.SGD(0.1)), moved, steps=40)
    assert [(f.probe, f.where) for f in seen.findings] == [("split_shift", "test")]
    number = next(m for m in seen.measures if m.probe == "split_shift" and m.where == "test" and m.threshold is None)
    assert number.value == 2


def test_batch_norm_on_two_rows(data: Data):
    seen = doctor(SMALL, Recipe(T.BatchNorm(), T.SGD(0.1)), data, batch_size=2)
    assert seen.findings[0].probe == "batch_norm_statistics"
    assert (seen.findings[0].value, seen.findings[0].severity) == (2, "warning")
    own = doctor(own_norm, Recipe(T.SGD(0.05)), data, batch_size=2, steps=40)
    assert (own.findings[0].proposed, own.findings[0].course) == ((), {"batch_size": 32})  # the norm is the user's own


def dropout_first() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.7), nn.BatchNorm1d(32), nn.Linear(32, 3))


def test_dropout_in_front_of_the_users_own_batch_norm(data: Data):
    seen = doctor(dropout_first, Recipe(T.SGD(0.1)), data)
    assert seen.findings[0].probe == "dropout_before_batch_norm"
    assert seen.findings[0].where == "3"
    # running variance over that of prediction, for about half-rectified units that are kept with .3: 1/r above 2
    assert seen.findings[0].value > 2


def dead_start() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(net[0].bias, -20.0)  # type: ignore[arg-type]
    return net


def test_units_that_start_dead(data: Data):
    seen = doctor(dead_start, Recipe(T.SGD(0.1)), data)
    dead = next(f for f in seen.findings if f.probe == "dead_units")
    assert (dead.where, dead.value, dead.severity) == ("0", 1.0, "fault")


def test_labels_without_meaning_are_learned_by_heart(data: Data):
    y = torch.randint(0, 3, (600,), generator=torch.Generator().manual_seed(1))
    seen = doctor("mlp(hidden=(64,64))", Recipe(T.AdamW(1e-2)), Data(data.x, y, name="noise"))
    assert "generalization_gap" in found(seen)


# --- more instruments, on their faults and on healthy twins -----------------------------------------------------------
def test_a_rate_too_low_for_a_shallow_loss(data: Data):
    """At a hundredth of a good rate the weights hardly move, and the course comes nowhere."""
    seen = doctor(SMALL, Recipe(T.SGD(1e-3)), data)
    assert found(seen) == {"update_ratio", "update_shape"}
    assert "too shallow" in seen.findings[1].symptom
    assert seen.findings[0].proposed[0].knobs()["rate"] > 1e-2
    assert doctor(SMALL, Recipe(T.SGD(0.1)), data).ok


def test_a_quadratic_that_is_too_steep_for_the_rate():
    """Least squares on standardized inputs and targets: curvature about 2, so that steps of 2 diverge."""
    seen = doctor("mlp(hidden=())", Recipe(T.SGD(2.0)), line(), steps=12)
    assert "update_shape" in found(seen)
    value = next(m for m in seen.measures if m.unit == "1 − R² of a parabola")
    assert value.value < 1e-9  # a linear model under the squared error is quadratic
    assert "update_shape" not in found(doctor("mlp(hidden=())", Recipe(T.SGD(0.1)), line(), steps=12))


def test_a_chaotic_start_learns_a_rough_brittle_function(data: Data):
    """Weights of N(0, 1) in a deep tanh net: each layer folds once more; the default start is its twin."""
    rough = doctor(DEEP, Recipe(T.SmallRandom(1.0), T.AdamW(3e-3)), data)
    assert {"function_smoothness", "unit_removal"} <= found(rough)
    assert rough.findings[0].probe == "activation_profile"  # of which they follow
    smooth = doctor(DEEP, Recipe(T.AdamW(3e-3)), data)
    assert smooth.ok, [f.why for f in smooth.findings]
    each = [
        [m.value for m in d.measures if m.probe == "function_smoothness" and m.threshold == 3.0]
        for d in (rough, smooth)
    ]
    assert each[0][0] > 3 > 1.5 > each[1][0] >= 1


def wide(fit: int) -> Data:
    """A sum of 40 features, positive or not, with ``fit`` rows to learn it from and 380 to tell by."""
    x = torch.randn(fit + 400, 40, generator=torch.Generator().manual_seed(11))
    ends = {"fit": (0, fit), "stop": (fit, fit + 380), "assess": (fit + 380, fit + 390), "test": (fit + 390, fit + 400)}
    return Data(x, (x.sum(1) > 0).long(), split={k: list(range(*v)) for k, v in ends.items()}, name="wide")


def test_too_few_rows_are_told_with_what_more_would_bring():
    plain = Options(compile="never")
    seen = doctor("mlp(hidden=())", Recipe(T.AdamW(0.1)), wide(128), steps=32, batch_size=32, sizes=True, options=plain)
    curve = {m.unit: m.value for m in seen.measures if m.probe == "learning_curve"}
    assert all(map(math.isfinite, curve.values()))
    assert found(seen) == {"learning_curve", "few_rows"}  # 128 to learn from, 380 to stop by
    assert "collect more rows" in next(f for f in seen.findings if f.probe == "learning_curve").why
    check(seen)
    many = doctor("mlp(hidden=())", Recipe(T.AdamW(0.02)), wide(4000), steps=60, sizes=True, options=plain)
    assert many.ok, [f.why for f in many.findings]
    not_asked = doctor(SMALL, Recipe(T.SGD(0.1)), wide(128), steps=5)
    assert all(math.isnan(m.value) for m in not_asked.measures if m.probe == "learning_curve")


def test_equal_courses_have_equal_steps_and_nested_rows(data: Data):
    from equipoise.doctor.sizes import augmented, trained_sizes

    recipe = resolve(Recipe(T.SGD(0.1)), "classify")
    found_sizes = trained_sizes(SMALL, recipe, data, Course(10), Options(compile="never"))
    stop = len(data.rows["stop"])
    for k in ("quarter", "half", "whole", "augmented"):
        assert getattr(found_sizes, k).shape == (3, stop)
    run = eq.train_many(SMALL, [recipe], data, seeds=[1], epochs=2, options=Options(compile="never"))[0]
    assert Course(10).schedule(len(data.rows["fit"])).epochs == 2
    assert np.allclose(found_sizes.whole[1].numpy(), run.per_example("stop", "loss"), rtol=1e-5, atol=1e-6)
    assert type(augmented(Recipe(T.MixUp(0.2)), data)[1]) is T.GaussianNoise  # it has the first choice already


# --- healthy, and healthy but odd -------------------------------------------------------------------------------------
class ZeroBranch(nn.Module):
    """Two residual blocks whose last map starts at zero, and a head that does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(2))
        self.head = nn.Linear(16, 3)
        last: list[Any] = [*(b[-1] for b in self.blocks), self.head]  # type: ignore[index]
        for m in last:
            nn.init.zeros_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for b in self.blocks:
            x = x + b(x)
        return self.head(x)


def sparse() -> nn.Module:
    """ReLU with about 70 % zeros."""
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3))
    nn.init.constant_(net[0].bias, -0.3)  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize(
    ("model", "recipe", "options"),
    [
        (SMALL, (T.SGD(0.1),), {}),
        (SMALL, None, {}),
        ("mlp(hidden=(16,16),activation='tanh')", (), {"steps": 60}),
        (ZeroBranch, (T.SGD(0.1),), {}),
        (ZeroBranch, (), {}),
        (sparse, (T.SGD(0.1),), {}),
        (SMALL, (T.SGD(0.1), T.WarmUp(0.001, 0.3)), {}),
        (SMALL, (T.AdamW(3e-3), T.Dropout(0.2), T.LabelSmoothing(0.1)), {}),
        (SMALL, (T.SAM(), T.SGD(0.1)), {"steps": 100}),
        (SMALL, (T.SGD(0.05),), {"batch_size": 16, "seed": 5}),
    ],
)
def test_healthy_set_ups_are_silent(data: Data, model: Any, recipe: Any, options: dict[str, Any]):
    seen = doctor(model, recipe, data, **options)
    assert seen.ok, [f.why for f in seen.findings]
    check(seen)


def test_digits_are_healthy():
    seen = doctor("mlp(hidden=(64,64))", None, Data.load("digits"))
    assert seen.ok, [f.why for f in seen.findings]
    assert seen.seconds < 60


def test_a_trained_net_that_is_tuned_on_gently(data: Data):
    """Tiny gradients, tiny updates: nothing is wrong."""
    run = eq.train(SMALL, Recipe(T.SGD(0.3)), data, epochs=60)
    seen = doctor(run.model, Recipe(T.SGD(1e-6)), data, steps=60)
    ratio = next(m for m in seen.measures if m.probe == "update_ratio" and m.where == "all layers")
    assert ratio.value < 1e-5
    assert seen.ok, [f.why for f in seen.findings]


def test_regression_is_healthy():
    seen = doctor(SMALL, None, line())
    assert seen.ok, [f.why for f in seen.findings]
    check(seen)


# --- looking changes nothing ------------------------------------------------------------------------------------------
def bits(value: Any) -> Any:
    return {k: bits(v) for k, v in value.items()} if isinstance(value, dict) else value.clone()


def same(a: Any, b: Any) -> bool:
    return all(same(a[k], b[k]) for k in a) if isinstance(a, dict) else torch.equal(a, b)


def own_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 3))


class Untouched:
    """Everything that measuring could move, as it was: training state with batch-norm statistics, the network's own
    tensors, gradients, modes, hooks and what is held for a pass, and three generators of random numbers."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort, self.net = cohort, cohort.program.net
        for i, m in enumerate(self.net.module.modules()):
            m.training = i % 2 == 0  # a mode of its own each
        for p in self.net.module.parameters():
            p.grad = torch.full_like(p, 0.25)
        torch.manual_seed(4)
        np.random.seed(4)
        random.seed(4)
        self.before = self.now()

    def now(self) -> dict[str, Any]:
        modules = dict(self.net.module.named_modules())
        drawn: Any = np.random.get_state()
        return {
            "state": bits(self.cohort.executor.member(self.cohort.state, 0)),
            "own": bits(dict(self.net.module.state_dict())),
            "gradients": bits({k: p.grad for k, p in self.net.module.named_parameters()}),
            "modes": torch.tensor([m.training for m in modules.values()]),
            "hooks": torch.tensor([len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules.values()]),
            "backward": torch.tensor([len(m._backward_hooks) for m in modules.values()]),
            "required": torch.tensor([p.requires_grad for p in self.net.module.parameters()]),
            "torch": torch.get_rng_state(),
            "numpy": torch.tensor(np.asarray(drawn[1], dtype=np.int64)),
            "python": torch.tensor(random.getstate()[1]),
            "enabled": torch.tensor([torch.is_grad_enabled(), self.net.current is None]),
        }

    def check(self) -> None:
        now = self.now()
        assert [k for k in now if not same(now[k], self.before[k])] == []
        assert all(p.grad is not None for p in self.net.module.parameters())


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(inplace=True), nn.Linear(12, 3))


NORMED = {"own": (own_norm, [T.Dropout(0.2)]), "technique": (plain_net, [T.BatchNorm(), T.Dropout(0.2)])}


def watched_cohort(data: Data, norm: str = "own") -> Cohort:
    build, entries = NORMED[norm]
    return cohort_of([[T.Momentum(), *entries]], data, Watched, build=build, epochs=2)


@pytest.fixture(scope="module", params=NORMED)
def seen_training(data: Data, request: pytest.FixtureRequest) -> tuple[Cohort, Any]:
    cohort = watched_cohort(data, request.param)
    return cohort, Watcher(cohort, 12, 0).trace()


@pytest.mark.parametrize("norm", NORMED)
def test_a_look_moves_no_bit(data: Data, norm: str):
    cohort = watched_cohort(data, norm)
    bench = Bench(cohort, 0)
    was = Untouched(cohort)
    m = bench.completed(bench.moment(0))
    bench.look(0)
    bench.constants(bench.state)
    bench.weighed(m)
    m.gradient(m.params)
    f = bench.function()
    f.respond(f.x)
    f.score({name: torch.zeros(n) for name, n in f.widths.items()})
    was.check()


@pytest.mark.parametrize("norm", NORMED)
def test_what_is_measured_after_training_moves_no_bit(data: Data, norm: str):
    cohort = watched_cohort(data, norm)
    watcher = Watcher(cohort, 12, 0)
    watcher.train()
    was = Untouched(cohort)
    chart_of(watcher.trace())
    was.check()


@pytest.mark.parametrize("name", probes.names())
def test_no_probe_moves_a_bit(name: str, seen_training: tuple[Cohort, Any]):
    cohort, trace = seen_training
    was = Untouched(cohort)
    probe = probes.find(name)()
    probe.judge(probe.measure(trace), trace)
    was.check()


def test_the_training_that_is_looked_at_is_the_training(data: Data):
    """Two epochs, watched, against the same two epochs alone: equal bits."""
    recipe = [T.Momentum(), T.Dropout(0.2)]
    watched, alone = (cohort_of([recipe], data, e, build=own_norm, epochs=2) for e in (Watched, None))
    Watcher(watched, watched.total_steps, 0).trace()
    for _ in range(2):
        alone.train_epoch()
    states = [c.executor.member(c.state, 0) for c in (watched, alone)]
    assert same({k: states[0][k] for k in ("params", "buffers")}, {k: states[1][k] for k in ("params", "buffers")})


def test_the_users_module_is_left_alone(data: Data):
    net = own_norm()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    doctor(net, Recipe(T.SGD(0.1)), data, steps=10)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


# --- what is recorded -------------------------------------------------------------------------------------------------
def test_layers_are_recorded_as_pytorch_computes_them(data: Data):
    cohort = cohort_of([[T.SGD()]], data, Watched, build=own_norm, epochs=1)
    bench = Bench(cohort, 0)
    m, plain = bench.completed(bench.moment(0)), own_norm().double()
    plain.load_state_dict({**m.params, **m.buffers}, strict=True)
    plain[3].p = 0.0  # type: ignore[assignment]
    x, y = bench.batch.x, bench.batch.y
    first, last = m.layers
    assert torch.allclose(first.z, plain[0](x))
    assert (first.activation, first.weight, last.is_output) == ("relu", "0.weight", True)
    plain.train()
    assert torch.allclose(first.a, torch.relu(plain[1](plain[0](x))))
    plain.load_state_dict({**m.params, **m.buffers})
    loss = nn.functional.cross_entropy(plain(x), y)
    assert m.loss == pytest.approx(float(loss.detach()), rel=1e-12)
    first, second = (nn.functional.cross_entropy(plain(x[a : a + 64]), y[a : a + 64]) for a in (0, 64))
    ((first + second) / 2).backward()  # two parts, each with the statistics of its own rows, as a batch in training
    for name, p in plain.named_parameters():
        if name != "0.bias":  # in front of batch norm: its gradient is rounding noise, and held at zero
            assert p.grad is not None
            assert torch.allclose(m.grads[name], p.grad)
    plain.load_state_dict({**m.params, **m.buffers})
    plain.eval()
    evaluated = float(nn.functional.cross_entropy(plain(x), y).detach())
    assert m.evaluated == pytest.approx(evaluated, rel=1e-12)
    assert torch.allclose(m.norms["1"], plain[0](x))
    share = y.mean(0)
    best, uniform = bench.constants(cohort.executor.member(cohort.state, 0))
    assert best == pytest.approx(-float((share * share.log()).sum()))
    assert uniform == pytest.approx(math.log(len(share)), rel=1e-6)


def test_convolutions_are_recorded_units_last(images: Data):
    recipe = resolve(Recipe(T.SGD(0.05), T.BatchNorm()), "classify")
    trace = traced("cnn(channels=(4,),hidden=8)", recipe, images, Course(4, batch_size=16), Options())
    conv = trace.first.layers[0]
    assert conv.z.shape == (trace.first.rows * 64, 4)
    assert trace.last.norms["convs.0.normalization"].shape == trace.last.layers[0].z.shape
    assert torch.allclose(conv.z.mean(0), torch.zeros(4), atol=1e-5)  # behind batch norm, in training mode
    assert len(trace.norms) == len(trace.losses) == 4
    assert trace.ratios["convs.0.weight"][0] > 0


def test_the_first_update_is_the_optimizers(data: Data):
    """SGD: ‖ΔW‖/‖W‖ of the first step is ε‖g‖/‖W‖, and the noted norm is that of the whole gradient."""
    cohort = cohort_of([[T.SGD(0.1)]], data, Watched, epochs=1, build=lambda: nn.Linear(6, 3))
    state, now = cohort.executor.member(cohort.state, 0), next(cohort.feed.steps(0, [1.0]))
    w, b = (state["params"][k].clone().requires_grad_() for k in ("weight", "bias"))
    nn.functional.cross_entropy(now.x[0].double() @ w.T + b, now.y[0]).backward()
    assert w.grad is not None and b.grad is not None
    executor = cohort.executor
    assert isinstance(executor, Watched)
    executor.step(cohort.state, cohort.const, now)
    expected = 0.1 * float(w.grad.norm() / w.detach().norm())
    assert float(executor.ratios["weight"][0]) == pytest.approx(expected, rel=1e-12)
    whole = math.hypot(float(w.grad.norm()), float(b.grad.norm()))
    assert float(executor.norms[0]) == pytest.approx(whole, rel=1e-12)


# --- the diagnosis ----------------------------------------------------------------------------------------------------
def check(diagnosis: Diagnosis) -> None:
    """It validates against the schema, holds only JSON, and every instrument that applies is there."""
    text = json.dumps(diagnosis.to_dict(), allow_nan=False)
    jsonschema.validate(json.loads(text), schemas.load("doctor"))
    always = {"unscaled_inputs", "minibatch_shift", "gradient_profile", "gradient_spikes", "landscape"}
    assert always <= {m.probe for m in diagnosis.measures}
    for f in diagnosis.findings:
        assert f.false_alarms and f.source and f.reason
        assert Recipe.from_list(json.loads(json.dumps(Recipe(*f.proposed).to_list()))) == Recipe(*f.proposed)


def test_faulty_output_validates(data: Data):
    seen = doctor(SMALL, Recipe(T.Constant(0.0), T.SGD(0.1)), data, steps=40, fix=True)
    check(seen)
    assert set(seen.to_dict()["mended"]) == {"gap_closed", "low", "high", "seeds"}


def test_one_step_is_enough_to_measure(data: Data):
    check(doctor(SMALL, Recipe(T.SGD(0.1)), data, steps=1))


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": 2.5}, {"seed": -1}, {"batch_size": 0}, {"shuffle": "no"}])
def test_bad_input_is_refused_in_one_line(data: Data, bad: dict[str, Any]):
    with pytest.raises(EquipoiseError) as e:
        doctor(SMALL, None, data, **bad)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_says_its_rule_false_alarms_and_source(name: str):
    cls: Any = probes.find(name)
    assert cls.name() == name
    assert all(section(cls, part) for part in ("Rule", "Known false alarms", "Source"))
    assert set(cls.follows) <= set(probes.names()) - {name}


# --- mending ----------------------------------------------------------------------------------------------------------
def test_the_share_of_the_gap_is_a_paired_t_of_logarithms():
    from scipy import stats

    given, mended = [1.0, 2.0, 4.0], [0.5, 0.9, 2.4]
    d = np.log(np.array(mended) / given)
    half = stats.t.ppf(0.975, 2) * d.std(ddof=1) / math.sqrt(3)
    found = closed(given, mended)
    assert found == pytest.approx(
        (1 - math.exp(d.mean()), 1 - math.exp(d.mean() + half), 1 - math.exp(d.mean() - half))
    )
    assert found[1] < found[0] < found[2]
    assert closed([3.0, 1.0], [3.0, 1.0]) == (0.0, 0.0, 0.0)
    assert closed([10.0, 10.1, 9.8], [100.0, 101.0, 99.0])[2] < 0  # a proposal that harms is told as harm


def test_consequences_propose_nothing(data: Data):
    """All-zero weights kill units too; what mends the symmetry is tried, nothing else."""
    seen = doctor(SMALL, Recipe(T.Constant(0.0), T.SGD(0.1)), data, steps=40)
    assert {"symmetry", "dead_units"} <= found(seen)
    proposed = with_proposals(seen.recipe, seen.findings)
    assert proposed.find("Orthogonal") and len(proposed) == len(seen.recipe)


def test_what_the_network_refuses_is_not_tried(data: Data):
    """LayerNorm where the user's own batch norm already normalizes: the finding stays, the rerun goes without it."""
    from equipoise.doctor.course import Course
    from equipoise.doctor.mend import mend
    from equipoise.probe import Finding

    def own() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    proposed = (T.LayerNorm(where="0"), T.ClipGradients(1.0, by="norm"))
    finding = Finding("dead_units", "fault", "0", 1.0, "", 0.5, "dead", "because.", proposed, "none", "none")
    options = Options(threads=1, compile="never")
    given = resolve(Recipe(T.SGD(0.1)), data.task)
    rerun = mend(own, given, [finding], data, Course(20, 0, 32), options)
    assert rerun is not None and rerun.recipe.find("ClipGradients") and not rerun.recipe.find("LayerNorm")
