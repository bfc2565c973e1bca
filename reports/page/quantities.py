"""What the figures need beyond the saved numbers: scalar views of a tree, orders, curves, leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from reports.metrics import parameters
from reports.metrics.agreement import IQR

FRAME = 12
"""Units of the reference, IQR / 1.349, from its median at which the axis of a parameter ends at the latest."""

THIN = 500
"""Draws a chain kept for densities, leave-one-out and intervals."""

REGION_PROBS = (0.5, 0.9)
"""Probabilities of the highest-density regions that are drawn."""

REGION_DRAWS, REGION_GRID, REGION_REACH = 600, 64, 5
"""Draws over which a cluster's density is averaged, points on a side of its grid, and sds from its centre to the edge."""

KERNEL_REACH = 4
"""Standard deviations of a kernel from its centre to its edge."""


def tree_safe(name: object) -> str:
    """Return a name that a tree takes as a variable's: a slash in it would mean a path."""
    return str(name).replace("/", "\N{DIVISION SLASH}")


def panel_name(feature: object) -> str:
    """Return a feature's name as a variable's: the trailing space keeps it apart from dimensions such as `draw`."""
    return f"{tree_safe(feature)} "


def thinned(dataset: xr.Dataset) -> xr.Dataset:
    """Return every so-many-th draw, so that at most `THIN` a chain are left."""
    return dataset.isel(draw=slice(None, None, -(-dataset.sizes["draw"] // THIN)))


def scalars(tree: xr.DataTree) -> xr.Dataset:
    """Return the thinned posterior as scalar variables (chain, draw) in the data's units, named as in `metrics.csv`.

    A covariance matrix gives its variances and correlations: `correlations[0, eruptions, waiting]`.
    """
    posterior = thinned(tree["posterior"].to_dataset())
    named = {name: (("chain", "draw"), values) for name, values in parameters.natural(posterior).items()}
    return xr.Dataset(named, coords={"chain": posterior["chain"], "draw": posterior["draw"]})


def of_numbers(tree: xr.DataTree) -> xr.DataTree:
    """Return a tree whose posterior has weights, means and covariances alone, along `feature` and `feature_`."""
    posterior = tree["posterior"].to_dataset()
    own = weighted(tree)[["weights", *(name for name in ("means", "covariances") if name in posterior)]]
    if "covariances" in own:
        _, feature, feature_ = own["covariances"].dims[2:]
        own = own.rename({feature: "feature", feature_: "feature_"})
    found = tree.copy(deep=False)
    found["posterior"] = xr.DataTree(own)
    return found


def weighted(tree: xr.DataTree) -> xr.Dataset:
    """Return a posterior with the weights of its clusters: of a chain those in the long run, its stationary distribution."""
    posterior = tree["posterior"].to_dataset()
    return posterior if "weights" in posterior else posterior.assign(weights=tree["chain"]["stationary"])


def as_tree(dataset: xr.Dataset) -> xr.DataTree:
    """Wrap scalar variables as the `posterior` of a tree, under names that it takes."""
    return xr.DataTree.from_dict({"posterior": dataset.rename({name: tree_safe(name) for name in dataset.data_vars})})


def same_shape(datasets: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Cut every dataset to the smallest number of chains and draws among them and number both from zero."""
    chains = min(d.sizes["chain"] for d in datasets.values())
    draws = min(d.sizes["draw"] for d in datasets.values())
    place = {"chain": np.arange(chains), "draw": np.arange(draws)}
    return {m: d.isel(chain=slice(chains), draw=slice(draws)).assign_coords(place) for m, d in datasets.items()}


def varying(datasets: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Drop the variables that do not vary in one of the datasets, such as the only weight when K = 1."""
    names = list(next(iter(datasets.values())).data_vars)
    moving = [n for n in names if all(float(d[n].std()) > 1e-12 * abs(float(d[n].mean())) for d in datasets.values())]
    return {method: dataset[moving] for method, dataset in datasets.items()}


def units(reference: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the median and the unit, IQR / 1.349, of every variable."""
    low, centre, high = (reference.quantile(p, ("chain", "draw")).drop_vars("quantile") for p in (0.25, 0.5, 0.75))
    return centre, (high - low) / IQR


def frames(
    scalars: Mapping[str, xr.Dataset], points: Mapping[str, Mapping[str, float]], base: str
) -> dict[str, tuple[float, float]]:
    """Return, by variable, the range that holds 96% of every method's draws and the points, at most `FRAME` units from base.

    One method that has gone astray would otherwise press all others into a line.
    """
    limits = {}
    for name, reference in scalars[base].items():
        ends = [np.quantile(d[name].values, [0.02, 0.98]) for d in scalars.values()]
        ends += [np.repeat(values[tree_safe(name)], 2) for values in points.values()]
        low, high = np.min(ends), np.max(ends)
        quarter, centre, three = np.quantile(reference.values, [0.25, 0.5, 0.75])
        reach = FRAME * (three - quarter) / IQR
        low, high = max(low, centre - reach), min(high, centre + reach)
        margin = 0.05 * (high - low)
        limits[tree_safe(name)] = (float(low - margin), float(high + margin))
    return limits


def shown(
    scalars: Mapping[str, xr.Dataset], points: Mapping[str, Mapping[str, float]], logs: Mapping[str, str]
) -> tuple[dict[str, xr.Dataset], dict[str, dict[str, float]]]:
    """Return draws and point values of some variables as they are drawn: by their logarithms where they have a new name."""
    draws = {
        method: xr.Dataset({new: np.log(d[old]) if new != old else d[old] for old, new in logs.items()})
        for method, d in scalars.items()
    }
    values = {
        method: {
            tree_safe(new): float(np.log(of[tree_safe(old)])) if new != old else of[tree_safe(old)]
            for old, new in logs.items()
        }
        for method, of in points.items()
    }
    return draws, values


def ranked(names: Sequence[str], metrics: pd.DataFrame) -> list[str]:
    """Return `names` by falling distance from the reference: the largest Wasserstein-1 of any method.

    Where only points were compared, which have none, by the largest shift; where nothing was compared, as given.
    """
    far = metrics[metrics["metric"] == "wasserstein"]
    far = metrics[metrics["metric"] == "median_shift"] if far.empty else far
    distance = far["value"].abs().groupby(far["target"]).max()
    return sorted(names, key=lambda name: -float(distance.get(name, 0.0)))


def joint_names(draws: xr.Dataset, lost: pd.DataFrame, number: int) -> list[str]:
    """Return `number` variables: first those of the pairs whose correlation is lost, then those most correlated in the draws.

    Correlations are those of ranks. The last of several weights is left out: the weights add up to one.

    Parameters
    ----------
    lost
        `target` "a ~ b" and `value`, the difference of the correlation from the reference's.
    """
    weights = [str(name) for name in draws if str(name).startswith("weights")]
    names = [str(name) for name in draws if str(name) not in weights[1:][-1:]]
    if len(names) < 2:
        return names
    ranks = draws[names].to_array().stack(s=("chain", "draw")).values.argsort(1).argsort(1)
    correlation = np.triu(np.abs(np.corrcoef(ranks)), 1)
    other = (correlation < 1 - 1e-9).all(0)  # those of a symmetric matrix repeat, and two such have no density to draw
    names, correlation = [n for n, own in zip(names, other, strict=True) if own], correlation[np.ix_(other, other)]
    found: dict[str, None] = {}
    pairs = {f"{a} ~ {b}": (a, b) for a, b in combinations(names, 2)}
    for target in lost.loc[lost["value"].abs().sort_values(ascending=False).index, "target"]:
        found |= dict.fromkeys(pairs.get(target, ()))
    for place in np.argsort(-correlation, axis=None)[: number**2]:
        found |= dict.fromkeys(names[i] for i in np.unravel_index(place, correlation.shape))
    chosen = list(found)[:number]
    return [name for name in names if name in chosen]


def estimates(natural: xr.Dataset) -> dict[str, tuple[float, float, float]]:
    """Return median and ends of the central 90% interval of every scalar by name; a single draw has no interval."""
    draws = natural.to_array("name").stack(s=("chain", "draw"))
    low, median, high = np.quantile(draws.values, [0.05, 0.5, 0.95], axis=1)
    if draws.sizes["s"] == 1:
        low, high = np.full((2, len(median)), np.nan)
    names = [str(name) for name in draws["name"].values]
    return dict(zip(names, zip(median, low, high, strict=True), strict=True))


def interval_blocks(trees: Mapping[str, xr.DataTree]) -> dict[str, pd.DataFrame]:
    """Return one table for the weights and one for each feature's locations: method, cluster, median, low, high.

    Locations are means, rates, or the probabilities of a feature's levels.
    """
    blocks: dict[str, list[dict[str, Any]]] = {"weights": []}
    for method, tree in trees.items():
        for name, (median, low, high) in estimates(scalars(tree)).items():
            variable, inside = name[:-1].split("[", 1)
            cluster, _, place = inside.partition(", ")
            if parameters.KINDS[variable].block != "spreads":
                blocks.setdefault(f"{variable}, {place}" if place else variable, []).append(
                    {"method": method, "cluster": int(cluster), "median": median, "low": low, "high": high}
                )
    return {title: pd.DataFrame(rows) for title, rows in blocks.items() if rows}


def reference_order(responsibilities: xr.DataArray, limit: int = 600) -> np.ndarray:
    """Return point numbers by most probable cluster, then falling certainty; at most `limit`, evenly picked."""
    best, certain = responsibilities.argmax("cluster").values, responsibilities.max("cluster").values
    order = np.lexsort((-certain, best))
    return order[np.unique(np.linspace(0, len(order) - 1, min(limit, len(order))).astype(int))]


def block_order(matrix: np.ndarray) -> np.ndarray:
    """Return the order of points that brings those which share a cluster together (average linkage)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    distance = 1 - (matrix + matrix.T) / 2
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(np.clip(distance, 0, None), checks=False), "average"))


def feature_pairs(tree: xr.DataTree, limit: int = 3) -> list[tuple[str, str]]:
    """Return the pairs of features in which the clusters lie furthest apart, at most `limit`."""
    apart = parameters.separation(tree["posterior"].to_dataset())
    features, by_feature = list(apart), list(apart.values())
    pairs = [(i, j) for i in range(len(features)) for j in range(i + 1, len(features))]
    best = sorted(pairs, key=lambda p: -(by_feature[p[0]] + by_feature[p[1]]))[:limit]
    return [(features[i], features[j]) for i, j in sorted(best)]


def drawn_rows(x: xr.DataArray, most: int) -> np.ndarray:
    """Numbers of at most so many rows of x (obs, feature) without a gap, or where all have one of any rows, evenly spaced."""
    whole = np.flatnonzero(~np.isnan(x.transpose("obs", "feature").values).any(axis=1))
    whole = whole if len(whole) else np.arange(x.sizes["obs"])
    return whole[np.unique(np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(int))]


def without_points(x: xr.DataArray) -> str:
    """Say that no row of x (obs, feature) can be drawn as a point, if that is so."""
    return " No row has all of these features, so that no point is drawn." if x.isnull().any("feature").all() else ""


def overview(x: xr.DataArray, tree: xr.DataTree, rows: np.ndarray) -> xr.Dataset:
    """Return what `reports.plots.overview` shows of a method at these rows of the data, for one or two features of it."""
    features = [str(f) for f in x["feature"].values]
    r = tree["clusters"].to_dataset()["responsibilities"].isel(obs=rows)
    shown = xr.Dataset({"best": r.argmax("cluster"), "certain": r.max("cluster")})
    if len(features) == 1:
        curves = density_curves(tree, features[0], x.isel(feature=0).values)
        return shown.merge(curves[["density"]])
    return shown.merge(cluster_regions(tree["posterior"].to_dataset(), (features[0], features[1])))


def cluster_regions(posterior: xr.Dataset, pair: tuple[str, str], probs: Sequence[float] = REGION_PROBS) -> xr.Dataset:
    """Return each cluster's density in two features, averaged over draws, and the levels of its highest-density regions.

    Returns
    -------
    Dataset
        `density` (cluster, i, j) on the grids `across` (cluster, i) and `up` (cluster, j), and `level` (prob, cluster):
        where the density is at least that high, it holds `prob`; missing where the grid holds less.
    """
    posterior = posterior.isel(
        draw=slice(None, None, -(-posterior.sizes["draw"] * posterior.sizes["chain"] // REGION_DRAWS))
    )
    posterior = posterior.stack(s=("chain", "draw"))
    means = posterior["means"].sel(feature=list(pair)).transpose("cluster", "s", "feature").values
    covariances = posterior["covariances"].sel(feature=list(pair), feature_=list(pair))
    density, grids, levels = [], [], []
    for mu, sigma in zip(means, covariances.transpose("cluster", "s", ...).values, strict=True):
        centre = np.median(mu, 0)
        spread = np.sqrt(np.median(np.diagonal(sigma, axis1=1, axis2=2), 0) + np.median((mu - centre) ** 2, 0))
        grid = (centre + spread * np.linspace(-REGION_REACH, REGION_REACH, REGION_GRID)[:, None]).T
        p = mean_normal(grid[0], grid[1], mu, sigma)
        density.append(p)
        grids.append(grid)
        levels.append(highest_density(p.ravel(), float(np.prod(grid[:, 1] - grid[:, 0])), probs))
    across, up = np.swapaxes(grids, 0, 1)
    return xr.Dataset(
        {
            "density": (("cluster", "i", "j"), np.array(density)),
            "across": (("cluster", "i"), across),
            "up": (("cluster", "j"), up),
            "level": (("cluster", "prob"), np.array(levels)),
        },
        coords={"prob": list(probs)},
    )


def pair_regions(
    scalars: Mapping[str, xr.Dataset], frames: Mapping[str, tuple[float, float]], probs: Sequence[float] = REGION_PROBS
) -> dict[tuple[str, str], dict[str, xr.Dataset]]:
    """Return, for every pair of scalar variables and method, a kernel density of the draws and its highest-density regions.

    Draws further than half a frame's width beyond the frame would coarsen the grid and count as outside every region.

    Returns
    -------
    dict
        Pair of variables, named as in a tree -> method -> `density` (i, j), `across` (i), `up` (j) and `level` (prob), the
        density above which the draws have that share; without those that the grid does not hold.
    """
    names = [str(name) for name in next(iter(scalars.values()))]
    found: dict[tuple[str, str], dict[str, xr.Dataset]] = {}
    for a, b in combinations(names, 2):
        ends = np.array([frames[tree_safe(a)], frames[tree_safe(b)]])
        ends = (ends + np.diff(ends) * [-0.5, 0.5])[:, :, None]
        for method, draws in scalars.items():
            pair = np.stack([draws[a].values.ravel(), draws[b].values.ravel()])
            inside = ((pair >= ends[:, 0]) & (pair <= ends[:, 1])).all(0)
            share = inside.mean()
            held = [prob for prob in probs if prob < share]
            if not held:
                continue
            density, across, up = kernel_density(pair[:, inside], 2 * REGION_GRID)
            levels = highest_density(density.ravel(), step(across) * step(up), np.array(held) / share)
            found.setdefault((tree_safe(a), tree_safe(b)), {})[method] = xr.Dataset(
                {
                    "density": (("i", "j"), np.pad(density, 1)),
                    "across": ("i", edged(across)),
                    "up": ("j", edged(up)),
                    "level": ("prob", levels),
                },
                coords={"prob": held},
            )
    return found


def kernel_density(pair: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the density of draws of two numbers (2, S) on a grid from the least to the largest draw, and its two axes (size,).

    A normal kernel with the draws' own covariance, times Scott's S^(-1/3), and an sd of a twelfth of a cell more, by which two
    numbers that are one have a density too; draws beyond the edges are those inside, mirrored.
    """
    from scipy.signal import fftconvolve

    low, high = pair.min(1), pair.max(1)
    cell = (high - low) / (size - 1)
    places = (pair - low[:, None]) / cell[:, None]
    counts = np.zeros((size, size))
    np.add.at(counts, tuple(np.rint(places).astype(int)), 1)
    covariance = np.cov(places) * pair.shape[1] ** (-1 / 3) + np.eye(2) / 144
    reach = np.minimum(np.ceil(KERNEL_REACH * np.sqrt(np.diag(covariance))).astype(int), size)
    offsets = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"))
    kernel = np.exp(-0.5 * np.einsum("aij,ab,bij->ij", offsets, np.linalg.inv(covariance), offsets))
    smooth = fftconvolve(np.pad(counts, [(r, r) for r in reach], mode="symmetric"), kernel, mode="valid")
    across, up = np.linspace(low, high, size).T
    return np.maximum(smooth, 0) / (smooth.sum() * step(across) * step(up)), across, up


def step(grid: np.ndarray) -> float:
    """Return the distance between places of an even grid."""
    return float(grid[1] - grid[0])


def edged(grid: np.ndarray) -> np.ndarray:
    """Return an even grid with one more place at each end, where a density is 0 and the outline of a region closes."""
    return np.array([grid[0] - step(grid), *grid, grid[-1] + step(grid)])


def around(
    regions: Mapping[tuple[str, str], Mapping[str, xr.Dataset]], frames: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Return the frames widened to hold the largest regions, at most by a quarter of their width to each side."""
    widened = dict(frames)
    for pair, own in regions.items():
        for region in own.values():
            inside = region["density"] >= region["level"].min()
            for name, along, other in zip(pair, ("across", "up"), ("j", "i"), strict=True):
                held = region[along].values[inside.any(other).values]
                (low, high), (left, right) = frames[name], widened[name]
                reach, rim = (high - low) / 4, (high - low) / 50
                widened[name] = (
                    float(min(left, max(held.min() - rim, low - reach))),
                    float(max(right, min(held.max() + rim, high + reach))),
                )
    return widened


def mean_normal(across: np.ndarray, up: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return the mean over draws, mu (S, 2) and sigma (S, 2, 2), of two-dimensional normal densities on a grid."""
    first = np.sqrt(sigma[:, 0, 0])
    slope = sigma[:, 0, 1] / sigma[:, 0, 0]
    second = np.sqrt(sigma[:, 1, 1] - slope * sigma[:, 0, 1])
    dx, dy = across[:, None] - mu[:, 0], up[:, None] - mu[:, 1]
    conditional = np.exp(-0.5 * ((dy - slope * dx[:, None]) / second) ** 2)
    weight = np.exp(-0.5 * (dx / first) ** 2) / (2 * np.pi * first * second * len(mu))
    return np.einsum("is,ijs->ij", weight, conditional)


def highest_density(density: np.ndarray, area: float, probs: Sequence[float]) -> list[float]:
    """Return the level of a density above which its cells of this area hold each probability; NaN where all hold less."""
    falling = np.sort(density)[::-1]
    places = np.searchsorted(np.cumsum(falling) * area, probs)
    return [float(falling[i]) if i < len(falling) else np.nan for i in places]


def marginal_parts(posterior: xr.Dataset, feature: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, means and sds of one feature's marginal mixture, draw by draw, each (S, K, 1)."""
    posterior = thinned(posterior).stack(s=("chain", "draw"))
    weights = posterior["weights"].transpose("s", "cluster").values
    means = posterior["means"].sel(feature=feature).transpose("s", "cluster").values
    variances = posterior["covariances"].sel(feature=feature, feature_=feature).transpose("s", "cluster").values
    return weights[..., None], means[..., None], np.sqrt(variances)[..., None]


def density_curves(tree: xr.DataTree, feature: str, x: np.ndarray) -> xr.Dataset:
    """Return the density of one feature on a grid: posterior mean, 95% band, and its parts by cluster."""
    margin = 0.08 * np.ptp(x)
    grid = np.linspace(x.min() - margin, x.max() + margin, 300)
    weights, means, sds = marginal_parts(tree["posterior"].to_dataset(), feature)
    parts = weights * np.exp(-0.5 * ((grid - means) / sds) ** 2) / (sds * np.sqrt(2 * np.pi))
    density = parts.sum(1)
    curves = {"density": ("grid", density.mean(0)), "parts": (("cluster", "grid"), parts.mean(0))}
    if len(density) > 1:
        low, high = np.quantile(density, [0.025, 0.975], axis=0)
        curves |= {"low": ("grid", low), "high": ("grid", high)}
    return xr.Dataset(curves, coords={"grid": grid})


def leave_one_out(pointwise: xr.Dataset) -> Any:
    """Return ArviZ's object for a saved leave-one-out, ready for its plots and comparison."""
    from arviz_stats.utils import ELPDData

    elpd, pareto_k = pointwise["elpd"], pointwise.get("pareto_k")
    return ELPDData(
        elpd=float(elpd.sum()),
        se=float(np.sqrt(elpd.size * elpd.var(ddof=1))),
        p=pointwise.attrs["p"],
        n_samples=pointwise.attrs["n_samples"],
        n_data_points=elpd.size,
        scale="log",
        warning=pareto_k is not None and bool((pareto_k > pointwise.attrs["good_k"]).any()),
        good_k=pointwise.attrs["good_k"],
        elpd_i=elpd,
        pareto_k=pareto_k,  # type: ignore[arg-type]
    )


def replicated_quantiles(trees: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """Return, by method and statistic, quantiles over replicated data sets and the observed value."""
    rows = []
    for method, tree in trees.items():
        if "checks" not in tree:
            continue
        found = tree["checks"].to_dataset()
        quantiles = np.quantile(found["replicated"].values, [0.01, 0.25, 0.5, 0.75, 0.99], axis=0).T
        rows += [
            (method, str(name), *of, float(observed))
            for name, of, observed in zip(found["statistic"].values, quantiles, found["observed"].values, strict=True)
        ]
    columns = ["method", "statistic", "low", "lower", "median", "upper", "high", "observed"]
    return pd.DataFrame(rows, columns=columns)


def loo_pit(pointwise: xr.Dataset) -> xr.DataTree:
    """Return the saved LOO-PIT values as group `loo_pit` with one variable a feature."""
    pit = pointwise["pit"].dropna("obs")
    values = {panel_name(f): pit.sel(feature=f).drop_vars("feature") for f in pit["feature"].values}
    return xr.DataTree.from_dict({"loo_pit": xr.Dataset(values)})


def by_feature(tree: xr.DataTree, features: Sequence[str]) -> xr.DataTree:
    """Return `posterior_predictive` and `observed_data` with one variable for each of these features."""
    groups = {}
    for group in ("posterior_predictive", "observed_data"):
        x = tree[group].to_dataset()["x"]
        groups[group] = xr.Dataset({panel_name(f): x.sel(feature=f).drop_vars("feature") for f in features})
    return xr.DataTree.from_dict(groups)


def log_density_differences(trees: Mapping[str, xr.DataTree], reference: str) -> pd.DataFrame:
    """Return quantiles over the points of each method's log predictive density minus the reference's (nats)."""
    density = {method: tree["clusters"].to_dataset()["log_predictive"].values for method, tree in trees.items()}
    differences = {m: d - density[reference] for m, d in density.items() if m != reference}
    return pd.DataFrame(differences).quantile([0.025, 0.5, 0.975]).T
