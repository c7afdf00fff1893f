"""What the lecture decks state about normalization (CATALOGUE K), exact or in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from equipoise.techniques.normalization.batch_norm import BatchNorm
from equipoise.techniques.normalization.group_norm import GroupNorm
from equipoise.techniques.normalization.instance_norm import InstanceNorm
from equipoise.techniques.normalization.layer_norm import LayerNorm

from ..rig import Rig

F64 = torch.float64


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def layer(units: int, **options: Any) -> Any:
    """A batch norm layer for ``units`` features, float64, in training mode."""
    model = nn.Sequential(nn.Linear(2, units), nn.Linear(units, 1)).double()
    return Rig(model, draws(4, 2), BatchNorm(**options)).net.module[0].normalization  # type: ignore[union-attr,index]


def image_layer(t: Any, channels: int = 6) -> Any:
    model = nn.Sequential(nn.Conv2d(1, channels, 3), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 1, 6, 6))
    return Rig(model.double(), draws(4, 1, 6, 6), t).net.module[0].normalization  # type: ignore[union-attr,index]


# --- D4's quiz --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [5, 9, 20])
def test_after_a_32_channel_convolution_there_are_64_trainable_parameters(side: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * (side - 2) ** 2, 2))
    rig = Rig(model, torch.randn(2, 3, side, side), BatchNorm())
    assert sum(rig.params[n].numel() for n in rig.params if "normalization" in n) == 64


# --- what a minibatch looks like afterwards ---------------------------------------------------------------------------
@pytest.mark.parametrize("ddof", [0, 1])
def test_every_minibatch_has_mean_0_and_variance_1_so_between_batches_f_is_0(ddof: int) -> None:
    """Up to ε: the variance is σ²/(σ² + ε). One-way analysis of variance finds nothing between minibatches."""
    bn, batches = layer(5, ddof=ddof, epsilon=1e-12), [draws(16, 5, seed=s) * (s + 1) + 10 * s for s in range(4)]
    out = [bn(z).detach() for z in batches]
    for u in out:
        torch.testing.assert_close(u.mean(0), torch.zeros(5, dtype=F64), rtol=0, atol=1e-13)
        torch.testing.assert_close(u.var(0, correction=ddof), torch.ones(5, dtype=F64), rtol=0, atol=1e-11)
    before = stats.f_oneway(*(z.numpy() for z in batches)).statistic
    after = stats.f_oneway(*(u.numpy() for u in out)).statistic
    assert before.min() > 10 and after.max() < 1e-20


def test_gamma_the_deviation_and_beta_the_mean_is_the_identity() -> None:
    bn, z = layer(5), draws(32, 5) * 3 + 7
    with torch.no_grad():
        bn.weight.copy_((z.var(0, correction=0) + 1e-5).sqrt())
        bn.bias.copy_(z.mean(0))
    torch.testing.assert_close(bn(z), z, rtol=0, atol=1e-12)


def test_a_shift_of_the_previous_layer_changes_nothing_and_a_scale_only_through_epsilon() -> None:
    """ẑ(s z) = ẑ(z; ε/s²) exactly, so the change is at most ε|1 − 1/s²|/(2 σ²) of |u|."""
    z, epsilon, s = draws(32, 5), 1e-3, 3.0
    bn = layer(5, epsilon=epsilon)
    u = bn(z)
    torch.testing.assert_close(bn(z + torch.linspace(-50, 50, 5, dtype=F64)), u, rtol=0, atol=1e-12)
    torch.testing.assert_close(bn(s * z), layer(5, epsilon=epsilon / s**2)(z), rtol=0, atol=1e-12)
    change = (bn(s * z) - u).abs().detach()
    bound = epsilon * (1 - 1 / s**2) / (2 * z.var(0, correction=0)) * layer(5, epsilon=epsilon / s**2)(z).abs()
    assert bool((change <= bound).all()) and float(change.max()) > 1e-5


def test_the_result_is_neither_gaussian_nor_decorrelated() -> None:
    """Against D1's words: standardizing each unit keeps the shape of its distribution and all correlations."""
    z = draws(500, 2).exp()
    z[:, 1] += z[:, 0]
    u = layer(2)(z).detach()
    assert (stats.skew(u.numpy()) == pytest.approx(stats.skew(z.numpy()), rel=1e-12)) and stats.skew(
        u.numpy()
    ).min() > 1
    before, after = (float(torch.corrcoef(v.T)[0, 1]) for v in (z, u))
    assert after == pytest.approx(before, rel=1e-12) and after > 0.4
    assert stats.normaltest(u[:, 0].numpy()).pvalue < 1e-20


# --- backward ---------------------------------------------------------------------------------------------------------
def test_backward_is_the_decks_formula() -> None:
    """dz_i = (du_i − mean du − u_i·mean(du·u))/√(σ² + ε) with ε inside u; so Σ dz = 0."""
    epsilon, z = 0.05, draws(16, 4).requires_grad_()
    du = draws(16, 4, seed=1)
    u = layer(4, affine=False, epsilon=epsilon)(z)
    (dz,) = torch.autograd.grad(u, z, du)
    u, root = u.detach(), (z.detach().var(0, correction=0) + epsilon).sqrt()
    torch.testing.assert_close(dz, (du - du.mean(0) - u * (du * u).mean(0)) / root, rtol=0, atol=1e-13)
    torch.testing.assert_close(dz.sum(0), torch.zeros(4, dtype=F64), rtol=0, atol=1e-13)


def test_the_variance_does_not_pass_a_gradient_to_the_mean() -> None:
    """∂σ²/∂μ = −2·mean(z − μ) = 0: cutting that path changes no gradient."""
    z, du = draws(16, 4), draws(16, 4, seed=1)
    grads = []
    for cut in (False, True):
        x = z.clone().requires_grad_()
        mu = x.mean(0)
        centre = mu.detach() if cut else mu
        u = (x - mu) / ((x - centre).square().mean(0) + 1e-5).sqrt()
        grads.append(torch.autograd.grad(u, x, du)[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-14)
    x = z.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(layer(4)(x), x, du)[0], grads[0], rtol=0, atol=1e-13)


def test_with_batch_norm_one_instance_changes_the_others_gradients() -> None:
    """Without it the minibatch's gradient is the mean of its instances' gradients; with it there is no such sum."""
    x, y = draws(8, 3), draws(8, 1, seed=1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def of(rig: Rig, rows: slice) -> Tensor:
        return rig.gradients(x[rows], lambda out: (out - y[rows]).square().mean())["0.weight"]

    plain, normalized = Rig(model, x), Rig(model, x, BatchNorm())
    singles = torch.stack([of(plain, slice(i, i + 1)) for i in range(8)]).mean(0)
    torch.testing.assert_close(of(plain, slice(0, 8)), singles, rtol=0, atol=1e-14)
    halves = torch.stack([of(normalized, slice(0, 4)), of(normalized, slice(4, 8))]).mean(0)
    whole = of(normalized, slice(0, 8))
    assert float((whole - halves).norm() / whole.norm()) > 0.1
    leaves = x.clone().requires_grad_()
    out, _ = normalized.run(normalized.params, normalized.buffers, leaves)
    (influence,) = torch.autograd.grad(out[0, 0], leaves)
    assert bool((influence[1:] != 0).any(1).all())  # the first output depends on every other instance
    out, _ = plain.run(plain.params, plain.buffers, leaves)
    (influence,) = torch.autograd.grad(out[0, 0], leaves)
    assert not influence[1:].any()


# --- statistics -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ddof", [0, 1])
def test_b_over_b_minus_1_is_unbiased_for_ddof_0_and_double_for_ddof_1(ddof: int) -> None:
    """Over many batches of B = 5 the mean of σ²_B is (B − 1)/B·σ² or σ²; the population form is σ² for both."""
    b, n, sigma2 = 5, 200_000, 4.0
    z = 2.0 * draws(b, n)  # n independent units serve as n batches
    s2 = z.var(0, correction=ddof)
    se = float(s2.std()) / math.sqrt(n)
    correct = sigma2 * ((b - 1) / b if ddof == 0 else 1.0)
    assert abs(float(s2.mean()) - correct) < 5.5 * se
    twice = b / (b - 1) * float(s2.mean())  # D2's factor: right for ddof = 0, once too often for ddof = 1
    assert (abs(twice - sigma2) < 5.5 * b / (b - 1) * se) is (ddof == 0)
    bn = layer(n, ddof=ddof, momentum=1.0)
    bn(z)
    assert abs(float(bn.running_var.mean()) - sigma2) < 5.5 * b / (b - 1) * se


@pytest.mark.parametrize("m", [2, 8, 64])
def test_the_relative_error_of_a_batch_variance_is_root_2_over_m_minus_1(m: int) -> None:
    """For Gaussian z; its own standard error over n batches is √((κ − 1)/n)·sd/2, κ = 3 + 12/(m − 1) of χ²_(m−1)."""
    n = 40_000
    bn = layer(n, momentum=1.0)
    bn(draws(m, n, seed=m))
    relative = bn.running_var.numpy()  # unbiased, σ² = 1
    expected = math.sqrt(2 / (m - 1))
    kurtosis = 3 + 12 / (m - 1)
    assert abs(relative.std() - expected) < 5.5 * expected * math.sqrt((kurtosis - 1) / n) / 2


def test_in_evaluation_an_instance_alone_gives_the_same_output_as_in_a_batch() -> None:
    x = draws(16, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    rig = Rig(model, x, BatchNorm())
    for _ in range(20):
        rig.descend(x, lambda out: out.square().mean())
    together = rig(x, training=False)
    alone = torch.cat([rig(x[i : i + 1], training=False) for i in range(16)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-14)
    assert float((rig(x) - rig(torch.cat([x[:8], 5 * x[8:]]))).abs()[:8].max()) > 0.05  # in training it does not


def test_a_sigmoid_fed_standard_normal_values_is_nearly_linear() -> None:
    """R² of the best line through σ(s z), z ~ N(0, 1), by quadrature: .984 at s = 1, .84 at s = 4.
    What normalizing without γ costs."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()
    for s, r2, digits in ((1.0, 0.984, 3), (4.0, 0.84, 2)):
        a = 1 / (1 + np.exp(-s * nodes)) - 0.5
        slope = (weights * a * nodes).sum()
        assert round(float(slope**2 / (weights * a * a).sum()), digits) == r2


# --- groups -----------------------------------------------------------------------------------------------------------
def test_one_group_is_layer_norm_and_one_per_channel_is_instance_norm() -> None:
    z = draws(4, 6, 4, 4) * 3 + 1
    for one, other in ((GroupNorm(1), LayerNorm()), (GroupNorm(6), InstanceNorm())):
        torch.testing.assert_close(image_layer(one)(z), image_layer(other)(z), rtol=0, atol=1e-14)
    torch.testing.assert_close(
        image_layer(GroupNorm(1))(z), nn.functional.layer_norm(z, z.shape[1:]), rtol=0, atol=1e-14
    )


def test_groups_do_not_depend_on_the_batch() -> None:
    z = draws(8, 6, 4, 4)
    gn, bn = image_layer(GroupNorm(3)), image_layer(BatchNorm())
    torch.testing.assert_close(gn(z[:2]), gn(z)[:2], rtol=0, atol=1e-15)
    assert not torch.allclose(bn(z[:2]), bn(z)[:2], atol=0.01)
