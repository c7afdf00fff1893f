"""CutMix against boxes pasted by a loop; labels by counting the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At, Batch

from ..image_support import noise, photos
from ..noise_support import OneStep, bound

H, W = 9, 12
ONE = torch.ones((), dtype=torch.float64)


def batch(n: int = 6, x: Any = None) -> Batch:
    y = torch.softmax(torch.arange(3.0 * n, dtype=torch.float64).view(n, 3).sin(), -1)
    return Batch(photos(n, 2, H, W) if x is None else x, y, torch.arange(1.0, n + 1, dtype=torch.float64))


def mix(lam: Any, b: Batch, **fields: Any) -> Batch:
    at = At(host=torch.as_tensor(lam, dtype=torch.float64), noise=noise())
    return bound(T.CutMix(**fields)).batch(b, at)


def kept_of(out: Tensor, x: Tensor) -> Tensor:
    """(B,) the share of pixels that are the example's own, the others being its partner's."""
    own, partner = (out == x).all(1), (out == x.roll(1, 0)).all(1)
    assert (own | partner).all()
    return own.double().mean((1, 2))


@pytest.mark.parametrize("per", ["batch", "pair"])
def test_pastes_a_box_and_weighs_labels_by_the_pixels_kept(per: str):
    b = batch(40)
    lam = 0.55 if per == "batch" else torch.linspace(0, 1, 40)
    out = mix(lam, b, per=per)
    u = noise().uniform((1, 2), shared=True).expand(40, 2) if per == "batch" else noise().uniform((40, 2))
    for i in range(40):
        s = (1 - float(torch.as_tensor(lam).expand(40)[i])) ** 0.5
        h, w = int(H * s + 0.5), int(W * s + 0.5)
        y1, x1 = int(float(u[i, 0]) * H) - h // 2, int(float(u[i, 1]) * W) - w // 2
        want, inside = b.x[i].clone(), np.zeros((H, W), bool)
        inside[max(y1, 0) : max(y1 + h, 0), max(x1, 0) : max(x1 + w, 0)] = True
        want[:, inside] = b.x[i - 1][:, inside]
        assert torch.equal(out.x[i], want)
        kept = 1 - inside.mean()
        torch.testing.assert_close(out.y[i], kept * b.y[i] + (1 - kept) * b.y[i - 1], rtol=1e-12, atol=0)
        torch.testing.assert_close(out.w[i], kept * b.w[i] + (1 - kept) * b.w[i - 1], rtol=1e-12, atol=0)


def test_the_label_weight_is_the_exact_area_not_the_share_drawn():
    b = batch(400)._replace(y=torch.eye(400, dtype=torch.float64))
    lam = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = mix(lam, b, per="pair")
    torch.testing.assert_close(out.y.diagonal(), kept_of(out.x, b.x), rtol=0, atol=1e-15)
    torch.testing.assert_close(out.y.sum(1), torch.ones(400, dtype=torch.float64), rtol=0, atol=1e-15)
    assert (out.y.diagonal() - lam).abs().max() > 0.2  # clipped boxes keep more


@pytest.mark.parametrize("per", ["batch", "pair"])
def test_a_share_of_1_is_the_identity_and_0_hands_over(per: str):
    b = batch(4)
    same = mix(ONE if per == "batch" else ONE.expand(4), b, per=per)
    assert all(torch.equal(p, q) for p, q in zip(same, b, strict=True))
    one_pixel = batch(4, photos(4, 2, 1, 1))
    other = mix(0 * ONE if per == "batch" else 0 * ONE.expand(4), one_pixel, per=per)
    assert torch.equal(other.x, one_pixel.x.roll(1, 0)) and torch.equal(other.y, one_pixel.y.roll(1, 0))


def test_several_images_count_together():
    b = batch(6, (photos(6, 2, H, W), photos(6, 1, 4, 5)))
    out = mix(0.4, b)
    pixels = [v[0, 0].numel() for v in b.x]
    kept = sum(n * kept_of(o, v) for n, o, v in zip(pixels, out.x, b.x, strict=True)) / sum(pixels)
    want = kept[:, None] * b.y + (1 - kept[:, None]) * b.y.roll(1, 0)  # type: ignore[index]
    torch.testing.assert_close(out.y, want, rtol=1e-12, atol=0)


def test_one_box_a_step_is_the_same_for_all_rows():
    b = batch(6)
    own = (mix(0.5, b).x == b.x).all(1)
    assert (own == own[:1]).all() and not own.all()


def test_training_takes_the_step_of_the_pasted_batch(images: Data):
    step = OneStep(lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), images, T.CutMix())
    x, y = step.standardized, torch.eye(3, dtype=torch.float64)[step.now.y]
    at = At(host=step.now.host["CutMix"].double(), noise=step.noise())
    mixed = bound(T.CutMix()).batch(Batch(x, y, torch.ones(16, dtype=torch.float64)), at)
    assert not torch.equal(mixed.x, x)
    params = {k: v.clone().requires_grad_() for k, v in step.before.items()}
    loss = nn.functional.cross_entropy(mixed.x.flatten(1) @ params["1.weight"].T + params["1.bias"], mixed.y)
    loss.backward()
    torch.testing.assert_close(step.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    for k, v in params.items():
        torch.testing.assert_close(step.after[k], (v - 0.5 * v.grad).detach(), rtol=1e-11, atol=1e-12)  # type: ignore[operator]


@pytest.mark.parametrize("x", [torch.rand(5, 7), (photos(5), torch.rand(5, 7))])
def test_what_is_no_image_is_refused(x: Any):
    with pytest.raises(EquipoiseError, match=r"CutMix\(\) pastes boxes of images.*shape \(7,\)"):
        T.CutMix().fit(x, torch.zeros(5), None)  # type: ignore[arg-type]
    with pytest.raises(EquipoiseError, match="pastes boxes of images"):
        mix(0.5, batch(5, x))
