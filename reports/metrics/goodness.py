"""Fit statistics of latent class analysis: penalised likelihoods, and how far observed patterns are from expected ones.

    G2 = 2 sum_c n_c log(n_c / m_c)      X2 = sum_c (n_c - m_c)^2 / m_c      m_c = N p(c)

where c runs over the patterns of answers that are possible, n_c is how often one was seen and p its predictive probability
(Goodman 1974, *Biometrika* 61:215-231).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import entr, xlogy

from mixtures import Fit
from mixtures.engines import sequences
from mixtures.engines.responsibilities import fold
from mixtures.methods.em import criteria
from reports.metrics import Row
from reports.metrics.nominal import Nominal, nominal

# Rows per possible pattern below which G2 and X2 are not distributed as chi-square (Koehler & Larntz 1980).
FEWEST_A_CELL = 5.0


class Goodness(NamedTuple):
    """G2 and X2, and how many patterns were seen."""

    g2: float
    x2: float
    patterns: int


def goodness(counts: np.ndarray, log_p: np.ndarray) -> Goodness:
    """G2 and X2 of patterns that were seen so often (M,), and have these log probabilities (M,).

    Patterns that were not seen enter X2 by what the seen ones leave of N.
    """
    n = counts.sum()
    expected = n * np.exp(log_p)
    with np.errstate(divide="ignore"):
        g2 = 2 * (xlogy(counts, counts) - counts * (np.log(n) + log_p)).sum()
        x2 = ((counts - expected) ** 2 / expected).sum() + max(0.0, n - expected.sum())
    return Goodness(float(g2), float(x2), len(counts))


def is_sparse(n: int, cells: float) -> bool:
    """Whether a table of so many cells has too few of ``n`` rows in each for the chi-square distribution."""
    return n < FEWEST_A_CELL * cells


def n_parameters(fit: Fit) -> int:
    """Number of free parameters."""
    return fit.family.n_free(fit.n_components) + fit.allocation.n_free()


CRITERIA = ("aic", "bic", "sabic", "icl")


def penalised(fit: Fit, x: np.ndarray) -> list[Row]:
    """``aic``, ``bic``, ``sabic`` and ``icl`` of a point estimate; see `mixtures.methods.em.criteria`.

    At a posterior mode they hold the likelihood there, without the prior (Fraley & Raftery 2007, *Journal of Classification*
    24:155-181). Those of other posteriors are not defined.
    """
    if fit.kind != "point":
        return []
    L, entropy = float(fit.log_predictive(x).sum()), _entropy(fit, x)
    numbers = criteria(L, entropy, n_parameters(fit), len(x))
    return [Row(fit.method, name, "data", fit.info.get(name, value)) for name, value in numbers.items()]


def _entropy(fit: Fit, x: Any) -> float:
    """Entropy of the labels of all points in nats; of a chain that of its paths, which is less than the sum of its rows'."""
    if fit.allocation.independent:
        return float(entr(fit.responsibilities(x)).sum())
    weights, theta = fit.held.flat()
    eta = fold(fit.allocation.natural(weights), fit.family.natural(theta))
    return float(sequences.one_pass(fit.family, fit.allocation.rows(x), None, "auto").entropy(eta)[0])  # type: ignore[attr-defined]


def fit_statistics(fit: Fit, x: np.ndarray) -> list[Row]:
    """What latent class analysis prints of a fit.

    Parameters
    ----------
    fit : Fit
        Its predictive distribution is what the patterns are compared with: at the point of a point estimate, averaged over
        any other posterior.
    x : ndarray, shape (N, D)

    Returns
    -------
    list of Row
        ``n_parameters`` of any fit. Where every column has levels and no value is missing, ``patterns``, how many different
        rows there are; ``cells``, how many there can be; ``df``, cells less one less the parameters; ``g2`` and ``x2``; and
        ``g2_p`` and ``x2_p``, their chi-square tail areas, of a maximum-likelihood fit with enough rows in every cell and
        degrees of freedom.
    """
    method, p, levels = fit.method, n_parameters(fit), nominal(fit.family)
    rows = [Row(method, "n_parameters", "data", p)]
    if not levels.whole or np.isnan(x).any():
        return rows
    patterns, counts = np.unique(x, axis=0, return_counts=True)
    found, df = goodness(counts, fit.log_predictive(patterns)), levels.cells - 1 - p
    rows += [Row(method, name, "data", value) for name, value in found._asdict().items()]
    rows += [Row(method, "cells", "data", levels.cells), Row(method, "df", "data", df)]
    if method == "em" and has_reference(len(x), levels, p):
        rows += [
            Row(method, f"{name}_p", "data", float(stats.chi2.sf(getattr(found, name), df))) for name in ("g2", "x2")
        ]
    return rows


def has_reference(n: int, levels: Nominal, p: int) -> bool:
    """Whether G2 and X2 of ``n`` rows and ``p`` parameters can be held against a chi-square distribution."""
    return not is_sparse(n, levels.cells) and levels.cells - 1 - p > 0
