r"""Series that come with the package, in the order of time, and a simulator of hidden Markov models that keeps the truth.

.. math:: z_1 \sim \pi, \qquad z_t \mid z_{t-1} = j \sim A_j, \qquad x_t \mid z_t = k \sim N(\mu_k, \Sigma_k)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtures.datasets import files
from mixtures.datasets.dataset import Dataset, Series, Table, is_numeric, nearest
from mixtures.datasets.linear import TSMATZ, tsmatz_lds
from mixtures.datasets.simulated import simulate
from mixtures.errors import DataError
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class Description:
    """One series, or several: columns and their kinds, lengths, the column that names the steps, and the source."""

    name: str
    lengths: tuple[int, ...]
    kinds: dict[str, str]
    source: str
    index: str | None = None


CATALOGUE = {
    entry.name: entry
    for entry in (
        Description(
            "earthquakes",
            (107,),
            {"count": "poisson"},
            "Earthquakes of magnitude 7 or more a year, 1900-2006; Zucchini & MacDonald (2009, table 1.1)",
            "year",
        ),
        Description(
            "speed",
            (168, 134, 137),
            {"rt": "gaussian", "corr": "bernoulli", "Pacc": "gaussian"},
            "Log response times, correct or not, and pay-off; Dutilh et al. (2011), R depmixS4::speed",
        ),
        Description(
            "fedfunds",
            (226,),
            {"rate": "gaussian"},
            "Federal funds rate, percent, 1954Q3-2010Q4; Federal Reserve, Stata manual, mswitch",
            "quarter",
        ),
        Description(
            "tsmatz-hmm",
            (1000,),
            {"x1": "gaussian", "x2": "gaussian"},
            "simulated: a chain of three states in the plane, RandomState(1000)",
        ),
        Description(
            "nile",
            (100,),
            {"volume": "gaussian"},
            "Yearly flow of the Nile at Aswan, 1e8 cubic metres, 1871-1970; Durbin & Koopman (2012), R datasets::Nile",
            "year",
        ),
        Description(
            "unemployment",
            (203,),
            {"unemployment": "gaussian"},
            "US unemployment rate, percent, 1959Q1-2009Q3; Bureau of Labor Statistics, statsmodels macrodata",
            "quarter",
        ),
        Description("tsmatz-lds", (2000,), {"x1": "gaussian", "x2": "gaussian"}, TSMATZ),
    )
}


def load_series(name: str) -> Series:
    """Load one of the series that come with the package.

    Parameters
    ----------
    name : {"earthquakes", "speed", "fedfunds", "tsmatz-hmm", "nile", "unemployment", "tsmatz-lds"}

    Raises
    ------
    ValueError
        If there is no series of this name.

    Examples
    --------
    >>> load_series("speed").lengths
    (168, 134, 137)
    """
    if name not in CATALOGUE:
        near = nearest(name, CATALOGUE)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"there is no series {name!r}, only {', '.join(CATALOGUE)}{hint}")
    generated = {"tsmatz-hmm": tsmatz_hmm, "tsmatz-lds": tsmatz_lds}
    if name in generated:
        return generated[name]()
    entry = CATALOGUE[name]
    table = files.read(Path(__file__).with_name(f"{name}.csv"), None)
    levels = {n: tuple(sorted(set(table[n]), reverse=True)) for n in entry.kinds if not is_numeric(table[n])}
    columns = [
        np.array([levels[n].index(value) for value in table[n]], dtype=float) if n in levels else table[n]
        for n in entry.kinds
    ]
    index = np.empty(0, dtype=str) if entry.index is None else _names(table[entry.index])
    data = Dataset(
        name,
        np.column_stack(columns),
        tuple(entry.kinds),
        None,
        entry.source,
        kinds=tuple(entry.kinds.values()),
        levels=levels,
        index=index,
        lengths=entry.lengths,
    )
    return Series(data, entry.lengths)


def as_table(data: Dataset) -> Table:
    """The columns of a series as they would be read from a file, with the states, where they are known, as ``state``."""
    columns = [
        np.array([data.levels[name][int(code)] for code in x], dtype=object) if name in data.levels else x
        for name, x in zip(data.features, data.x.T, strict=True)
    ]
    if data.labels is None:
        return Table(data.features, tuple(columns), index=data.index)
    return Table((*data.features, "state"), (*columns, data.labels.astype(object)), index=data.index)


def lengths_of(names: Sequence[object], column: str = "sequence") -> tuple[int, ...]:
    """Lengths of sequences from the name of the one that each row belongs to, (N,).

    Raises
    ------
    DataError
        If a name is missing, or comes back after another: rows of one sequence must stand together, in the order of time.

    Examples
    --------
    >>> lengths_of(["a", "a", "b"])
    (2, 1)
    """
    found: dict[object, int] = {}
    before: object = None
    for row, name in enumerate(names, 1):
        if name is None or name != name:
            raise DataError(f"column {column!r} has no value in row {row}; expected the sequence of every row")
        if name in found and name != before:
            raise DataError(
                f"column {column!r} comes back to {_shown(name)} in row {row}; sort the rows by it, and within it by time"
            )
        found[name], before = found.get(name, 0) + 1, name
    return tuple(found.values())


def _shown(name: object) -> str:
    text = f"{name:g}" if isinstance(name, float) else str(name)
    return repr(text if len(text) <= 40 else f"{text[:30]}...")


def _names(column: np.ndarray) -> np.ndarray:
    return np.array([f"{value:g}" if isinstance(value, float) else str(value) for value in column])


def tsmatz_hmm() -> Series:
    """Generate the ``tsmatz-hmm`` series: 1000 steps of a chain of three states in the plane, always the same.

    States and points come from NumPy's legacy generator, ``RandomState(1000)``: the first state is 0, each of 1000 more is
    one ``choice``, and then there is one two-dimensional normal for each state in turn; the first 1000 rows are kept.

    Examples
    --------
    >>> tsmatz_hmm().data.x.shape
    (1000, 2)
    """
    A = np.array([[0.7, 0.15, 0.15], [0.0, 0.5, 0.5], [0.3, 0.35, 0.35]])
    means = np.array([[16.0, 1.0], [1.0, 16.0], [-5.0, -5.0]])
    covariances = np.array([[[4.0, 3.5], [3.5, 4.0]], [[4.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 4.0]]])
    legacy = np.random.RandomState(1000)
    z = [0]
    for _ in range(1000):
        z.append(int(legacy.choice(3, size=1, p=A[z[-1]])[0]))
    x = np.array([legacy.multivariate_normal(means[k], covariances[k]) for k in z])
    source = CATALOGUE["tsmatz-hmm"].source
    return _known("tsmatz-hmm", x[:1000], source, np.eye(3)[0], A, means, covariances, np.array(z[:1000]), (1000,))


def simulate_series(
    lengths: Sequence[int], n_components: int, n_features: int, *, separation: float, stay: float = 0.9, rng: Rng
) -> Series:
    """Draw series from a hidden Markov model with Gaussian states of stated difficulty, and keep the truth.

    Parameters
    ----------
    lengths : sequence of int
        Number of rows of each series.
    n_components, n_features : int
        K states, D features.
    separation : float
        The smallest distance between two means; see `mixtures.datasets.simulate`.
    stay : float
        Probability that a state stays for another step, the others being equally probable; a series starts in any.
    rng : numpy.random.Generator or int

    Returns
    -------
    Series
        ``data.truth`` holds initial (K,), transitions (K, K), means, covariances and labels.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> simulate_series([50, 30], 3, 2, separation=4.0, rng=0).data.x.shape
    (80, 2)
    """
    rng = generator(rng)
    if not len(lengths) or min(lengths) < 1:
        raise ValueError(f"lengths is {list(lengths)}; expected the number of rows of each series, at least 1")
    if not 0 <= stay <= 1:
        raise ValueError(f"stay is {stay}; expected a probability")
    K = n_components
    truth = simulate(1, K, n_features, separation=separation, rng=rng).truth
    assert truth is not None
    A = np.full((K, K), (1 - stay) / max(1, K - 1)) * (1 - np.eye(K)) + (stay if K > 1 else 1) * np.eye(K)
    z = np.concatenate([_walk(A, n, rng) for n in lengths])
    noise = rng.standard_normal((len(z), n_features, 1))
    x = truth["means"][z] + (np.linalg.cholesky(truth["covariances"])[z] @ noise)[..., 0]
    source = (
        f"simulated: a chain of K = {K} states, D = {n_features}, {len(lengths)} series of {len(z)} steps, separation "
        f"{separation:g}, staying with probability {stay:g}"
    )
    uniform = np.full(K, 1 / K)
    return _known("simulated", x, source, uniform, A, truth["means"], truth["covariances"], z, tuple(lengths))


def _walk(A: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    z = np.empty(n, dtype=int)
    z[0] = rng.integers(len(A))
    for t in range(1, n):
        z[t] = rng.choice(len(A), p=A[z[t - 1]])
    return z


def _known(
    name: str,
    x: np.ndarray,
    source: str,
    initial: np.ndarray,
    transitions: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    labels: np.ndarray,
    lengths: tuple[int, ...],
) -> Series:
    truth = {
        "initial": initial,
        "transitions": transitions,
        "means": means,
        "covariances": covariances,
        "labels": labels,
    }
    features = tuple(f"x{j}" for j in range(1, x.shape[1] + 1))
    return Series(Dataset(name, x, features, labels.astype(str), source, truth, lengths=lengths), lengths)
