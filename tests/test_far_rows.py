"""EM beside rows far away: the other rows have the fit that they have alone, and the far ones a component of their own."""

import contextlib
from dataclasses import replace
from functools import partial

import dask.array
import numpy as np
import pytest
import sklearn.mixture

import mixtures
from mixtures import COVARIANCES, Dirichlet, GaussianMixture, Markov
from mixtures.ascent import ascend
from mixtures.ascent.ascend import Ascent, reach
from mixtures.ascent.bulk import bulk_of
from mixtures.ascent.candidates import TRIAL
from mixtures.engines.apart import Apart, Expected, Points, read
from mixtures.engines.passes import noise, one_pass
from mixtures.engines.responsibilities import fold
from mixtures.methods import em
from mixtures.rows.reading import Repeated
from mixtures.rows.sequences import Sequences

pytestmark = pytest.mark.robustness("numbers")

FAR = (3e3, 99_999.0, 1e8, 1e11, 1e14)
EACH = ("full", "diag", "spherical")


def rows(rng, gaps, spread=5):
    """Four clusters in two columns, without or with values missing."""
    means = spread * rng.standard_normal((4, 2))
    x = np.concatenate([rng.standard_normal((60, 2)) @ rng.standard_normal((2, 2)) + mean for mean in means])
    holes = rng.random(x.shape) < 0.1 * gaps
    return np.where(holes & ~holes.all(1, keepdims=True), np.nan, x)


def fitted(x, structure, K):
    return GaussianMixture(
        K,
        covariance_type=structure,
        n_init=3,
        tol=1e-9,
        max_iter=2000,
        random_state=0,
        allow_missing=bool(np.isnan(x).any()),
    ).fit(x)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("structure", EACH)
def test_a_far_row_has_a_component_of_its_own(structure, gaps):
    """With the variance that reg_covar gives it, in closed form, the others being fitted alone; in one column and in both."""
    x = rows(np.random.default_rng(2), gaps, 20)
    n = len(x)
    alone = fitted(x, structure, 4).score(x)
    expected = (n * (alone + np.log(n)) - np.log(2 * np.pi * 1e-6)) / (n + 1) - np.log(n + 1)
    for distance in FAR[::2] if gaps else FAR:
        for row in ([distance, 1.5], [-distance, distance]):
            y = np.concatenate([x, [row]])
            mixture = fitted(y, structure, 5)
            assert mixture.score(y) == pytest.approx(expected, abs=1e-5), row
            assert mixture.lower_bound_ == pytest.approx(mixture.score(y), abs=1e-9)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_far_row_takes_no_digits_from_a_covariance_in_common(gaps):
    """As far as scikit-learn keeps its digits, and where nothing is missing, its optimum."""
    x = rows(np.random.default_rng(2), gaps, 20)
    scores = [fitted(np.concatenate([x, [[distance, 1.5]]]), "tied", 5).score(x) for distance in (1e2, *FAR[1::2])]
    np.testing.assert_allclose(scores, scores[0], atol=1e-4)
    if not gaps:
        other = sklearn.mixture.GaussianMixture(
            5, covariance_type="tied", n_init=10, tol=1e-9, max_iter=2000, random_state=0
        )
        assert scores[0] >= other.fit(np.concatenate([x, [[1e2, 1.5]]])).score(x) - 1e-4


def test_rows_are_far_by_the_spread_of_the_others(rng):
    x = rng.standard_normal((500, 3))
    x[:, 2] = rng.random(500) < 0.2  # most are equal
    x[rng.random(500) < 0.3, 1] = np.nan
    for rows_ in ([], [7], list(range(200))):
        y = x.copy()
        y[rows_, 0] = 1e5
        bulk = bulk_of(y)
        assert (bulk is None) if not rows_ else np.flatnonzero(~bulk(y)).tolist() == rows_
    constant = np.zeros((50, 1))
    constant[3] = 1e9  # beside no spread nothing is far
    assert bulk_of(constant) is None


@pytest.mark.parametrize("n", [1, 1999, 2001, 40_000])
def test_blocks_have_the_bulk_of_the_array(n, rng):
    """By the same rows, of whatever length the blocks are."""
    x = rng.standard_normal((n, 2))
    x[:: n // 3 + 1, 1] = [9999.0]
    x[rng.random((n, 2)) < 0.1] = np.nan
    expected = bulk_of(x)
    for size in (7, 1500, 5000, n):
        found = bulk_of(Repeated(np.split(x, range(size, n, size))))
        assert (found is None) == (expected is None) == (n == 1)
        if expected:
            for name, value in vars(expected).items():
                np.testing.assert_array_equal(getattr(found, name), value)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("structure", "distance"), [*((name, 1e14) for name in COVARIANCES), *((name, None) for name in EACH)]
)
def test_one_answer_wherever_the_rows_are(structure, gaps, distance):
    """In an array, in blocks, where Dask holds them, and as one of many data sets; one row far away, or a tenth as a code.

    Under a covariance in common the terms of the codes leave the likelihood of a row nine digits.
    """
    rng = np.random.default_rng(2)
    x = rows(rng, gaps, 20)
    if distance is None:
        y = x.copy()
        y[rng.random(len(x)) < 0.1, 0] = 9999
    else:
        y = np.insert(x, 100, [distance, 1.5], axis=0)
    given = (y, np.split(y, [30, 31, 160]), dask.array.from_array(y, chunks=(70, 2)))
    families = [COVARIANCES[structure].from_data(each, 5, missing=gaps) for each in given]
    options = {"reg_covar": 1e-6, "restarts": 1, "tol": 1e-13}
    labels = Dirichlet.symmetric(5)
    with dask.config.set(scheduler="synchronous"):
        fits = [em.fit(each, family, labels, rng=0, **options) for each, family in zip(given, families, strict=True)]
    fits += em.fit_many([y], families[:1], labels, rng=[0], **options)
    said = [fit.log_predictive(x) for fit in fits]
    assert np.ptp([fit.info["log_likelihood"] for fit in fits]) < 1e-10 * len(y)
    for other in said[1:]:
        np.testing.assert_allclose(other, said[0], rtol=1e-8)


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("reg_covar", [0.0, 0.3])
def test_the_pass_about_centres_of_their_own_is_that_about_one(name, reg_covar, rng):
    """Also of statistics about other centres than those of eta; the entropy is that of the responsibilities."""
    x = rows(rng, True)
    w = rng.random(len(x)) + 0.5
    family = COVARIANCES[name].from_data(x, 2, missing=True)
    Sigma = np.array([[[1.0, 0.3], [0.3, 2.0]], [[2.0, -0.4], [-0.4, 1.0]]])
    x_theta = {"means": np.array([[0.0, 1.0], [3.0, -2.0]]), "covariances": Sigma[[0, 0]] if name == "tied" else Sigma}
    theta, log_pi = family.from_data_units(x_theta), np.log([0.4, 0.6])
    eta, about = fold(log_pi, family.natural(theta)), noise(family, reg_covar)
    log_z, s = one_pass(x, w, family, 2 * len(x), reg_covar)(eta)
    at = [replace(family, origin=mean) for mean in x_theta["means"]]
    own = fold(log_pi, family.natural(theta | {"means": np.zeros((2, 2))}))
    pass_ = Apart(x, w, at, about)
    assert pass_(own)[0] == pytest.approx(log_z, rel=1e-12)
    elsewhere = [replace(family, origin=centre.origin + 0.7) for centre in at]
    for centres in (at, elsewhere):
        found = family.maximum_likelihood(read(x, w, Expected(at, own, about), centres)[1])
        found["means"] += [family.coordinates(centre.origin) for centre in centres]
        for part, value in family.maximum_likelihood(s).items():
            np.testing.assert_allclose(found[part], value, atol=1e-12)
    points = Points.of(at, x)
    r = Expected(at, own, about)(points)[1]
    assert pass_.entropy(own) == pytest.approx(-(w[points.order] @ (r * np.log(r)).sum(1)), rel=1e-9)


@pytest.mark.parametrize(
    ("structure", "seed", "collapses"),
    [("full", 4, False), ("full", 14, False), ("full", 15, False), ("full", 24, True), ("tied", 24, False)],
)
def test_few_rows_with_gaps_end_in_an_optimum_or_in_a_collapse(structure, seed, collapses):
    """Where a covariance becomes singular, the bound falls by rounding before all digits of the covariance are lost."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 3))
    x[rng.random(x.shape) < 0.4] = np.nan
    x = x[~np.isnan(x).all(1)]
    with pytest.raises(mixtures.CollapseError) if collapses else contextlib.nullcontext():
        em.fit(x, COVARIANCES[structure].from_data(x, 2, missing=True), Dirichlet.symmetric(2), rng=0, restarts=2)


@pytest.mark.parametrize("structure", COVARIANCES)
def test_beside_a_far_row_one_start_ends_as_high_as_that_of_scikit_learn(structure):
    """Each of its candidates goes on about centres of its own until one is ahead."""
    x = np.concatenate([rows(np.random.default_rng(9), False), [[1e5, 1.5]]])
    options = {"covariance_type": structure, "max_iter": 500, "random_state": 0}
    other = sklearn.mixture.GaussianMixture(5, **options).fit(x)
    assert GaussianMixture(5, **options).fit(x).score(x) > other.score(x) - 1e-3


@pytest.mark.parametrize("last", [5, 15])
def test_a_callback_ends_an_ascent_about_centres_of_their_own(last):
    x = np.concatenate([rows(np.random.default_rng(9), False), [[1e5, 1.5]]])
    steps = []

    def tell(step):
        steps.append(step)
        if len(steps) == last:
            raise StopIteration

    mixture = GaussianMixture(5, tol=0, random_state=1).fit(x, callback=tell)
    assert len(steps) == last
    assert not mixture.converged_
    assert np.isfinite(mixture.score(x))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("structure", COVARIANCES)
def test_families_fit_beside_a_far_row_as_the_drop_in_class_does(structure, gaps):
    """In coordinates of all rows, whose digits the fit then keeps in what it says of rows."""
    x = rows(np.random.default_rng(2), gaps, 20)
    for distance in (1e4, 1e10):
        y = np.concatenate([x, [[distance, 1.5]]])
        family = COVARIANCES[structure].from_data(y, 5, missing=gaps)
        fit = em.fit(y, family, Dirichlet.symmetric(5), rng=0, reg_covar=1e-6, restarts=5)
        expected = fitted(y, structure, 5).score(y)
        assert fit.info["log_likelihood"] / len(y) == pytest.approx(expected, abs=1e-5), distance
        assert fit.log_predictive(y).mean() == pytest.approx(expected, abs=1e-4), distance


def test_the_drop_in_class_has_one_answer_where_dask_holds_the_rows():
    rng = np.random.default_rng(2)
    x = rows(rng, False, 20)
    x[rng.random(len(x)) < 0.1, 1] = 999_999
    with dask.config.set(scheduler="synchronous"):
        one, other = (
            GaussianMixture(5, tol=1e-9, reg_covar=0.01, random_state=0).fit(each)
            for each in (x, dask.array.from_array(x, chunks=(70, 2)))
        )
    assert other.lower_bound_ == pytest.approx(one.lower_bound_, abs=1e-10)
    np.testing.assert_allclose(other.score_samples(x), one.score_samples(x), rtol=1e-9)


@pytest.mark.parametrize("structure", COVARIANCES)
def test_a_fit_keeps_the_digits_of_the_other_rows(structure):
    """Its parameters are a step of EM from its responsibilities, and its densities those of its parameters, in more digits."""
    x = rows(np.random.default_rng(2), False, 20)
    y = np.concatenate([x, [[1e14, 1.5]]])
    family = COVARIANCES[structure].from_data(y, 5)
    fit = em.fit(y, family, Dirichlet.symmetric(5), rng=0, reg_covar=1e-6, restarts=2, tol=0, max_iter=50)
    weights, theta = (own[0, 0] if isinstance(own, np.ndarray) else own for own in vars(fit.held).values())
    theta = {name: v[0, 0] for name, v in fit.family.to_data(theta).items()}
    near = np.flatnonzero(weights > 2 / len(y))
    assert len(near) == 4

    pi, mu, Sigma = (v[near].astype(np.longdouble) for v in (weights, theta["means"], theta["covariances"]))
    away = x - mu[:, None]
    a, b, c = Sigma[:, 0, 0, None], Sigma[:, 0, 1, None], Sigma[:, 1, 1, None]
    det = a * c - b**2
    squares = (c * away[..., 0] ** 2 - 2 * b * away[..., 0] * away[..., 1] + a * away[..., 1] ** 2) / det
    p = pi[:, None] * np.exp(-squares / 2) / (2 * np.pi * np.sqrt(det))
    r = (p / p.sum(0)).T
    np.testing.assert_allclose(fit.log_predictive(x), np.log(p.sum(0)).astype(float), rtol=1e-10)
    np.testing.assert_allclose(fit.responsibilities(x)[:, near], r.astype(float), rtol=1e-9, atol=1e-300)

    n = r.sum(0)
    means = r.T @ x / n[:, None]
    scatter = np.einsum("nk,kni,knj->kij", r, x - means[:, None], x - means[:, None])
    within, eye = scatter / n[:, None, None], np.eye(2)
    expected = {
        "full": within,
        "tied": np.broadcast_to(scatter.sum(0) / len(y), within.shape),
        "diag": within * eye,
        "spherical": np.trace(within, axis1=1, axis2=2)[:, None, None] / 2 * eye,
    }[structure] + 1e-6 * eye
    np.testing.assert_allclose(Sigma.astype(float), expected.astype(float), rtol=1e-10)
    np.testing.assert_allclose(pi.astype(float), (n / len(y)).astype(float), rtol=1e-10)
    np.testing.assert_allclose(mu.astype(float), means.astype(float), rtol=1e-10)


def test_the_terms_of_far_rows_have_their_own_rounding():
    """A bound whose terms are as large as a far row's squares may fall by their rounding."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((120, 2)), rng.standard_normal((80, 2)) @ [[1, 0.5], [0, 0.6]] + [6, 3]])
    for distance in (7.8e4, 1e5, 1.2e5, 2e5, 3e5):
        y = np.concatenate([x, [[distance, 1.0]]])
        fit = em.fit(y, COVARIANCES["tied"].from_data(y, 3), Dirichlet.symmetric(3), rng=0, reg_covar=1e-6)
        assert fit.converged


@pytest.mark.parametrize("drop_in", [False, True], ids=["method", "class"])
def test_batches_keep_the_digits_of_the_rows_that_are_not_far(drop_in):
    """The first is fitted as all rows are, and the next adds its expected counts, sums and squares."""
    rng = np.random.default_rng(0)
    near = np.concatenate([rng.normal(0, 1, (100, 2)), rng.normal(6, 1, (100, 2))])
    x, more = np.concatenate([near, 1e6 * rng.standard_normal((12, 2))]), near[::2] + 0.1
    if drop_in:
        make = partial(mixtures.GaussianMixture, 2, random_state=0, reg_covar=0)
        fitted, moved = make().fit(x), make().partial_fit(x).partial_fit(more, kappa=1)
        pi, mu, sigma = fitted.weights_, fitted.means_, fitted.covariances_
        r, found = fitted.predict_proba(more), (moved.weights_, moved.means_, moved.covariances_)
    else:
        model = COVARIANCES["full"].from_data(x, 2), Dirichlet.symmetric(2)
        first = em.partial_fit(x, *model, rng=0)
        moved = em.partial_fit(more, *model, rng=0, previous=first, kappa=1)
        np.testing.assert_allclose(_point(first)[1], _point(em.fit(x, *model, rng=0))[1], rtol=1e-9)
        (pi, mu, sigma), r, found = _point(first), first.responsibilities(more), _point(moved)
    n = len(x) * pi
    total = n + r.sum(0)
    mean = (n[:, None] * mu + r.T @ more) / total[:, None]
    np.testing.assert_allclose(found[0], total / total.sum(), rtol=1e-10)
    np.testing.assert_allclose(found[1], mean, rtol=1e-10)
    for k in range(2):
        old, new = mu[k] - mean[k], more - mean[k]
        squares = n[k] * (sigma[k] + np.outer(old, old)) + (new.T * r[:, k]) @ new
        np.testing.assert_allclose(found[2][k], squares / total[k], rtol=1e-9)


def _point(fit):
    """Weights, means and covariances of a point fit in the units of x."""
    posterior = fit.draws(1, np.random.default_rng(0))["posterior"]
    return [posterior[name].values[0, 0] for name in ("weights", "means", "covariances")]


@pytest.mark.parametrize("seed", [0, 2])
def test_few_rows_of_a_sequence_with_gaps_end_in_an_optimum(seed):
    """Where the bound falls by the rounding of an inverse of an inverse there are no digits to go on with, as of other rows."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3))
    x[20:] += 4
    x[rng.random(x.shape) < 0.45] = np.nan
    x = x[~np.isnan(x).all(1)]
    family = COVARIANCES["full"].from_data(x, 2, missing=True)
    assert em.fit(Sequences(x, None), family, Markov.symmetric(2), rng=0, restarts=2).converged


# Of every start, the limits of the ascents from its states; 7 collapses.
STARTS_THAT_ARE_TIGHT = {1: [5.0], 4: [-99.0, 5.0], 5: [-99.0], 6: [7.0], 7: [3.0, 7.0, 5.0]}


def test_ascents_about_centres_of_their_own_that_are_alike_go_on_once(monkeypatch):
    """And one that cannot come to the highest end is left. An ascent here comes nearer to the first number of its state by a
    fifth with every pass, and the second one counts them."""
    monkeypatch.setattr(ascend, "LEAST", TRIAL)
    asked = []

    def go_on(s, max_iter, own=None):
        limit, made = s[0]
        if limit > 6:
            raise mixtures.CollapseError("a cluster has collapsed")
        asked.append((limit, made))
        bound = limit - 0.8 ** (made + np.arange(1, 1 + max_iter))
        bound = bound[: 1 + int(np.argmax(bound > limit - 1e-9)) if bound[-1] > limit - 1e-9 else None]
        at, converged = np.array([[limit, made + len(bound)]]), bool(bound[-1] > limit - 1e-9)
        return Ascent(at, bound, converged, {"passes": len(bound)})

    starts = [
        (start, np.array([[[limit, 0.0]] for limit in limits])) for start, limits in STARTS_THAT_ARE_TIGHT.items()
    ]
    ends = reach(go_on, starts, 1000)
    assert [start for start, _ in ends] == [1, 4, 5, 7]
    assert [(end.bound[-1] > end.s[0, 0] - 1e-6, end.s[0, 0]) for _, end in ends] == [
        (True, 5.0),
        (True, 5.0),
        (False, -99.0),
        (True, 5.0),
    ]
    assert [limit for limit, made in asked if made == 0] == [5.0, -99.0, 3.0]
    assert [limit for limit, made in asked if made > 0] == [5.0]
    assert reach(go_on, starts[:1], 1000, aim=1e9)[0][1].s[0, 1] == TRIAL
    monkeypatch.setattr(ascend, "LEAST", 50)  # a saddle point may lie before
    assert reach(go_on, starts[:1], 1000, aim=1e9)[0][1].s[0, 1] == 50


def test_an_ascent_beside_a_far_row_is_not_left_at_a_saddle_point(monkeypatch):
    """The best one gains next to nothing for a thousand passes, below another one that has ended, and ends as high as if none
    were ever left."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(20, 2)), rng.normal(5, 1, (20, 2))])
    x[rng.random(x.shape) < 0.2] = np.nan
    x[7, 0] = 1e6
    model = COVARIANCES["full"].from_data(x, 3, missing=True), Dirichlet.symmetric(3)
    options = {"rng": 0, "reg_covar": 1e-3, "max_iter": 10_000}
    end = em.fit(x, *model, **options).bound[-1]
    monkeypatch.setattr(ascend, "PATIENCE", np.inf)
    assert end == pytest.approx(em.fit(x, *model, **options).bound[-1], abs=1e-6)
