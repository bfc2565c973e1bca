"""All four methods on one small data set: the main job as one test."""

import numpy as np
import pytest
from conftest import three_clusters

from mixtures import datasets
from reports import Results, compare
from reports.page import render


@pytest.fixture(scope="module")
def result():
    data = datasets.simulate(80, 2, 2, separation=12.0, rng=np.random.default_rng(3))
    return compare(
        data.x,
        2,
        rng=np.random.default_rng(0),
        labels=data.labels,
        truth=data.truth,
        test_fraction=0.2,
        draws=500,
        tune=500,
        advi_steps=4000,
    )


def test_every_method_succeeds_and_the_reference_passes(result):
    assert result.failures == {}
    assert list(result.fits) == ["em", "cavi", "advi", "nuts", "gibbs"]
    reference = result.results.manifest["reference"]
    assert reference["method"] == "nuts"
    assert reference["trusted"], reference


def test_every_metric_of_the_contract_is_there(result):
    expected = {
        "train_log_density", "heldout_log_density", "bound", "khat", "median_shift", "width_ratio", "coverage95", "wasserstein",
        "rhat_max", "ess_min", "divergences", "ari", "ami", "accuracy", "brier", "seconds_compile", "seconds_run",
    }  # fmt: skip
    assert expected <= set(result.results.metrics["metric"])
    per_method = result.results.metrics.groupby("method")["metric"].agg(set)
    assert not {"width_ratio", "coverage95", "wasserstein", "khat", "elpd_loo"} & per_method["em"]
    assert {"elpd_loo_refitted", "elpd_loo_approximate", "bound_marginal"} <= per_method["cavi"]
    assert "elpd_loo_approximate" in per_method["advi"]
    assert not {"elpd_loo", "elpd_loo_refitted"} & per_method["advi"]
    assert all("ppc_p" in metrics for method, metrics in per_method.items() if method != "oracle")
    assert {"elpd_loo", "loo_khat_bad"} <= per_method["nuts"]
    assert not {"median_shift", "khat", "bound"} & per_method["nuts"]
    assert {"seconds_compile", "khat"} <= per_method["advi"]


def test_well_separated_clusters_make_the_methods_agree(result):
    """With twelve sds between the clusters CAVI's factorisation costs next to nothing, so NUTS must confirm it."""
    metrics = result.results.metrics.set_index(["method", "metric", "target"])["value"]
    for block in ("weights", "locations", "spreads"):
        assert abs(metrics["cavi", "median_shift", block]) < 0.3
        assert 0.8 < metrics["cavi", "width_ratio", block] < 1.25
        assert metrics["cavi", "coverage95", block] > 0.9
    assert metrics["cavi", "predictive_tv", "data"] < 0.05
    assert metrics["nuts", "ari", "data"] == 1
    verdict = result.results.manifest["verdict"]
    assert "differs" not in {claim["state"] for claim in verdict["cavi"].values()}
    assert {claim["state"] for claim in verdict["nuts"].values()} == {"reference"}
    assert verdict["em"]["locations"]["because"].endswith("a point estimate has no intervals")


def test_leave_one_out_through_q_is_that_of_the_posterior(result):
    """CAVI's and ADVI's weighted draws and the chains of NUTS and Gibbs estimate one number, where k-hat allows."""
    metrics = result.results.metrics.set_index(["method", "metric"])["value"]
    compared = 0
    for method in ("cavi", "advi"):
        if metrics[method, "loo_khat_bad_approximate"] == 0:
            for sampled in ("nuts", "gibbs"):
                error = np.hypot(metrics[method, "elpd_loo_mcse_approximate"], metrics[sampled, "elpd_loo_mcse"])
                assert abs(metrics[method, "elpd_loo_approximate"] - metrics[sampled, "elpd_loo"]) < 4.5 * error
                compared += 1
    assert compared >= 2


def test_chains_are_brought_to_one_labelling(result):
    posterior = result.results.trees["nuts"]["posterior"]
    means = posterior["means"].mean("draw")[..., 0].values
    assert np.ptp(means, axis=0).max() < 0.5 * abs(np.diff(means.mean(0)))
    assert result.results.manifest["relabelling"]["nuts"]["switched"] == 0
    assert result.results.manifest["relabelling"]["gibbs"]["switched"] is None  # it exchanges names on purpose


@pytest.mark.pictures
def test_the_page_of_the_saved_folder_is_the_same(result, tmp_path):
    folder = result.save(tmp_path / "out")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page == render(Results.load(folder))
    assert len(page) < 5_000_000
    assert "metric from CAVI&#39;s posterior" in page
    assert "it sets the direction and length of a step, not the distribution" in page


def test_another_sampler_by_name():
    """With one chain: what needs two is missing."""
    x = three_clusters(40, np.random.default_rng(2))[:, :1]
    options = {"draws": 200, "tune": 200, "chains": 1, "sampler": "nutpie"}
    result = compare(x, 1, rng=np.random.default_rng(0), methods=("cavi", "nuts"), **options)
    page = render(result.results)
    assert "Verdict" in page
    assert "metric from the identity" in page
    assert "it sets the direction and length of a step" not in page
    assert result.failures == {}
    shift = result.results.metrics.query("method == 'cavi' and metric == 'median_shift' and target == 'locations'")
    assert abs(shift["value"].item()) < 4.5 * shift["se"].item()
