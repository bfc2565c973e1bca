"""What the page says of chains, energies and optimisers, and the bands behind its pictures."""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from reports import Results, compare
from reports.page import uniformity
from reports.page.convergence import convergence, higher_likelihood, outcome, starts
from reports.page.trust import check_cell, ranks, reference, traces
from reports.page.view import View
from reports.plots import style


def table(section, caption):
    """The rows of a table as text, by the method of each."""
    found = next(block for block in section.blocks if block.kind == "table" and block.caption.startswith(caption))
    return {row[0].text: dict(zip(found.columns, row, strict=True)) for row in found.rows}


def normal(rng, names="ab", draws=200):
    return xr.Dataset({name: (("chain", "draw"), rng.standard_normal((4, draws))) for name in names})


@pytest.fixture(scope="module")
def sampled():
    """EM, CAVI and Gibbs, whose draws get the statistics of a Hamiltonian sampler: three trees of 800 at the limit."""
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(0, 1, 40), rng.normal(7, 1, 30)])[:, None]
    results = compare(x, 2, rng=rng, methods=("em", "cavi", "gibbs"), draws=200, restarts=2).results
    manifest, trees = deepcopy(results.manifest), dict(results.trees)
    manifest["methods"]["gibbs"]["info"]["max_tree_depth"] = 10
    tree = trees["gibbs"].copy()
    tree["sample_stats"] = (
        tree["sample_stats"].to_dataset().assign(energy=(("chain", "draw"), rng.normal(size=(4, 200))))
    )
    trees["gibbs"] = tree
    rows = [("gibbs", "ebfmi", f"chain {c}", 0.2 + 0.3 * c, np.nan) for c in range(4)]
    rows += [("gibbs", "ebfmi_min", "all", 0.2, np.nan), ("gibbs", "divergences", "all", 2.0, np.nan)]
    rows += [("gibbs", "tree_depth_saturated", "all", 3 / 800, np.nan)]
    metrics = pd.concat([results.metrics, pd.DataFrame(rows, columns=results.metrics.columns)], ignore_index=True)
    return Results(manifest, metrics, results.data, trees)


def test_equal_chains_stay_in_the_band_as_often_as_it_says(rng):
    """Of 200 panels 2 are outside by chance; more than 9 with probability 5e-5."""
    left = uniformity.astray(uniformity.ranks(normal(rng, [f"p{i}" for i in range(200)], draws=100)))
    assert len(left) <= 9


@pytest.mark.parametrize("draws", [20, 64, 100])
def test_the_band_holds_all_chains_as_often_as_it_says_and_is_narrow(draws, rng):
    """1000 sets of four chains: 10 leave it by chance, up to 30 with the error of its level."""
    rank, low, high = uniformity._band(draws, 4)
    left = 0
    for _ in range(1000):
        chain = rng.permutation(np.repeat(np.arange(4), draws))
        share = np.vstack([np.zeros(4), (chain[:, None] == np.arange(4)).cumsum(0)[3::4] / draws]) - rank[:, None]
        left += bool(((share < low[:, None] - 1e-9) | (share > high[:, None] + 1e-9)).any())
    assert 1 <= left <= 30
    assert high.max() < 2 / np.sqrt(draws)
    assert low[0] == high[0] == low[-1] == high[-1] == 0


def test_a_chain_elsewhere_leaves_the_band_even_if_all_mix_slowly(rng):
    """Autoregressive chains, of which few draws are effective: one is moved by two sds in one parameter."""
    noise = rng.standard_normal((2, 4, 1000))
    slow = np.zeros_like(noise)
    for t in range(1, 1000):
        slow[..., t] = 0.8 * slow[..., t - 1] + 0.6 * noise[..., t]
    slow[0, 2] += 2
    ranks = uniformity.ranks(xr.Dataset({name: (("chain", "draw"), v) for name, v in zip("ab", slow, strict=True)}))
    assert uniformity.astray(ranks) == ["a"]
    assert ranks.attrs["draws"] <= uniformity.RANKED
    assert ranks["difference"].sizes["chain"] == 4


def test_few_effective_draws_are_ranked_as_few(rng):
    repeated = normal(rng, draws=30).isel(draw=np.repeat(np.arange(30), 20))
    assert uniformity.ranks(repeated).attrs["draws"] < 60


@pytest.mark.parametrize("n", [60, 2000])
def test_uniform_values_stay_in_the_band_and_others_leave_it(n, rng):
    band = uniformity.pit_band(n)
    values = {"uniform": rng.random(n), "narrow": rng.beta(3, 3, n), "low": rng.beta(1, 2, n)}
    pit = xr.Dataset({name: ("obs", v) for name, v in values.items()}).to_array("feature").transpose("obs", "feature")
    assert uniformity.outside(pit, band) == ["narrow", "low"]
    z, low, high = band
    assert np.all(low <= 0)
    assert np.all(high >= 0)
    assert np.all((z > 0) & (z < 1))


def test_the_parameters_with_the_largest_rhat_are_drawn_and_those_astray_named(sampled, monkeypatch):
    seen = {}
    monkeypatch.setattr("reports.page.trust.image", lambda figure, alt, **_: seen.setdefault(alt, figure))
    tree = sampled.trees["gibbs"].copy()
    posterior = tree["posterior"].to_dataset().copy(deep=True)
    posterior["means"][2, :, 0] += 5
    tree["posterior"] = posterior
    metrics = sampled.metrics.copy()
    metrics.loc[(metrics["metric"] == "rhat") & (metrics["target"] == "means[0, x0]"), "value"] = 1.7
    view = View(Results(sampled.manifest, metrics, sampled.data, sampled.trees | {"gibbs": tree}))
    caption = traces(view, "gibbs").caption
    (drawn,) = ranks(view, "gibbs")
    assert "Lines leave it for means[0, x0]." in drawn.caption
    assert next(iter(seen)).startswith("Traces of Gibbs: means[0, x0]")
    figure = seen[next(alt for alt in seen if alt.startswith("Rank plots"))]
    assert figure.axes[0].get_yticklabels()  # numbers on the axis of ranks
    assert [line.get_color() for line in figure.axes[0].lines[1:]] == list(style.CHAINS[:4])
    assert "one colour a chain" in caption
    (unmoved,) = ranks(View(sampled), "gibbs")
    assert "Here every line does." in unmoved.caption


def test_the_diagnostics_of_a_sampler_are_those_of_the_table(sampled, monkeypatch):
    monkeypatch.setattr("reports.page.convergence.image", lambda figure, alt, **_: None)
    section = convergence(View(sampled))
    (row,) = table(section, "Diagnostics").values()
    assert row["chains × draws"].text == "4 × 200"
    assert row["divergent transitions"].text == "2"
    assert (row["trees at the depth limit"].text, row["trees at the depth limit"].note) == ("0.4%", "limit 10")
    assert row["E-BFMI by chain"].text == "0.20, 0.50, 0.80, 1.10"
    rhat = sampled.metrics.set_index(["method", "metric"]).loc[("gibbs", "rhat_max"), "value"]
    assert float(row["largest R-hat"].text) == pytest.approx(rhat, abs=5e-4)
    outcomes = table(section, "Outcome")
    once, twice = "best of 2 starts, found once", "best of 2 starts, found 2 times"
    assert {outcomes[method]["starts"].text for method in ("EM", "CAVI")} <= {once, twice}
    assert outcomes["Gibbs"]["starts"].text == "–"


@pytest.mark.robustness("numbers")
def test_starts_and_a_higher_likelihood_elsewhere_are_told(sampled):
    """The sentences of page and terminal; none where EM's likelihood is the highest, as it should be, or has a ridge."""
    assert higher_likelihood(View(sampled)) is None
    own = sampled.metrics.query("metric == 'log_likelihood'").set_index(["method", "target"])["value"]
    assert set(own.index) == {("em", "point"), ("cavi", "mean"), ("gibbs", "draw")}
    assert own["em", "point"] > own["gibbs", "draw"] > own["gibbs", "draw"] - 5 > own["em", "point"] - 10

    manifest, metrics = deepcopy(sampled.manifest), sampled.metrics.copy()
    manifest["methods"]["em"]["info"] |= {"restarts": 10, "reached": 4, "collapsed": 3}
    at_mean = (metrics["metric"] == "log_likelihood") & (metrics["method"] == "cavi")
    metrics.loc[at_mean, "value"] = own["em", "point"] + 70.0  # of 70 points
    view = View(Results(manifest, metrics, sampled.data, sampled.trees))
    assert starts(view)[0] == "EM: best of 10 starts, found 4 times; 3 collapsed."
    assert outcome(view, "em")[2].text == "best of 10 starts, found 4 times; 3 collapsed"
    assert not any(block.kind == "bullets" for block in convergence(view).blocks)
    told = higher_likelihood(view)
    level = own["em", "point"] / 70
    assert (
        f"{level:.4f} nats a point at its best optimum, {level + 1:.4f} at the posterior mean of CAVI".replace("-", "−")
        in told
    )
    assert "3 of its 10 starts collapsed" in told
    assert told in [block.text for block in convergence(view).blocks if block.kind == "notice"]
    manifest["methods"]["em"]["options"]["reg_covar"] = 1e-3
    assert higher_likelihood(view) is None


def test_what_advi_gained_while_its_rate_fell_is_told_beside_the_limit(sampled):
    manifest = deepcopy(sampled.manifest)
    advi = manifest["methods"]["cavi"] | {
        "info": {"restarts": 4, "reached": 3, "failed": 1, "rise": 0.0123, "rise_se": 0.004}
    }
    manifest["methods"]["advi"] = advi
    view = View(Results(manifest, sampled.metrics, sampled.data, sampled.trees))
    words = [cell.text for cell in outcome(view, "advi")]
    assert words[1:3] == ["✓ converged", "best of 4 starts, found 3 times; 1 failed"]
    assert "0.0123 ± 0.0040 nats while the learning rate fell, limit 0.1" in words[3]


def test_exchanges_that_gibbs_makes_on_purpose_are_no_switches(sampled):
    assert sampled.manifest["relabelling"]["gibbs"]["switched"] is None
    assert sampled.manifest["relabelling"]["gibbs"]["moved"] > 0.2


def test_without_energies_there_is_no_picture_of_them(sampled, monkeypatch):
    drawn = []
    monkeypatch.setattr("reports.page.convergence.image", lambda figure, alt, **_: drawn.append((alt, figure)))
    convergence(View(sampled))
    alt, figure = drawn[-1]
    assert alt == "Energies of Gibbs and their changes between draws; smallest E-BFMI 0.20, limit 0.3"
    assert [ax.get_xlabel() for ax in figure.axes] == ["E-BFMI", "energy less its mean (nats)"]
    drawn.clear()
    metrics = sampled.metrics[~sampled.metrics["metric"].str.startswith("ebfmi")]
    section = convergence(View(Results(sampled.manifest, metrics, sampled.data, sampled.trees)))
    assert len(drawn) == 1
    assert table(section, "Diagnostics")["Gibbs"]["E-BFMI by chain"].text == "–"
    none = metrics[~metrics["metric"].isin(["divergences", "tree_depth_saturated"])]
    section = convergence(View(Results(sampled.manifest, none, sampled.data, sampled.trees)))
    assert {"E-BFMI by chain", "divergent transitions"}.isdisjoint(table(section, "Diagnostics")["Gibbs"])


def test_panels_of_many_objectives_wrap():
    from reports.plots.bounds import plot_bounds

    traces = {f"m{i}": pd.Series(-1.0 / np.arange(1, 9)) for i in range(7)}
    figure = plot_bounds(traces, dict.fromkeys(traces, ("pass", "log joint density at the mode (nats)")))
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes if ax.get_visible()]
    assert len(boxes) == 7
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_reference_section_draws_its_chains(sampled, monkeypatch):
    drawn = []
    monkeypatch.setattr("reports.page.trust.image", lambda figure, alt, **_: drawn.append(alt))
    reference(View(sampled))
    assert [alt.split(" for ")[0].split(":")[0] for alt in drawn] == ["Traces of Gibbs", "Rank plots of Gibbs"]


def test_ranks_of_a_sampler_that_failed_are_drawn_too(sampled, monkeypatch):
    drawn = []
    monkeypatch.setattr("reports.page.trust.image", lambda figure, alt, **_: drawn.append(alt))
    manifest = deepcopy(sampled.manifest)
    manifest["methods"]["mine"] = manifest["methods"]["gibbs"]
    for trusted in (True, False):
        manifest["references"]["mine"] = manifest["references"]["gibbs"] | {"method": "mine", "trusted": trusted}
        trees = sampled.trees | {"mine": sampled.trees["gibbs"]}
        reference(View(Results(manifest, sampled.metrics, sampled.data, trees)))
        assert len([alt for alt in drawn if alt.startswith("Rank plots of mine")]) == 1 - trusted


def test_what_was_found_of_a_reference_is_written_as_everywhere():
    found = {
        "largest R-hat": 1.00287,
        "smallest tail ESS": 9.2,
        "smallest E-BFMI": 0.9555,
        "divergent transitions": 0.0,
    }
    texts = [check_cell({"name": name, "value": value, "passed": True}).text for name, value in found.items()]
    assert texts == ["✓ 1.003", "✓ 9", "✓ 0.96", "✓ 0"]
