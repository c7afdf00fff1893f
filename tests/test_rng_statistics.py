"""The noise as randomness: uniform, independent within a stream and between streams, and with full avalanche.

Every statistical bound is the 1e-7 quantile of its statistic under exact randomness (6 standard errors for families of
up to a few hundred), so that a sound generator fails a test less than once in a million; seeds are fixed besides.
`benchmarks/noise` runs longer ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from equipoise.rng import I32, Noise, mix3, permutation, signed, source, stream, subkeys

from .rng_support import MASK, assert_plausible, chi2_p, key_of, many_keys, t, u32, unit

# --- one stream -----------------------------------------------------------------------------------------------------
KEYS = {
    "first": key_of,
    "other seed": lambda: key_of(seed=12345, name="Dropout/hidden", site=3, step=99, call=1),
    "zero words": lambda: t(0, 0),
    "all ones": lambda: t(MASK, MASK),
}
streams = pytest.mark.parametrize("key", [k() for k in KEYS.values()], ids=KEYS)


@streams
def test_bits_are_uniform(key: Tensor):
    bits = u32(Noise(key).bits((1 << 21,)))
    assert_plausible(chi2_p(np.bincount(bits >> 16, minlength=1 << 16)))
    assert_plausible(chi2_p(np.bincount(bits & 0xFFFF, minlength=1 << 16)))
    ones = np.unpackbits(bits.view(np.uint8)).reshape(-1, 32).mean(0)
    assert np.abs(ones - 0.5).max() < 6 * 0.5 / math.sqrt(len(bits))
    assert_plausible(stats.kstest(Noise(key).uniform((1 << 19,), torch.float64).numpy(), "uniform").pvalue)


@streams
def test_neighbours_in_a_stream_are_independent(key: Tensor):
    """Correlation at many lags, powers of two among them, of numbers and of each bit; pairs fill the square."""
    bits = Noise(key).bits((1 << 19,))
    x, words = unit(bits), u32(bits)
    for lag in (1, 2, 3, 7, 8, 16, 31, 32, 64, 100, 128, 1024, 4096, 65536):
        n = len(x) - lag
        assert abs((x[lag:] * x[:-lag]).sum()) < 6 * math.sqrt(n), lag
        same = np.unpackbits((words[lag:] ^ words[:-lag]).view(np.uint8)).reshape(-1, 32).mean(0)
        assert np.abs(same - 0.5).max() < 6 * 0.5 / math.sqrt(n), lag
    for shift in (26, 13, 0):  # 6 bits from the top, the middle, the bottom
        six = (words >> shift & 63).reshape(-1, 2)
        assert_plausible(chi2_p(np.bincount(six[:, 0] << 6 | six[:, 1], minlength=4096)))


@streams
def test_runs_above_and_below_the_middle_have_the_geometric_lengths(key: Tensor):
    above = u32(Noise(key).bits((1 << 20,))) >> 31
    edges = np.flatnonzero(np.diff(above)) + 1
    lengths = np.minimum(np.diff(edges), 12)
    expected = np.array([0.5**k for k in range(1, 12)] + [0.5**11]) * len(lengths)
    assert_plausible(chi2_p(np.bincount(lengths, minlength=13)[1:], expected))


def test_birthday_spacings():
    """Marsaglia 1985: m birthdays in 2^24 days; the number of repeated spacings is Poisson(m³/2^26)."""
    m, trials = 512, 4000
    for bits in (
        source(0, "birthday").bits((trials, m)),  # one stream
        mix3(torch.arange(m, dtype=I32), *(k[:, None] for k in many_keys(trials))),  # a subkey for each trial
        mix3(torch.zeros((), dtype=I32), *(k.view(trials, m) for k in many_keys(trials * m))),  # one for each number
    ):
        for days in (u32(bits) >> 8, u32(bits) & 0xFFFFFF):
            spacings = np.sort(np.diff(np.sort(days.astype(np.int64), 1), axis=1, prepend=0), 1)
            repeats = int((np.diff(spacings, axis=1) == 0).sum())
            assert abs(repeats - trials * m**3 / 2**26) < 6 * math.sqrt(trials * m**3 / 2**26)


def test_one_stream_is_a_permutation_of_its_words_so_no_word_repeats():
    """All steps are invertible. Far below 2^32 elements this cannot be told from randomness in 24 bits."""
    words = u32(source(0, "x").bits((1 << 20,)))
    assert len(np.unique(words)) == len(words)
    distinct, n, days = len(np.unique(words >> 8)), len(words), 2**24
    q = 1 - 1 / days
    variance = days * ((days - 1) * (1 - 2 / days) ** n + q**n - days * q ** (2 * n))
    assert abs(distinct - days * (1 - q**n)) < 6 * math.sqrt(variance)


# --- avalanche ------------------------------------------------------------------------------------------------------
def flips(word: str) -> np.ndarray:
    """(32, 32): how often output bit j flips when bit b of ``word`` is flipped, over random arguments."""
    n = 1 << 16
    draw = np.random.default_rng(5).integers(0, 2**32, (3, n), dtype=np.uint32)
    arguments = dict(zip(("i", "k0", "k1"), draw, strict=True))
    tensors = {k: torch.from_numpy(v.view(np.int32)) for k, v in arguments.items()}
    plain = u32(mix3(**tensors))
    rows = []
    for b in range(32):
        flipped = u32(mix3(**{**tensors, word: tensors[word] ^ signed(1 << b)}))
        rows.append(np.unpackbits((plain ^ flipped).view(np.uint8)).reshape(-1, 32).mean(0))
    return np.array(rows)


def assert_avalanche(word: str, bias: float) -> None:
    """Each output bit flips half the time, up to the function's own known ``bias`` and 6 standard errors."""
    flipped, se = flips(word), 0.5 / 2**8
    assert np.abs(flipped.mean(1) - 0.5).max() < 6 * se / math.sqrt(32) + bias / 4
    assert np.abs(flipped - 0.5).max() < 6 * se + bias


@pytest.mark.parametrize("word", ["i", "k0"])
def test_every_bit_of_index_and_first_key_word_moves_every_output_bit(word: str):
    assert_avalanche(word, bias=0.002)


SECOND_WORD = pytest.mark.xfail(
    strict=True, reason="only one multiply follows the second key word: its high bits reach two output bits"
)


@SECOND_WORD
def test_every_bit_of_the_second_key_word_moves_every_output_bit():
    assert_avalanche("k1", bias=0.01)


@SECOND_WORD
def test_streams_whose_first_key_words_meet_are_independent_all_the_same():
    """k0 is added to the index, so streams with k0 closer than their length overlap at a lag: k1 must part them."""
    i, z = torch.arange(1 << 16, dtype=I32), []
    words = np.random.default_rng(6).integers(0, 2**32, (400, 3)).tolist()
    for k0, k1, other in words:
        a, b = unit(mix3(i, *t(k0), *t(k1))), unit(mix3(i, *t(k0), *t(other)))
        z.append((a * b).sum() / math.sqrt(len(a)))
    assert np.abs(z).max() < 6
    assert_plausible(stats.chi2.sf(np.square(z).sum(), len(z)))


# --- streams beside each other --------------------------------------------------------------------------------------
VARIED: dict[str, Callable[[int], Tensor]] = {
    "seeds": lambda j: key_of(seed=j),
    "streams": lambda j: key_of(name=f"Dropout/{j}"),
    "sites": lambda j: key_of(site=j),
    "steps": lambda j: key_of(step=j),
    "calls": lambda j: key_of(call=j),
}


@pytest.mark.parametrize("varied", VARIED)
def test_streams_that_differ_in_one_counter_are_independent(varied: str):
    """40 neighbours: all pairs of streams uncorrelated, also shifted; and across streams each element is uniform."""
    bits = torch.stack([Noise(VARIED[varied](j)).bits((1 << 14,)) for j in range(40)])
    x, n = unit(bits), bits.shape[1]
    for shift in (0, 1, 40):
        c = x @ np.roll(x, shift, 1).T / math.sqrt(n)
        pairs = c[np.triu_indices(40, 1)]
        assert np.abs(pairs).max() < 6
        assert_plausible(stats.chi2.sf(np.square(pairs).sum(), len(pairs)))
    across = u32(bits[:, :8192]).T.reshape(-1)  # element by element through the streams
    assert_plausible(chi2_p(np.bincount(across >> 24, minlength=256)))
    assert_plausible(chi2_p(np.bincount((across[0::2] >> 28) << 4 | across[1::2] >> 28, minlength=256)))


def test_one_element_over_many_steps_is_uniform_and_uncorrelated():
    k0, k1 = many_keys(1 << 19)
    bits = mix3(torch.tensor(17, dtype=I32), k0, k1)
    assert_plausible(chi2_p(np.bincount(u32(bits) >> 18, minlength=1 << 14)))
    x = unit(bits)
    for lag in (1, 2, 10, 64, 1000):
        assert abs((x[lag:] * x[:-lag]).sum()) < 6 * math.sqrt(len(x) - lag)


def test_draws_made_in_turn_from_one_source_are_independent():
    x = np.stack([unit(noise.bits((1 << 18,))) for noise in [source(2, "turns")] for _ in range(12)])
    pairs = (x @ x.T / math.sqrt(x.shape[1]))[np.triu_indices(12, 1)]
    assert np.abs(pairs).max() < 6
    assert_plausible(stats.chi2.sf(np.square(pairs).sum(), len(pairs)))
    keys = torch.stack(many_keys(20000), -1)
    one, two = (
        unit(v).ravel() for v in torch.vmap(lambda k: [n.bits((4,)) for n in [Noise(k)] for _ in range(2)])(keys)
    )
    assert abs((one * two).sum()) < 6 * math.sqrt(len(one))


def test_no_two_places_of_a_long_training_share_a_subkey():
    sites = t(*(stream(n) << 16 | s for n in ("Dropout/hidden", "MixUp", "Shakeout/all") for s in range(8)))
    keys = subkeys(*t(0), sites, torch.arange(20000, dtype=I32)[:, None], *t(0))
    assert keys.shape == (20000, 24, 2)
    words = u32(keys).reshape(-1, 2).astype(np.uint64)
    assert len(np.unique(words[:, 0] << 32 | words[:, 1])) == 20000 * 24


# --- distributions --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_have_the_moments_and_the_distribution(dtype: torch.dtype):
    n = 1 << 20
    z = source(3, "x").normal((n,), dtype)
    assert z.dtype == dtype
    z = z.double().numpy()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs((z**power).mean() - moment) < 6 * math.sqrt(variance / n), power
    assert_plausible(stats.kstest(z[: 1 << 19], "norm").pvalue)
    assert np.abs(z).max() < math.sqrt(48 * math.log(2)) + 1e-6  # the smallest uniform is 2^-24
    for lag in (1, 2, 64):
        assert abs((z[lag:] * z[:-lag]).sum()) < 6 * math.sqrt(n)
        assert abs(((z[lag:] ** 2 - 1) * (z[:-lag] ** 2 - 1)).sum() / 2) < 6 * math.sqrt(n)


def test_means_overmany_keys_vary_as_means_do():
    """1,000 streams: their means and mean squares are distributed as those of independent normals and uniforms."""
    z = torch.stack([source(s, "x").normal((4096,), torch.float64) for s in range(1000)]).numpy()
    assert_plausible(stats.kstest(z.mean(1) * 64, "norm").pvalue)
    assert_plausible(stats.kstest((z**2).sum(1), "chi2", (4096,)).pvalue)
    u = torch.stack([source(s, "u").uniform((4096,), torch.float64) for s in range(1000)]).numpy()
    assert_plausible(stats.kstest((u.mean(1) - 0.5) * 64 * math.sqrt(12), "norm").pvalue)


def test_permutations_are_uniform():
    n = 2400
    orders = [tuple(permutation(s, "order", 4).tolist()) for s in range(n)]
    counts = np.array([orders.count(p) for p in itertools.permutations(range(4))])
    assert counts.sum() == n
    assert_plausible(chi2_p(counts))
    many = torch.stack([permutation(0, "order", 50, epoch) for epoch in range(1000)])
    assert torch.equal(many.sort(1).values, torch.arange(50).expand(1000, 50))
    for position in (0, 1, 49):
        assert_plausible(chi2_p(np.bincount(many[:, position], minlength=50)))
    inverse = many.argsort(1).double()
    assert abs(np.corrcoef(inverse[:, 0], inverse[:, 1])[0, 1] + 1 / 49) < 6 / math.sqrt(1000)
