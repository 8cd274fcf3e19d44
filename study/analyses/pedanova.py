"""PED-ANOVA: how far the best trials' values of an axis lie from all trials' (Watanabe et al. 2023, 2304.10255).

For each axis d, v_d = (gamma'/gamma)^2 E_{x ~ p_d(x | region)}[(p_d(x | top) / p_d(x | region) - 1)^2], with p_d the
one-dimensional densities of the top gamma' and of the region gamma (here all trials). The shares are
v_d / sum v. Values are ranks first, so that a log axis and a linear one count alike; few levels are counted,
many get a Gaussian Parzen density, mirrored at the ends.
"""

import numpy as np

FEW = 12  # levels up to which an axis is counted, not smoothed
CELLS = 48  # of the grid on which densities of many levels are compared


class Axes:
    """The axes of trials, binned once for many draws. matrix: (N, D) of codes or numbers."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.columns = [_binned(column) for column in matrix.T]

    def divergences(self, order: np.ndarray, top: int) -> np.ndarray:
        """(D,) v_d. order: (N,) trials, the best first; a trial may stand in it several times."""
        share = (top / len(order)) ** 2
        return np.array([share * _divergence(codes[order], bins, top) for codes, bins in self.columns])


def divergences(matrix: np.ndarray, scores: np.ndarray, top: int) -> np.ndarray:
    """v_d of every column: matrix (N, D), scores (N,) of which greater is better."""
    return Axes(matrix).divergences(np.argsort(-scores, kind="stable"), top)


def shares(found: np.ndarray) -> np.ndarray:
    """Divergences as shares of their sum, along the last axis; 0 where there is none at all."""
    total = found.sum(-1, keepdims=True)
    return np.divide(found, total, out=np.zeros_like(found), where=total > 0)


def _binned(column: np.ndarray) -> tuple[np.ndarray, int]:
    """Every trial's bin, and how many there are: the levels of few, else ranks in CELLS; below 0 when smoothed."""
    levels, codes = np.unique(column, return_inverse=True)
    if len(levels) <= FEW:
        return codes, len(levels)
    return np.minimum(((codes + 0.5) / len(levels) * CELLS).astype(int), CELLS - 1), -CELLS


def _divergence(codes: np.ndarray, bins: int, top: int) -> float:
    """E over the region of (top / region - 1)^2, of codes that stand best first."""
    if bins == 1:
        return 0.0
    density = _counted if bins > 0 else _smoothed
    region = density(codes, abs(bins))
    ratio = density(codes[:top], abs(bins)) / region
    return float((region * (ratio - 1) ** 2).sum())


def _counted(codes: np.ndarray, levels: int) -> np.ndarray:
    """Frequencies with one pseudo-count spread over the levels."""
    counts = np.bincount(codes, minlength=levels) + 1 / levels
    return np.asarray(counts / counts.sum())


def _smoothed(codes: np.ndarray, cells: int) -> np.ndarray:
    """A Parzen density by Scott's rule, mirrored at both ends, with one pseudo-count spread over the cells."""
    spread = max(float(codes.std()) / cells, 0.05)
    width = max(1.06 * spread * len(codes) ** -0.2, 1 / cells)
    density = _kernel(width, cells) @ np.bincount(codes, minlength=cells) + 1 / cells
    return np.asarray(density / density.sum())


def _kernel(width: float, cells: int) -> np.ndarray:
    """(cells, cells): where the mass of a cell goes."""
    centres = (np.arange(cells) + 0.5) / cells
    shifts = np.stack([centres, -centres, 2 - centres])
    kernel = np.exp(-0.5 * ((centres[:, None, None] - shifts) / width) ** 2).sum(1)
    return np.asarray(kernel / kernel.sum(0))
