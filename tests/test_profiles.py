"""Profiles of clusters: the numbers, and figures of 2 to 64 items in which nothing is clipped, crowded or without a name."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reports.metrics.profile import Entry, entries, profile, separation, standard
from reports.page.profiles import cells_words
from reports.plots.counts import plot_counts
from reports.plots.heat import plot_heat, plot_residuals
from reports.plots.profile import plot_profile, plot_profiles
from reports.plots.tiles import plot_tiles

LONG = [
    "hears voices at night",
    "understood by the doctor",
    "appetite and weight",
    "x",
    "activity",
    "sleep",
    "is of low spirits",
]


def draws(values, dims, **coords):
    return xr.Dataset(
        {name: (("chain", "draw", "cluster", *dims[name]), v) for name, v in values.items()}, coords=coords
    )


def binary(K, D, *, S=20, names=None, seed=1):
    """The profile of K clusters in D binary items."""
    rng = np.random.default_rng(seed)
    names = names or [f"item{d}" for d in range(D)]
    p = rng.beta(3, 3, (1, S, K, D))
    posterior = draws({"probabilities": p}, {"probabilities": ("feature",)}, cluster=range(K), feature=names)
    return profile(posterior, names, dict.fromkeys(names, ("no", "yes")))


def nominal(K, D, C):
    names = [f"a question with a long name {d}" for d in range(D)]
    p = np.random.default_rng(1).dirichlet(np.ones(C), (1, 20, K, D))
    posterior = draws({"probabilities": p}, {"probabilities": ("feature", "level")}, cluster=range(K), feature=names)
    return profile(posterior, names, dict.fromkeys(names, tuple(f"{c} an answer with many words" for c in range(C))))


def mixed(S=10):
    """Two numbers, a count and two nominal columns, of which the first is padded."""
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(3), (1, S, 2, 2))
    p[..., 0, 1] += p[..., 0, 2]
    p[..., 0, 2] = 0
    values = {"means": rng.normal(size=(1, S, 2, 2)), "rates": rng.gamma(3, size=(1, S, 2, 1)), "probabilities": p}
    dims = {"means": ("number",), "rates": ("count",), "probabilities": ("nominal", "level")}
    named = {"number": ["mass", "bill"], "count": ["visits"], "nominal": ["sex", "island"]}
    return draws(values, dims, cluster=[0, 1], **named), values


FEATURES = ["sex", "mass", "visits", "island", "bill"]
LEVELS = {"sex": ("f", "m"), "island": ("A", "B", "C")}


def test_profiles_have_a_row_for_what_is_free_in_the_order_of_the_table():
    posterior, values = mixed()
    found = profile(posterior, FEATURES, LEVELS)
    assert entries(found) == [
        Entry("sex", "m", "probability"),
        Entry("mass", "", "mean"),
        Entry("visits", "", "rate"),
        *(Entry("island", level, "probability") for level in "ABC"),
        Entry("bill", "", "mean"),
    ]
    assert found["label"].values.tolist()[:2] == ["sex: m", "mass"]
    expected = np.quantile(values["probabilities"][0, :, 1, 1, 2], [0.05, 0.5, 0.95])
    np.testing.assert_allclose(found["value"].values[:, 5, 1], expected)
    np.testing.assert_allclose(found["value"].values[1, 6], np.median(values["means"][0, :, :, 1], axis=0))


def test_a_point_has_no_intervals_and_a_level_that_all_share_no_name():
    found = binary(2, 3, S=1)
    assert np.isnan(found["value"].sel(quantile=[0.05, 0.95])).all()
    assert np.isfinite(found["value"].sel(quantile=0.5)).all()
    assert found["label"].values.tolist() == ["item0", "item1", "item2"]


def test_profiles_are_measured_from_the_mean_of_all_rows():
    posterior, _ = mixed(1)
    found = profile(posterior, FEATURES, LEVELS)
    rng = np.random.default_rng(5)
    x = np.column_stack(
        [rng.integers(2, size=9), rng.normal(size=(9, 1)), rng.poisson(2, 9), rng.integers(3, size=9), np.ones(9)]
    )
    x[0, 1] = np.nan
    scaled = standard(found, x, FEATURES, LEVELS)
    median = found["value"].sel(quantile=0.5).values
    mass = x[1:, 1]
    np.testing.assert_allclose(scaled[1], (median[1] - mass.mean()) / mass.std())
    share = np.mean(x[:, 3] == 1)
    np.testing.assert_allclose(scaled[4], (median[4] - share) / np.sqrt(share * (1 - share)))
    assert (scaled[6] == 0).all()  # it does not vary
    w = np.array([0.3, 0.7])
    apart = separation(scaled, list(found["feature"].values), w)
    own = scaled.values[3:6]
    assert apart["island"] == pytest.approx((((own - own @ w[:, None]) ** 2) @ w).sum())
    assert apart["bill"] == 0


# ---- figures


def inside(figure):
    """Draw a figure, and check that no text leaves it and that no two names of an axis lie over each other."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    frame = figure.bbox
    for ax in figure.axes:
        if not ax.get_visible():
            continue
        texts = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            labels = [tick.label1 for tick in ticks if tick.label1.get_visible() and tick.label1.get_text()]
            texts += labels
            if all(label.get_rotation() in (0, 90) for label in labels):
                boxes = [label.get_window_extent() for label in labels]
                crowded = [a.overlaps(b) for a, b in pairwise(boxes)]
                assert not any(crowded), [label.get_text() for label in labels]
        for text in (t for t in texts if t.get_visible() and t.get_text()):
            box = text.get_window_extent()
            assert box.x0 >= frame.x0 - 1, text.get_text()
            assert box.x1 <= frame.x1 + 1, text.get_text()
            assert box.y0 >= frame.y0 - 1, text.get_text()
            assert box.y1 <= frame.y1 + 1, text.get_text()
    return figure


@pytest.mark.parametrize(("K", "D"), [(2, 2), (3, 7), (6, 12), (2, 16)])
def test_profiles_as_lines(K, D):
    names = LONG if D == 7 else None
    of = binary(K, D, names=names)
    ax = inside(plot_profile(of, [1 / K] * K, "probability of yes")).axes[0]
    assert len(ax.get_legend_handles_labels()[0]) == K
    methods = {"em": binary(K, D, S=1, names=names)} | dict.fromkeys(("cavi", "advi-fullrank", "gibbs", "nuts"), of)
    figure = inside(plot_profiles(methods, "nuts", [f"cluster {k}: {1 / K:.0%}" for k in range(K)], "probability"))
    assert sum(ax.get_visible() for ax in figure.axes) == K
    assert [t.get_text() for t in figure.legends[0].get_texts()][-1] == "90% interval, NUTS"


def test_rates_stand_on_a_logarithmic_axis():
    posterior, _ = mixed()
    of = profile(posterior[["rates"]], ["visits"], {})
    assert inside(plot_profile(of, [0.2, 0.8], "rate", log=True)).axes[0].get_yscale() == "log"


@pytest.mark.parametrize(("K", "D", "C", "M"), [(2, 2, 4, 1), (3, 12, 4, 5), (10, 7, 3, 6)])
def test_levels_as_cells(K, D, C, M):
    of = nominal(K, D, C)
    methods = dict.fromkeys(("em", "cavi", "advi-fullrank", "gibbs", "nuts", "smc")[:M], of)
    figure = inside(plot_heat(methods, {m: f"{m}, the reference" for m in methods}))
    assert len(figure.axes[0].get_yticklabels()) == D * C
    assert len(figure.axes[0].texts) == (K * D * C if K * M <= 16 else 0)


def test_64_items_and_mixed_columns_as_cells():
    inside(plot_heat(dict.fromkeys(("em", "nuts"), binary(10, 64)), {"em": "EM", "nuts": "NUTS"}))
    posterior, _ = mixed()
    of = profile(posterior, FEATURES, LEVELS)
    of = of.assign(standard=of["value"].sel(quantile=0.5))
    inside(plot_heat({"em": of}, {"em": "EM"}))


def test_the_bar_of_one_row_keeps_its_words():
    of = {}
    for K in (2, 3, 1):
        posterior = draws({"rates": np.ones((1, 2, K, 1))}, {"rates": ("count",)}, cluster=range(K), count=["visits"])
        own = profile(posterior, ["visits"], {})
        of[f"K = {K}"] = own.assign(standard=own["value"].sel(quantile=0.5))
    inside(plot_heat(of, {name: f"{name}: AIC, BIC, SABIC, ELBO, ELBO + log K!, evidence, BLRT" for name in of}))


def test_panels_of_unlike_numbers_of_clusters():
    of = {f"K = {K}": binary(K, 7, names=LONG) for K in (1, 2, 8)}
    figure = inside(plot_heat(of, {name: f"{name}: AIC, BIC, SABIC, evidence" for name in of}))
    assert [len(ax.get_xticks()) for ax in figure.axes[:3]] == [1, 2, 8]


@pytest.mark.parametrize(("K", "M"), [(1, 1), (2, 4), (10, 5), (13, 2)])
def test_pixels_as_pictures(K, M):
    methods = ("em", "cavi", "advi-fullrank", "gibbs", "nuts")[:M]
    values = dict.fromkeys(methods, np.random.default_rng(1).random((K, 64)))
    figure = inside(plot_tiles(values, (8, 8), dict.fromkeys(methods, [1 / K] * K), "probability of a 1"))
    shown = figure.axes[0].images
    assert len(shown) == K * M
    np.testing.assert_array_equal(shown[-1].get_array(), values["em"][-1].reshape(8, 8))


@pytest.mark.parametrize("J", [2, 7, 64])
def test_residuals_as_a_map(J):
    matrix = np.full((J, J), 2.0)
    names = LONG if J == 7 else [f"pixel_{j}" for j in range(J)]
    inside(plot_residuals(dict.fromkeys(("em", "cavi", "nuts"), matrix), names, 8.0))


@pytest.mark.parametrize("largest", [1, 9, 100])
def test_one_count_as_a_distribution(largest):
    p = np.full(largest + 1, 1 / (largest + 1))
    inside(plot_counts(p, {"em": p, "nuts": p}, "deaths"))


def test_cells_are_named_by_what_the_columns_hold():
    assert "feature: the probability of a level, coloured" in cells_words(["bernoulli", "categorical"])
    assert "the probability of a level, the rate of a count or the mean of a number" in cells_words(
        ["gaussian", "poisson", "bernoulli"]
    )
