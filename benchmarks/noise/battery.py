"""A long statistical battery for the noise (rng.py): 10^8 words from each way in which draws lie beside each other.

    python benchmarks/noise/battery.py [--chunks 24]

Every test counts categories over chunks of 2^22 words and compares the counts with their exact probabilities by χ². The
table shows p; a p below 1e-7 or above 1 − 1e-7 (too even) is a failure, marked, and the exit code is then 1.
Tests after Knuth (TAOCP 3.3.2), Marsaglia 1985 and Marsaglia & Tsay 1985.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from equipoise.rng import I32, Noise, mix3, signed, stream, subkeys

CHUNK = 1 << 22
FAILURE = 1e-7
Words = np.ndarray  # uint32
Counts = np.ndarray  # (tables, categories)


# --- where the words come from --------------------------------------------------------------------------------------
def keys(steps: Tensor, seed: Tensor | int = 0, site: Tensor | int = 0) -> Tensor:
    """Subkeys as a training makes them."""
    name = signed(stream("Dropout/hidden") << 16)
    return subkeys(
        torch.as_tensor(seed, dtype=I32), torch.as_tensor(site, dtype=I32) | name, steps, torch.tensor(0, dtype=I32)
    )


def steps(chunk: int, n: int) -> Tensor:
    return torch.arange(chunk * n, (chunk + 1) * n, dtype=I32)


def long_draws(chunk: int) -> Tensor:
    return Noise(keys(steps(chunk, 1))[0]).bits((CHUNK,))


def masks(chunk: int) -> Tensor:
    """4,096 elements at each of 4 sites, step after step."""
    k = keys(steps(chunk, CHUNK >> 14)[:, None], site=torch.arange(4, dtype=I32)).view(-1, 2)
    return torch.vmap(lambda one: Noise(one).bits((4096,)))(k)


def one_element(chunk: int) -> Tensor:
    """The same element in every step."""
    return mix3(torch.tensor(17, dtype=I32), *keys(steps(chunk, CHUNK)).unbind(-1))


def runs(chunk: int) -> Tensor:
    """64 runs that differ in the seed, side by side: neighbouring words come from neighbouring seeds."""
    k = keys(steps(chunk, CHUNK >> 16)[:, None], seed=torch.arange(64, dtype=I32))
    return torch.vmap(torch.vmap(lambda one: Noise(one).bits((1024,))))(k).transpose(1, 2)


def draws_in_turn(chunk: int) -> Tensor:
    """4 draws from one source, side by side."""
    draw = lambda one: torch.stack([n.bits((256,)) for n in [Noise(one)] for _ in range(4)], 1)  # noqa: E731
    return torch.vmap(draw)(keys(steps(chunk, CHUNK >> 10)))


SOURCES = (long_draws, masks, one_element, runs, draws_in_turn)


# --- what is counted ------------------------------------------------------------------------------------------------
def tally(values: np.ndarray, categories: int) -> Counts:
    return np.bincount(values.ravel(), minlength=categories)[None, :]


def even(categories: int) -> np.ndarray:
    return np.full(categories, 1 / categories)


def ones(words: Words) -> Counts:
    """(32, 2): zeros and ones of each bit."""
    n = np.unpackbits(words.view(np.uint8)).reshape(-1, 32).sum(0, dtype=np.int64)
    return np.stack([len(words) - n, n], 1)


def lagged(words: Words) -> Counts:
    """Bits equal and unequal to those some words before."""
    return np.concatenate([ones(words[lag:] ^ words[:-lag]) for lag in (1, 2, 3, 4, 8, 32, 64, 256, 1024, 4096, 65536)])


def tuples(bits: int, shift: int, length: int) -> Callable[[Words], Counts]:
    """``length`` neighbours, ``bits`` of each from position ``shift``, as one number."""

    def count(words: Words) -> Counts:
        part = (words[: len(words) // length * length] >> shift & (1 << bits) - 1).reshape(-1, length)
        return tally(part @ (1 << bits * np.arange(length)), 1 << bits * length)

    return count


def weights(words: Words) -> Counts:
    """Number of ones of two neighbours, each in five classes (Knuth's serial test on Hamming weights)."""
    classes = np.searchsorted(WEIGHT_LIMITS, np.bitwise_count(words)).reshape(-1, 2)
    return tally(classes[:, 0] * 5 + classes[:, 1], 25)


WEIGHT_LIMITS = np.array([12, 14, 16, 18])
_CLASSES = np.diff(stats.binom.cdf([-1, *WEIGHT_LIMITS, 32], 32, 0.5))


def correlations(words: Words) -> Counts:
    """Correlation of neighbours in blocks of 8,192 words, in 16 classes of equal probability."""
    x = (words.reshape(-1, 4096, 2) / 2.0**32 - 0.5) * 12**0.5
    z = x.prod(2).sum(1) / 64
    return tally(np.searchsorted(stats.norm.ppf(np.arange(1, 16) / 16), z), 16)


def gaps(words: Words) -> Counts:
    """Words between two whose top four bits are zero: geometric with 1/16."""
    between = np.diff(np.flatnonzero(words >> 28 == 0)) - 1
    return tally(np.minimum(between, 63), 64)


_GAPS = np.append(stats.geom.pmf(np.arange(1, 64), 1 / 16), stats.geom.sf(63, 1 / 16))


def ranks(words: Words) -> Counts:
    """Rank over GF(2) of 32 × 32 matrices: 32, 31, 30, less (Marsaglia & Tsay 1985)."""
    m = words.reshape(-1, 32).copy()
    rank = np.zeros(len(m), dtype=np.int64)
    which = np.arange(len(m))
    for bit in range(32):
        candidates = (m >> bit & 1).astype(bool) & (np.arange(32) >= rank[:, None])
        pivot, found = candidates.argmax(1), candidates.any(1)
        rows = which[found]
        chosen, top = m[rows, pivot[found]].copy(), rank[found]
        m[rows, pivot[found]] = m[rows, top]
        m[rows, top] = chosen
        below = (m[rows] >> bit & 1).astype(bool) & (np.arange(32) > top[:, None])
        m[rows] ^= np.where(below, chosen[:, None], np.uint32(0))
        rank[found] += 1
    return tally(np.minimum(32 - rank, 3), 4)


def low_bit_ranks(words: Words) -> Counts:
    """The same for matrices made of the lowest bits of 1,024 neighbours."""
    return ranks(np.packbits((words & 1).astype(np.uint8)).view(np.uint32))


def _rank_probability(r: int, n: int = 32) -> float:
    product = np.prod([(1 - 2.0 ** (i - n)) ** 2 / (1 - 2.0 ** (i - r)) for i in range(r)])
    return float(2.0 ** (r * (2 * n - r) - n * n) * product)


_RANKS = np.array([*(three := [_rank_probability(r) for r in (32, 31, 30)]), 1 - sum(three)])


def birthdays(words: Words) -> Counts:
    """Repeated spacings of 4,096 birthdays in 2^32 days: Poisson with mean 4 (Marsaglia 1985)."""
    days = np.sort(words.reshape(-1, 4096).astype(np.int64), 1)
    spacings = np.sort(np.diff(days, axis=1), 1)
    return tally(np.minimum((np.diff(spacings, axis=1) == 0).sum(1), 10), 11)


_BIRTHDAYS = np.append(stats.poisson.pmf(np.arange(10), 4), stats.poisson.sf(9, 4))

# Name → what is counted, its probabilities, in how many chunks. The Poisson law of birthdays is an approximation that
# 1,024 trials cannot tell from the truth, but 10^5 could.
TESTS: dict[str, tuple[Callable[[Words], Counts], np.ndarray, int | None]] = {
    "each bit": (ones, even(2), None),
    "upper 16 bits": (tuples(16, 16, 1), even(1 << 16), None),
    "lower 16 bits": (tuples(16, 0, 1), even(1 << 16), None),
    "bits at 11 lags": (lagged, even(2), None),
    "pairs, upper 8 bits": (tuples(8, 24, 2), even(1 << 16), None),
    "pairs, bits 12 to 19": (tuples(8, 12, 2), even(1 << 16), None),
    "pairs, lower 8 bits": (tuples(8, 0, 2), even(1 << 16), None),
    "triples, upper 5 bits": (tuples(5, 27, 3), even(1 << 15), None),
    "eights, upper 2 bits": (tuples(2, 30, 8), even(1 << 16), None),
    "sixteens, top bit": (tuples(1, 31, 16), even(1 << 16), None),
    "sixteens, lowest bit": (tuples(1, 0, 16), even(1 << 16), None),
    "weights of pairs": (weights, np.outer(_CLASSES, _CLASSES).ravel(), None),
    "correlations in blocks": (correlations, even(16), None),
    "gaps": (gaps, _GAPS, None),
    "ranks of words": (ranks, _RANKS, 8),
    "ranks of lowest bits": (low_bit_ranks, _RANKS, None),
    "birthday spacings": (birthdays, _BIRTHDAYS, 1),
}


def chi2_p(counts: Counts, probabilities: np.ndarray) -> float:
    expected = counts.sum(1, keepdims=True) * probabilities
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, len(counts) * (len(probabilities) - 1)))


def examine(source: Callable[[int], Tensor], chunks: int) -> Iterator[float]:
    """p of every test, in order."""
    totals: dict[str, Counts | int] = dict.fromkeys(TESTS, 0)
    for chunk in range(chunks):
        words = source(chunk).reshape(-1).numpy().view(np.uint32)
        for name, (count, _, most) in TESTS.items():
            if most is None or chunk < most:
                totals[name] = totals[name] + count(words)
    for name, (_, probabilities, _) in TESTS.items():
        total = totals[name]
        assert isinstance(total, np.ndarray)
        yield chi2_p(total, probabilities)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=24, help="of 2^22 words, for each source")
    chunks = parser.parse_args().chunks
    begun = time.perf_counter()
    columns = [list(examine(source, chunks)) for source in SOURCES]
    print(
        f"{chunks * CHUNK:,} words from each source, {time.perf_counter() - begun:.0f} s, torch {torch.__version__}\n"
    )
    print("| p of χ² | " + " | ".join(s.__name__.replace("_", " ") for s in SOURCES) + " |")
    print("|---" * (len(SOURCES) + 1) + "|")
    failures = 0
    for name, row in zip(TESTS, zip(*columns, strict=True), strict=True):
        wrong = [not FAILURE < p < 1 - FAILURE for p in row]
        failures += sum(wrong)
        cells = (f"**{p:.1e}**" if bad else f"{p:.3f}" for p, bad in zip(row, wrong, strict=True))
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n{len(TESTS) * len(SOURCES) - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
