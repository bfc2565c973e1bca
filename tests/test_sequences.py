"""The pass over sequences, against sums over all paths."""

from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp
from test_conformance import FAMILIES, draw, log_densities, problem

from mixtures import Bernoulli, DiagonalGaussian, Gaussian, Markov, Sequences, SphericalGaussian, TiedGaussian
from mixtures.engines import sequences
from mixtures.engines.responsibilities import fold

every_family = pytest.mark.parametrize("Family", FAMILIES, ids=lambda f: f.name)
ENGINES = ["plain", "auto"]


def paths(T, K):
    """All paths of T states, (K^T, T)."""
    return np.array(list(product(range(K), repeat=T)))


def enumerated(log_rho, log_pi, log_A):
    """log_z, smoothed r (T, K), transitions (K, K) and the most probable path, by the sum over all paths of one sequence."""
    T, K = log_rho.shape
    z = paths(T, K)
    log_p = log_pi[z[:, 0]] + log_rho[np.arange(T), z].sum(1) + log_A[z[:, :-1], z[:, 1:]].sum(1)
    log_z = logsumexp(log_p)
    p = np.exp(log_p - log_z)
    one_hot = np.eye(K)[z]
    pairs = np.einsum("p,ptj,ptk->jk", p, one_hot[:, :-1], one_hot[:, 1:])
    return log_z, np.tensordot(p, one_hot, 1), pairs, (z[np.argmax(log_p)], log_p.max())


def chain(K, rng, total=1.0):
    """log pi and log A whose rows sum to ``total``."""
    return np.log(rng.dirichlet(np.ones(K)) * total), np.log(rng.dirichlet(np.ones(K), K) * total)


def parameters(family, s, K, rng, total=1.0):
    """eta (K, P + 1 + K) with its parts: log pi, log A and theta."""
    log_pi, log_A = chain(K, rng, total)
    theta = draw(family, s, rng)
    return fold(np.column_stack([log_pi, log_A]), family.natural(theta)), log_pi, log_A, theta


@pytest.mark.parametrize("engine", ENGINES)
@every_family
@pytest.mark.parametrize(("K", "lengths"), [(2, [5, 1, 3]), (3, [4, 2]), (1, [3, 1]), (3, [1])])
def test_pass_is_the_sum_over_all_paths(K, lengths, Family, engine, rng):
    """Of natural parameters, and of pi and A that do not sum to one, as under expectations of their logarithms."""
    family, _, s, x = problem(2, K, rng, n=max(12, sum(lengths)), Family=Family)
    x = x[: sum(lengths)]
    weights = rng.uniform(0.5, 2, len(lengths))
    rows = Sequences(x, lengths)
    for total in (1.0, 0.7):
        eta, log_pi, log_A, theta = parameters(family, s, K, rng, total)
        log_z, found = sequences.one_pass(family, rows, np.repeat(weights, lengths), engine)(eta)
        log_rho = log_densities(family, theta, x) - family.log_base(x)[:, None]
        expected_z, expected = 0.0, np.zeros_like(found)
        for w, own in zip(weights, rows.slices(), strict=True):
            z, r, pairs, _ = enumerated(log_rho[own], log_pi, log_A)
            expected_z += w * z
            expected += w * sequences.join(r.T @ family.features(x[own]), r[0], pairs)
        assert log_z == pytest.approx(expected_z, rel=1e-9)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


def gaussian(n, K, rng, D=2):
    family, _, s, x = problem(D, K, rng, n=n)
    return family, s, x


@pytest.mark.parametrize("lengths", [[60], [25, 1, 34], [1] * 60])
def test_runs_side_by_side_and_compiled_loops_give_what_plain_ones_do(lengths, rng):
    family, s, x = gaussian(60, 3, rng)
    eta = np.stack([parameters(family, s, 3, rng)[0] for _ in range(6)]).reshape(2, 3, 3, -1)
    rows, u = Sequences(x, lengths), rng.random((2, 3, 60))
    plain, compiled = (sequences.one_pass(family, rows, None, engine) for engine in ENGINES)
    for uniform in (None, u):
        for ours, reference in zip(compiled(eta, uniform), plain(eta, uniform), strict=True):
            np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(compiled(eta)[0][1, 2], compiled(eta[1, 2])[0], rtol=1e-12)


@pytest.fixture
def in_lanes(monkeypatch):
    """Series are taken side by side however short they are, and long ones are divided from 257 steps on."""
    from mixtures.engines import split

    monkeypatch.setattr(sequences, "TOGETHER", 0)
    for name, value in {"LONG": 256, "ROWS": 300, "SMALLEST_PART": 260, "OVERLAP": 4}.items():
        monkeypatch.setattr(split, name, value)
    return monkeypatch


@pytest.mark.parametrize("given", ["numbers", "streamed", "places", "densities"])
@pytest.mark.parametrize("stay", [0.0, 0.97])
@pytest.mark.parametrize(
    ("K", "lengths"), [(3, [600]), (3, [1, 2, 30, 31, 280, 9, 27, 100]), (7, [500, 80]), (2, [1] * 19), (1, [300])]
)
def test_series_side_by_side_give_what_plain_ones_do(K, lengths, stay, given, rng, in_lanes):
    """Short ones of any lengths, and long ones divided, whose parts have to be put together exactly."""
    n = sum(lengths)
    places = given in ("places", "densities")
    x = rng.integers(0, 3, (n, 1)).astype(float) if places else rng.standard_normal((n, 2))
    family = Gaussian.from_data(x, K)
    s = np.stack([family.features(x).sum(0)] * K) / K
    eta, _, log_A, _ = parameters(family, s, K, rng)
    eta[..., -K:] = np.log((1 - stay) * np.exp(log_A) + stay * np.eye(K))
    weights = np.repeat(rng.uniform(0.5, 2, len(lengths)), lengths)
    rows = Sequences(x, lengths)
    in_lanes.setattr(sequences, "MANY", 2 if given == "places" else n + 1)
    pass_ = sequences.one_pass(family, rows, weights, "auto")
    if given == "densities":
        pass_.points.__dict__["numbers"] = None
    if given == "streamed":
        in_lanes.setattr(sequences, "KEPT", 0)
    assert (pass_.points.distinct is not None) == (given == "places")
    for ours, reference in zip(pass_(eta), sequences.one_pass(family, rows, weights, "plain")(eta), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-10 * n)
    (side,) = pass_.sides.values()
    assert side.rest == 0
    assert (side.overlap > 4) == (max(lengths) > 256 and K > 1)


@pytest.mark.parametrize("make", [Gaussian, TiedGaussian, DiagonalGaussian, SphericalGaussian, Bernoulli])
def test_products_of_coordinates_are_summed_in_tiles_of_any_size(make, rng, in_lanes):
    """Six features and five states, which fill no tile."""
    x = rng.standard_normal((600, 6))
    x = (x > 0).astype(float) if make is Bernoulli else x
    family = make.from_data(x, 5)
    eta = parameters(family, np.stack([family.features(x).sum(0)] * 5) / 5, 5, rng)[0]
    rows = Sequences(x)
    found, expected = (sequences.one_pass(family, rows, None, engine)(eta) for engine in ("auto", "plain"))
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=6e-8)


def test_overlaps_grow_until_parts_meet(rng, in_lanes):
    """A chain that hardly forgets is divided no more after some passes, and one pass over it is right all the same."""
    from mixtures.engines import split

    in_lanes.setattr(split, "LONGEST", 8)
    family, s, x = gaussian(600, 2, rng)
    eta = parameters(family, s, 2, rng)[0]
    eta[:] = eta[:1]
    eta[..., -2:] = np.log([[0.999, 0.001], [0.002, 0.998]])
    pass_, rows = sequences.one_pass(family, Sequences(x), None, "auto"), Sequences(x)
    for _ in range(2):
        for ours, reference in zip(pass_(eta), sequences.one_pass(family, rows, None, "plain")(eta), strict=True):
            np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-7)
    (side,) = pass_.sides.values()
    assert side.overlap == 8
    assert side.rest == split.REST - 1


@pytest.mark.parametrize(
    ("A", "lengths"),
    [
        ([[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]], [40] * 20),
        ([[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.2, 0.0, 0.8]], [1800]),
    ],
    ids=["left", "ring"],
)
def test_transitions_of_probability_zero_go_side_by_side(A, lengths, rng, in_lanes):
    """Left to right in many series, or round in one that is divided: as by the plain pass, and lanes are not given up."""
    x = np.repeat([0.0, 3.0, 6.0], 10)[np.arange(sum(lengths)) % 30, None] + rng.standard_normal((sum(lengths), 1))
    family = Gaussian.from_data(x, 3)
    theta = family.from_data_units({"means": np.array([[0.0], [3.0], [6.0]]), "covariances": np.ones((3, 1, 1))})
    with np.errstate(divide="ignore"):
        eta = np.column_stack([family.natural(theta), np.log([0.6, 0.4, 0.0]), np.log(A)])
    rows = Sequences(x, lengths)
    pass_ = sequences.one_pass(family, rows, None, "auto")
    for ours, reference in zip(pass_(eta), sequences.one_pass(family, rows, None, "plain")(eta), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-9)
    (side,) = pass_.sides.values()
    assert side.rest == 0


def test_states_that_cannot_be_reached_are_lost_from_neither_end(rng):
    """The two recursions of a short series meet, whatever zeros there are, unless what is likely is impossible."""
    from mixtures.engines import both_ends

    def through(log_rho, A):
        r, pairs = log_rho.T.copy(), np.empty((3, 3))
        log_z = both_ends.through(r, np.ones(1), np.array([0, len(log_rho)]), np.array([1.0, 0.0, 0.0]), A, pairs)
        return log_z, r.T, pairs

    log_rho = 3 * rng.standard_normal((50, 3))
    logs = (np.log(np.maximum(p, 1e-300)) for p in ([1.0, 0.0, 0.0], LEFT_TO_RIGHT))
    expected = sequences.through(log_rho, *logs)
    for ours, reference in zip(through(log_rho, LEFT_TO_RIGHT), expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-11, atol=1e-12)
    assert np.isnan(through(log_rho - [500.0, 0.0, 0.0], np.eye(3))[0])
    assert np.isnan(through(log_rho, np.zeros((3, 3)))[0])


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize("A", ["dense", "left"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_nothing_underflows_side_by_side(A, scale, rng, in_lanes):
    """Of points that are all but impossible in some states, with transitions that are zero and without."""
    family = Gaussian.from_data(rng.standard_normal((300, 1)), 3)
    x = scale * rng.standard_normal((300, 1))
    theta = {"means": np.array([[-1.0], [0.0], [1.0]]), "covariances": np.full((3, 1, 1), 0.5)}
    weights = np.column_stack([np.full(3, 1 / 3), np.full((3, 3), 1 / 3) if A == "dense" else LEFT_TO_RIGHT])
    eta = fold(Markov.symmetric(3).natural(weights), family.natural(theta))
    rows = Sequences(x, [270, 20, 10])
    found, expected = (sequences.one_pass(family, rows, None, engine)(eta) for engine in ("auto", "plain"))
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(found[1][:, -4:], expected[1][:, -4:], rtol=1e-9, atol=1e-9)


def test_a_weight_counts_a_sequence_as_often(rng):
    family, s, x = gaussian(30, 2, rng)
    eta = parameters(family, s, 2, rng)[0]
    once = sequences.one_pass(family, Sequences(x, [10, 20]), np.repeat([3.0, 1.0], [10, 20]), "auto")(eta)
    again = sequences.one_pass(
        family, Sequences(x[[*range(10)] * 3 + [*range(10, 30)]], [10, 10, 10, 20]), None, "auto"
    )
    for ours, expected in zip(once, again(eta), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


@pytest.mark.parametrize("drawn", [False, True])
def test_long_sequences_are_read_in_spans(drawn, rng, monkeypatch):
    family, s, x = gaussian(500, 3, rng)
    eta = np.stack([parameters(family, s, 3, rng)[0] for _ in range(2)])
    rows, u = Sequences(x.astype(np.float32), [7, 300, 3, 190]), rng.random((2, 500)) if drawn else None
    pass_ = sequences.one_pass(family, rows, np.repeat([2.0, 0.5, 1.0, 3.0], rows.lengths), "auto")
    whole = pass_(eta, u)
    monkeypatch.setattr(sequences, "SPAN", 2 * 3 * 37)
    monkeypatch.setattr(sequences, "KEPT", 0)
    again = sequences.one_pass(family, rows, pass_.weights, "auto")(eta, u)
    for ours, expected in zip(again, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("threads", [1, 10**9])
def test_threads_change_nothing(threads, rng, monkeypatch):
    family, s, x = gaussian(400, 2, rng)
    eta = np.stack([parameters(family, s, 2, rng)[0] for _ in range(3)])
    rows = Sequences(x, [20] * 20)
    expected = sequences.one_pass(family, rows, None, "plain")(eta)
    monkeypatch.setattr(sequences, "SEQUENTIAL", threads)
    for ours, reference in zip(sequences.one_pass(family, rows, None, "auto")(eta), expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("Family", [f for f in FAMILIES if not f.gaussian], ids=lambda f: f.name)
def test_equal_rows_are_read_once(Family, rng, monkeypatch):
    family, _, s, x = problem(1, 2, rng, n=40, Family=Family)
    x = np.tile(x[:8], (5, 1))
    eta = parameters(family, s, 2, rng)[0]
    expected = sequences.one_pass(family, Sequences(x), None, "plain")(eta)
    monkeypatch.setattr(sequences, "MANY", 10)
    pass_ = sequences.one_pass(family, Sequences(x), None, "auto")
    assert pass_.points.distinct is not None
    for ours, reference in zip(pass_(eta), expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-10, atol=1e-9)


LEFT_TO_RIGHT = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])


@pytest.mark.robustness("numbers")
@pytest.mark.parametrize(
    "A", [np.full((3, 3), 1 / 3), LEFT_TO_RIGHT, np.eye(3)[[1, 2, 0]]], ids=["dense", "left", "ring"]
)
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_nothing_underflows(A, scale, rng):
    """Paths that the chain forces, through points that are all but impossible in its states."""
    log_rho = -scale * rng.random((7, 3))
    log_pi, log_A = np.log([1, 1e-300, 1e-300]), np.log(np.maximum(A, 1e-300))
    log_z, r, _, (path, best) = enumerated(log_rho, log_pi, log_A)
    edges = np.array([0, 7])
    alpha, scales = sequences.filtered(log_rho[None], log_pi[None], log_A[None], edges)
    assert scales.sum() == pytest.approx(log_z, rel=1e-12)
    np.testing.assert_allclose(alpha.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(sequences.smoothed(log_rho[None], log_pi[None], log_A[None], edges)[0], r, atol=1e-9)
    states, value = sequences.viterbi(log_rho, log_pi, log_A, edges)
    assert value == pytest.approx([best], rel=1e-12)
    np.testing.assert_array_equal(states, path)
    own_z, own_r, _ = sequences.through(log_rho, log_pi, log_A)
    assert own_z == pytest.approx(log_z, rel=1e-12)
    np.testing.assert_allclose(own_r, r, atol=1e-9)


@pytest.mark.robustness("numbers")
def test_a_point_that_no_state_allows_makes_a_sequence_impossible(rng):
    log_rho = rng.standard_normal((5, 2))
    log_rho[2] = -np.inf
    log_pi, log_A = chain(2, rng)
    alpha, scales = sequences.filtered(log_rho[None], log_pi[None], log_A[None], np.array([0, 5]))
    assert scales[0, 2] == scales.sum() == -np.inf
    np.testing.assert_allclose(alpha.sum(-1), 1)
    assert np.isfinite(sequences.smoothed(log_rho[None], log_pi[None], log_A[None], np.array([0, 5]))).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_drawn_paths_have_the_probabilities_of_paths(engine, rng):
    """Counts of all paths of a short sequence against multinomial errors."""
    family, s, x = gaussian(12, 2, rng, D=1)
    x, draws = x[:4], 4000
    eta, log_pi, log_A, theta = parameters(family, s, 2, rng)
    log_rho = log_densities(family, theta, x)
    z = paths(4, 2)
    log_p = log_pi[z[:, 0]] + log_rho[np.arange(4), z].sum(1) + log_A[z[:, :-1], z[:, 1:]].sum(1)
    p = np.exp(log_p - logsumexp(log_p))
    pass_ = sequences.one_pass(family, Sequences(x), None, engine)
    _, found = pass_(np.broadcast_to(eta, (draws, *eta.shape)).copy(), rng.random((draws, 4)))
    expected = [Markov.symmetric(2).labelled(path, x, 2) for path in z]
    codes = [np.concatenate([c.ravel(), np.eye(2)[path].T @ x[:, 0]]) for c, path in zip(expected, z, strict=True)]
    drawn = np.concatenate(
        [found[..., -3:].reshape(draws, -1), found[..., 1] * family.unit + family.origin * found[..., 0]], 1
    )
    place = np.argmin(np.abs(drawn[:, None] - np.array(codes)).sum(-1), axis=1)
    share = np.bincount(place, minlength=len(z)) / draws
    assert np.abs((share - p) / np.sqrt(p * (1 - p) / draws + 1e-12)).max() < 5


def test_constant_memory_reads_a_memory_map(tmp_path, rng, monkeypatch):
    path = tmp_path / "x.npy"
    x = rng.standard_normal((3000, 2))
    np.save(path, x)
    family = Gaussian.from_data(x, 2)
    eta = parameters(family, np.stack([family.features(x).sum(0)] * 2) / 2, 2, rng)[0]
    monkeypatch.setattr(sequences, "SPAN", 500)
    monkeypatch.setattr(sequences, "KEPT", 100)
    mapped = Sequences(np.load(path, mmap_mode="r"))
    assert isinstance(mapped.x.base, np.memmap)
    found = sequences.one_pass(family, mapped, None, "auto")(eta)
    for ours, expected in zip(found, sequences.one_pass(family, Sequences(x), None, "plain")(eta), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.robustness("errors")
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([2, 2], "add up to 4; x has 5 rows"),
        ([5, 0], r"lengths is \[5, 0\]; expected the number of rows"),
        ([6, -1], "at least 1"),
        ([2.5, 2.5], "expected the number of rows"),
        ([], "at least 1"),
        (["2", "3"], "expected the number of rows"),
    ],
)
def test_lengths_that_are_none_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        Sequences(np.zeros((5, 1)), lengths)


def test_sequences_are_rows():
    x = np.arange(5.0)[:, None]
    rows = Sequences(x, [2, 3])
    assert [part.ravel().tolist() for part in rows] == [[0, 1], [2, 3, 4]]
    assert len(rows) == 5
    np.testing.assert_array_equal(np.asarray(rows), x)
    assert Sequences(rows).edges.tolist() == [0, 2, 5]
