"""PED-ANOVA: how far the best trials' values of an axis lie from all trials' (Watanabe et al. 2023, 2304.10255).

For each axis d, v_d = (gamma'/gamma)^2 E_{x ~ p_d(x | region)}[(p_d(x | top) / p_d(x | region) - 1)^2], with p_d the
one-dimensional densities of the top gamma' and of the region gamma (here all trials). The shares are
v_d / sum v. Values are ranks first, so that a log axis and a linear one count alike; few levels are counted,
many get a Gaussian Parzen density, mirrored at the ends.
"""

import numpy as np

FEW = 12  # levels up to which an axis is counted, not smoothed
CELLS = 48  # of the grid on which densities of many levels are compared


def divergences(matrix: np.ndarray, scores: np.ndarray, top: int) -> np.ndarray:
    """v_d of every column: matrix (N, D) of codes or numbers, scores (N,) of which greater is better."""
    best = np.argsort(-scores, kind="stable")[:top]
    share = (top / len(scores)) ** 2
    return np.array([share * _divergence(column, best) for column in matrix.T])


def shares(found: np.ndarray) -> np.ndarray:
    """Divergences as shares of their sum, along the last axis; 0 where there is none at all."""
    total = found.sum(-1, keepdims=True)
    return np.divide(found, total, out=np.zeros_like(found), where=total > 0)


def _divergence(column: np.ndarray, best: np.ndarray) -> float:
    """E over the region of (top / region - 1)^2."""
    levels, codes = np.unique(column, return_inverse=True)
    if len(levels) < 2:
        return 0.0
    if len(levels) <= FEW:
        region = _counted(codes, len(levels))
        ratio = _counted(codes[best], len(levels)) / region
    else:
        ranks = (codes + 0.5) / len(levels)
        region, ratio = _smoothed(ranks), _smoothed(ranks[best])
        ratio = ratio / region
    return float((region * (ratio - 1) ** 2).sum())


def _counted(codes: np.ndarray, levels: int) -> np.ndarray:
    """Frequencies with one pseudo-count spread over the levels, as Optuna's and the paper's estimator have."""
    counts = np.bincount(codes, minlength=levels) + 1 / levels
    return counts / counts.sum()


def _smoothed(ranks: np.ndarray) -> np.ndarray:
    """A Parzen density on the grid of [0, 1] by Scott's rule, mirrored at both ends, with a uniform pseudo-count."""
    centres = (np.arange(CELLS) + 0.5) / CELLS
    binned = np.bincount(np.minimum((ranks * CELLS).astype(int), CELLS - 1), minlength=CELLS)
    spread = max(float(ranks.std()), 0.05)
    width = max(1.06 * spread * len(ranks) ** -0.2, 1 / CELLS)
    kernel = np.zeros((CELLS, CELLS))
    for shift in (centres, -centres, 2 - centres):
        kernel += np.exp(-0.5 * ((centres[:, None] - shift) / width) ** 2)
    kernel /= kernel.sum(0)
    density = kernel @ binned + 1 / CELLS
    return np.asarray(density / density.sum())
