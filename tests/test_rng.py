"""The noise: known answers, independent arithmetic, and the promises the rest of the library builds on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equipoise.rng import I32, Noise, mix3, permutation, shr, source, stream, threefry2x32

from .rng_support import MASK, key_of, t, u32


# --- known answers --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(key: tuple[int, int], counter: tuple[int, int], answer: tuple[int, int]):
    """The known-answer file of Random123 (Salmon et al. 2011) for threefry2x32, 20 rounds."""
    out = threefry2x32(*t(*key), *t(*counter))
    assert [int(u32(o)) for o in out] == list(answer)


def test_mix3_gives_the_recorded_answers():
    """Part of the file format: other answers are other results for every seed."""
    assert [f"{v:08x}" for v in u32(mix3(torch.arange(4, dtype=I32), *t(1), *t(2)))] == MIX3_VECTORS


MIX3_VECTORS = ["30f7b47c", "29ffaeb8", "708d4fa5", "3662f629"]


def mix3_in_integers(i: int, k0: int, k1: int) -> int:
    """The definition, in Python's own integers."""
    z = (i + k0) & MASK
    z = ((z ^ z >> 16) * 0x21F0AAAD) & MASK
    z = ((z ^ z >> 15) * 0xD35A2D97) & MASK
    z = ((z ^ z >> 15 ^ k1) * 0xED5AD4BB) & MASK
    return z ^ z >> 16


def threefry_in_integers(k0: int, k1: int, c0: int, c1: int) -> tuple[int, int]:
    """The definition as in the paper: key words k0, k1, parity; injected before round 1 and after every fourth."""
    ks, x, y = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA), (c0 + k0) & MASK, (c1 + k1) & MASK
    for injection, rotations in enumerate([(13, 15, 26, 6), (17, 29, 16, 24)] * 2 + [(13, 15, 26, 6)], start=1):
        for r in rotations:
            x = (x + y) & MASK
            y = ((y << r | y >> 32 - r) & MASK) ^ x
        x, y = (x + ks[injection % 3]) & MASK, (y + ks[(injection + 1) % 3] + injection) & MASK
    return x, y


def test_tensor_arithmetic_is_that_of_integers():
    """Extremes and random words: carries, sign bits and shifts all behave as on uint32."""
    words = [0, 1, 0x7FFFFFFF, 0x80000000, MASK, *np.random.default_rng(0).integers(0, 2**32, 15).tolist()]
    grid = list(itertools.product(words, repeat=3))
    a, b, c = (t(*column) for column in zip(*grid, strict=True))
    assert u32(mix3(a, b, c)).tolist() == [mix3_in_integers(*w) for w in grid]
    out = zip(*(u32(o).tolist() for o in threefry2x32(a, b, c, a ^ c)), strict=True)
    assert list(out) == [threefry_in_integers(i, j, k, i ^ k) for i, j, k in grid]


def test_the_shift_is_logical_and_bit_31_is_drawn():
    for n in (1, 8, 15, 16, 31):
        assert u32(shr(t(MASK, 0x80000000, 5), n)).tolist() == [MASK >> n, 0x80000000 >> n, 5 >> n]
    high = (source(1, "x").bits((1 << 16,)) < 0).double().mean()
    assert abs(high - 0.5) < 6 * 0.5 / 2**8


def test_stream_numbers_are_the_first_16_bits_of_sha_256():
    """FIPS 180-4: SHA-256("abc") = ba7816bf…, SHA-256("") = e3b0c442…."""
    assert (stream("abc"), stream("")) == (0xBA78, 0xE3B0)


def test_a_source_is_the_subkey_of_its_name_and_counters():
    expected = threefry_in_integers(7, stream("order") << 16, 3, 5)
    noise = source(7, "order", 3, 5)
    assert u32(noise.bits((6,))).tolist() == [mix3_in_integers(i, *expected) for i in range(6)]
    for n in (1, 2):  # further draws have subkeys of their own
        k0, k1 = mix3_in_integers(n, *expected), mix3_in_integers(n, *expected[::-1])
        assert u32(noise.bits((2, 3))).tolist() == [
            [mix3_in_integers(3 * i + j, k0, k1) for j in range(3)] for i in (0, 1)
        ]
    assert torch.equal(source(7, "order").bits((6,)), source(7, "order", 0, 0).bits((6,)))


# --- distributions --------------------------------------------------------------------------------------------------
def test_uniforms_lie_on_the_grid_of_24_bits_below_one():
    bits = t(0, 0xFF, 0x100, 0x80000000, MASK)
    noise = Noise(t(0, 0))
    noise.bits = lambda *_: bits  # type: ignore[method-assign]
    for dtype in (torch.float32, torch.float64):
        u = noise.uniform((5,), dtype)
        assert u.dtype == dtype
        assert u.tolist() == [0.0, 0.0, 2.0**-24, 0.5, 1 - 2.0**-24]


def test_bernoulli_is_a_threshold_of_the_uniform():
    u = source(4, "b").uniform((1 << 16,))
    for p in (0.0, 2.0**-24, 0.1, 0.5, 0.9, 1.0):
        mask = source(4, "b").bernoulli((1 << 16,), p)
        assert mask.dtype == torch.bool
        assert torch.equal(mask, u < p)
        assert torch.equal(mask, source(4, "b").bernoulli((1 << 16,), torch.tensor(p, dtype=torch.float64)))
        assert abs(mask.double().mean() - p) <= 6 * math.sqrt(p * (1 - p)) / 2**8  # never at 0, always at 1
    extremes = Noise(t(0, 0))
    extremes.bits = lambda *_: t(0, 0x100, MASK)  # type: ignore[method-assign]
    for p, mask in ((0.0, [False] * 3), (2.0**-24, [True, False, False]), (1.0, [True] * 3)):
        assert extremes.bernoulli((3,), p).tolist() == mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_are_the_transform_of_two_uniforms(dtype: torch.dtype):
    """Box & Muller 1958: √(−2 ln u)·cos 2πv with u in (0, 1], so finite at both ends: |z| ≤ √(48 ln 2) = 5.768."""
    quarter = 1 << 30
    u, v = t(0, MASK, MASK, 2 * quarter, 2 * quarter), t(0, 0, 2 * quarter, quarter, quarter // 2)
    noise, drawn = Noise(t(0, 0)), iter([u, v])
    noise.bits = lambda *_: next(drawn)  # type: ignore[method-assign]
    end = math.sqrt(48 * math.log(2))
    expected = torch.tensor([0, end, -end, 0, math.sqrt(math.log(2))], dtype=dtype)
    torch.testing.assert_close(noise.normal((5,), dtype), expected)


def test_permutation_of_nothing_and_of_one():
    assert permutation(0, "order", 0).tolist() == []
    assert permutation(0, "order", 1).tolist() == [0]


# --- promises to the rest of the library ----------------------------------------------------------------------------
def test_rows_count_globally():
    """A micro-batch or a rank that starts at row r draws what one process would for these rows, in every draw."""
    whole, r = Noise(key_of()), 5
    for part in (Noise(key_of(), r), Noise(key_of(), torch.tensor(r, dtype=I32))):
        whole = Noise(key_of())
        for shape in ((8, 3, 2), (8,), (8, 4)):
            assert torch.equal(part.bits((3, *shape[1:])), whole.bits(shape)[r:])
        assert torch.equal(part.normal((3, 4)), whole.normal((8, 4))[r:])


def test_shared_draws_do_not_depend_on_the_rows():
    for draw in ("bits", "uniform", "normal"):
        one = getattr(Noise(key_of()), draw)((3, 2), shared=True)
        assert torch.equal(one, getattr(Noise(key_of(), 64), draw)((3, 2), shared=True))
    assert torch.equal(Noise(key_of(), 64).bernoulli((9,), 0.5, True), Noise(key_of()).bernoulli((9,), 0.5, True))


def draws(key: Tensor, row0: Any = 0) -> tuple[Tensor, ...]:
    """Several draws in turn, as a stage makes them."""
    noise = Noise(key, row0)
    return noise.bits((6, 5)), noise.uniform((6, 5)), noise.bernoulli((6,), 0.3), noise.normal((6, 2), torch.float64)


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_compiled_draws_have_the_same_bits():
    compiled = torch.compile(draws, backend="aot_eager", fullgraph=True)
    for step in range(3):
        assert same(compiled(key_of(step=step)), draws(key_of(step=step)))


@pytest.mark.slow
@pytest.mark.parametrize("runs", [None, 3], ids=["alone", "stacked"])
def test_draws_compiled_by_inductor_have_the_same_bits(runs: int | None):
    """Also where three runs are stacked: Inductor has computed integer products of stacked scalars in float32."""
    compiled = torch.compile(draws if runs is None else torch.vmap(draws), fullgraph=True)
    for step in range(3):
        keys = [key_of(seed=s, step=step) for s in range(runs or 1)]
        out = compiled(keys[0] if runs is None else torch.stack(keys))
        for i, key in enumerate(keys):
            *exact, normal = out if runs is None else (v[i] for v in out)
            plain = draws(key)
            assert same(tuple(exact), plain[:3])
            torch.testing.assert_close(normal, plain[3], rtol=1e-12, atol=1e-12)  # another library's log and cos


def test_stacked_runs_draw_what_they_would_alone():
    keys = torch.stack([key_of(seed=s) for s in range(5)])
    stacked = torch.vmap(draws)(keys)
    for s in range(5):
        assert same(tuple(v[s] for v in stacked), draws(key_of(seed=s)))


def test_the_number_of_threads_changes_nothing():
    threads, many = torch.get_num_threads(), {}
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            many[n] = Noise(key_of()).bits((1 << 18,)), Noise(key_of()).uniform((1 << 18,))
    finally:
        torch.set_num_threads(threads)
    assert same(many[1], many[2])


def test_noise_leaves_torchs_own_generator_alone():
    before = torch.get_rng_state()
    draws(key_of())
    permutation(0, "order", 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_names_and_seeds_and_counters_give_other_noise():
    sources = [source(0, "a"), source(1, "a"), source(-1, "a"), source(0, "b"), source(0, "a", 1), source(0, "a", 0, 1)]
    drawn = {tuple(s.bits((4,)).tolist()) for s in sources}
    assert len(drawn) == len(sources)
