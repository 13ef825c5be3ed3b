"""Saliency metrics beside the same formulas written plainly, in one run: time, and memory beyond the maps themselves.

    python benchmarks/metrics.py [--fixations 100] [--height 3056] [--width 2544] [--repeats 5] [--json]

The plain forms follow pysaliency's formulas step by step in numpy: each step makes a whole map. Both sides get the same
float64 maps. ``benchmarks/peers.py`` sets pysaliency itself beside ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from gazekit import metrics

EPS = metrics.EPS


def make_map(rng: np.random.Generator, shape: tuple[int, int], n: int) -> np.ndarray:
    """A sum of Gaussians over a low level, as a heatmap is."""
    height, width = shape
    y = np.exp(-0.5 * ((np.arange(height)[:, None] - rng.uniform(0, height, n)) / 150) ** 2)
    x = np.exp(-0.5 * ((np.arange(width)[:, None] - rng.uniform(0, width, n)) / 150) ** 2)
    return y @ x.T + 1e-3


def plain_nss(saliency: np.ndarray, points: np.ndarray) -> float:
    values = saliency[points[:, 1], points[:, 0]].copy()
    return float(((values - saliency.mean()) / saliency.std()).mean())


def plain_auc(saliency: np.ndarray, points: np.ndarray) -> float:
    """Every value is sorted; ties are counted half."""
    free = np.ones(saliency.shape, dtype=bool)
    free[points[:, 1], points[:, 0]] = False
    negatives, positives = np.sort(saliency[free]), saliency[points[:, 1], points[:, 0]]
    below, upto = (np.searchsorted(negatives, positives, side=side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(negatives))


def plain_cc(saliency: np.ndarray, reference: np.ndarray) -> float:
    one, two = saliency.copy(), reference.copy()
    for image in (one, two):
        image -= image.mean()
        image /= image.std()
    return float(np.corrcoef(one.flatten(), two.flatten())[0, 1])


def plain_density(image: np.ndarray, least: float = 0.0) -> np.ndarray:
    if image.min() < 0:
        image = image - image.min()
    image = image + least
    return image / image.sum()


def plain_sim(saliency: np.ndarray, reference: np.ndarray) -> float:
    return float(np.min([plain_density(saliency), plain_density(reference)], axis=0).sum())


def plain_kl(saliency: np.ndarray, reference: np.ndarray) -> float:
    p, q = plain_density(reference, 1e-20), plain_density(saliency, 1e-20)
    return float((p * np.log(EPS + p / (q + EPS))).sum())


def plain_all(saliency: np.ndarray, reference: np.ndarray) -> float:
    return plain_cc(saliency, reference) + plain_sim(saliency, reference) + plain_kl(saliency, reference)


def fused_all(saliency: np.ndarray, reference: np.ndarray) -> float:
    scores = metrics.map_scores(saliency, reference)
    return scores.cc + scores.sim + scores.kl


def timed(function: Callable[..., float], *arguments: np.ndarray) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def peak_maps(function: Callable[..., float], *arguments: np.ndarray) -> float:
    """Most memory in use at once beyond the arguments, in maps."""
    tracemalloc.start()
    function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / arguments[0].nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixations", type=int, default=100)
    parser.add_argument("--height", type=int, default=3056)
    parser.add_argument("--width", type=int, default=2544)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (args.height, args.width)
    saliency, reference = make_map(rng, shape, 20), make_map(rng, shape, 20)
    points = rng.integers(0, (args.width, args.height), (args.fixations, 2))
    cases: dict[str, tuple[Callable[..., float], Callable[..., float], np.ndarray]] = {
        "nss": (plain_nss, metrics.nss, points),
        "auc_judd": (plain_auc, metrics.auc_judd, points),
        "cc": (plain_cc, metrics.cc, reference),
        "sim": (plain_sim, metrics.sim, reference),
        "kl": (plain_kl, metrics.kl, reference),
        "cc + sim + kl": (plain_all, fused_all, reference),
    }
    rows = []
    for name, (plain, ours, other) in cases.items():
        np.testing.assert_allclose(ours(saliency, other), plain(saliency, other), rtol=1e-6)
        # in turn, so that a change of the machine's speed falls on both
        pairs = [(timed(plain, saliency, other), timed(ours, saliency, other)) for _ in range(args.repeats)]
        memory = peak_maps(plain, saliency, other), peak_maps(ours, saliency, other)
        row = {
            "metric": name,
            "plain_ms": 1e3 * statistics.median(p for p, _ in pairs),
            "ours_ms": 1e3 * statistics.median(o for _, o in pairs),
            "times_faster": statistics.median(p / o for p, o in pairs),
            "plain_memory_maps": memory[0],
            "ours_memory_maps": memory[1],
        }
        rows.append(row)
    if args.json:
        print(json.dumps({"shape": shape, "fixations": args.fixations, "rows": rows}))
        return
    print(f"{args.height} x {args.width}, {args.fixations} fixations")
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{value:14s}" for key, value in row.items()
            )
        )


if __name__ == "__main__":
    main()
