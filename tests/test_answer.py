"""The three sentences that open the page: what they say in every case a comparison can end in."""

from copy import deepcopy

import pytest

from reports.page import answer

LIMITS = {
    "median_shift": (-0.5, 0.5),
    "width_ratio": (0.8, 1.25),
    "coverage95": (0.9, None),
    "coclustering_error": (None, 0.02),
    "predictive_tv": (None, 0.05),
}


def check(quantity, value, se, state, target="data"):
    low, high = LIMITS[quantity]
    return {"quantity": quantity, "target": target, "value": value, "se": se, "low": low, "high": high, "state": state}


def said(*checks, because="measured"):
    states = [c["state"] for c in checks]
    state = next((s for s in ("differs", "cannot tell") if s in states), "agrees")
    return {"state": state, "because": because, "checks": list(checks)}


def method(kind, converged=True, **facts):
    return {"kind": kind, "status": "ok", "error": None, "converged": converged} | facts


GOOD = {
    "weights": said(check("median_shift", 0.03, 0.02, "agrees", "weights[0]")),
    "locations": said(check("median_shift", -0.11, 0.03, "agrees", "means[1, x]")),
    "spreads": said(
        check("width_ratio", 1.12, 0.03, "agrees", "variances[1, x]"),
        check("median_shift", 0.05, 0.02, "agrees", "variances[0, x]"),
    ),
    "clusters": said(check("coclustering_error", 0.004, 0.001, "agrees")),
    "density": said(check("predictive_tv", 0.012, 0.003, "agrees")),
}
NARROW = GOOD | {
    "spreads": said(
        check("width_ratio", 0.52, 0.011, "differs", "variances[1, x]"),
        check("coverage95", 0.71, 0.012, "differs", "variances[1, x]"),
    ),
    "clusters": said(check("coclustering_error", 0.034, 0.002, "differs")),
}
NARROWER = GOOD | {"weights": said(check("width_ratio", 0.4, 0.012, "differs", "weights[0]"))}
OPEN = GOOD | {
    "spreads": said(check("width_ratio", 0.78, 0.05, "cannot tell", "variances[1, x]")),
    "density": said(check("predictive_tv", 0.049, 0.004, "cannot tell")),
}
POINT = {
    "weights": said(check("median_shift", 0.2, 0.03, "agrees", "weights[0]")),
    "locations": said(check("median_shift", 0.9, 0.04, "differs", "means[0, y]")),
    "clusters": said(check("coclustering_error", 0.015, 0.001, "agrees")),
    "density": said(check("predictive_tv", 0.08, 0.006, "differs")),
}
EXACT = {claim: {"state": "reference", "because": "exact", "checks": []} for claim in GOOD}


def manifest(verdicts, reference="exact", trusted=True, reason="is the reference and passed its checks", **changes):
    kinds = {"em": "point", "map": "point", "nuts": "mcmc", "gibbs": "mcmc", "smc": "mcmc", "exact": "exact"}
    checks = (
        [] if reference == "exact" else [{"name": "largest R-hat", "value": 1.0031, "limit": "< 1.01", "passed": True}]
    )
    base = {
        "methods": {m: method(kinds.get(m, "variational")) for m in verdicts},
        "verdict": {m: deepcopy(v) for m, v in verdicts.items()},
        "reference": {"method": reference, "trusted": trusted, "reason": reason, "checks": checks},
        "references": {},
        "modes": {},
        "model": {"n_components": 2, "blocks": ["weights", "locations", "spreads"]},
        "data": {"n_heldout": 0, "n_classes": None},
        "options": {"chains": 4, "draws": 1000},
    }
    return base | changes


def test_who_can_stand_in_and_why_the_others_cannot():
    found = manifest(
        {"em": POINT, "cavi": NARROW, "advi": NARROWER, "smc": OPEN, "gibbs": GOOD, "nuts": GOOD, "exact": EXACT}
    )
    assert answer.sentences(found) == (
        "On these data Gibbs and NUTS can stand in for the exact posterior (nearest to a limit: Gibbs, width ratio "
        "1.120 ± 0.030 at variances[1, x], limits 0.8 to 1.25). CAVI and ADVI cannot: their intervals are too narrow (at worst "
        "ADVI, width ratio 0.400 ± 0.012 at weights[0], limits 0.8 to 1.25). For SMC this cannot be told (width ratio "
        "0.780 ± 0.050 at variances[1, x], limits 0.8 to 1.25). EM gives a point without intervals; furthest from the "
        "reference's median: median shift 0.900 ± 0.040 at means[0, y], limit ±0.5.",
        "The reference is exact: it sums over all allocations, and the only error of its 4\u202f000 independent draws is "
        "Monte Carlo error.",
        "For clusters, EM, ADVI, SMC, Gibbs and NUTS agree with the reference (at worst EM, co-clustering difference "
        "0.0150 ± 0.0010, limit 0.02); CAVI differs (co-clustering difference 0.0340 ± 0.0020, limit 0.02). For prediction, "
        "CAVI, ADVI, Gibbs and NUTS agree with the reference (at worst CAVI, total variation 0.0120 ± 0.0030, limit 0.05); EM "
        "differs (total variation 0.0800 ± 0.0060, limit 0.05); for SMC this cannot be told (total variation 0.0490 ± 0.0040, "
        "limit 0.05).",
    )


def test_all_agree():
    first, _, last = answer.sentences(manifest(dict.fromkeys(("cavi", "gibbs", "nuts"), GOOD) | {"exact": EXACT}))
    assert first.startswith(
        "On these data every other method can stand in for the exact posterior (nearest to a limit: CAVI,"
    )
    assert "cannot" not in first
    assert last.count("all methods agree with the reference") == 2


def test_none_agrees():
    first, *_ = answer.sentences(manifest({"cavi": NARROW, "exact": EXACT}))
    assert first == (
        "On these data no method can stand in for the exact posterior. CAVI cannot: its intervals are too narrow (width ratio "
        "0.520 ± 0.011 at variances[1, x], limits 0.8 to 1.25)."
    )
    first, *_ = answer.sentences(manifest({"smc": OPEN, "exact": EXACT}))
    assert first.startswith(
        "On these data no method could be shown to stand in for the exact posterior. For SMC this cannot"
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (
            said(check("width_ratio", 1.6, 0.02, "differs", "weights[0]")),
            "its intervals are too wide (width ratio 1.600",
        ),
        (
            said(check("median_shift", -0.8, 0.02, "differs", "weights[0]")),
            "its posterior lies elsewhere (median shift −0.800",
        ),
        (
            said(check("coverage95", 0.6, 0.02, "differs", "weights[0]")),
            "its intervals miss too much of the reference (95% cov",
        ),
    ],
)
def test_each_defect_has_its_words(verdict, words):
    first, *_ = answer.sentences(manifest({"cavi": GOOD | {"weights": verdict}, "exact": EXACT}))
    assert words in first


def test_the_worst_is_the_furthest_beyond_its_limit_and_coverage_its_consequence():
    """0.52 is log(0.52) / log(0.8) = 2.93 times the way to the limit, a shift of 1.2 is 2.4 times, coverage 0.71 4.8 times."""
    spreads = said(
        check("median_shift", 1.2, 0.1, "differs", "variances[0, x]"),
        check("coverage95", 0.71, 0.01, "differs", "variances[0, x]"),
        check("width_ratio", 0.52, 0.01, "differs", "variances[1, x]"),
    )
    reaches = [answer.reach(c) for c in spreads["checks"]]
    assert reaches == pytest.approx([2.4, 4.8, 2.9305], abs=1e-4)
    first, *_ = answer.sentences(manifest({"cavi": GOOD | {"spreads": spreads}, "exact": EXACT}))
    assert "width ratio 0.520" in first


def test_a_trusted_sampler_and_a_second_that_agrees():
    references = {m: {"method": m, "trusted": True} for m in ("nuts", "gibbs")}
    verdicts = {"cavi": NARROW, "nuts": EXACT, "gibbs": GOOD}
    first, second, _ = answer.sentences(manifest(verdicts, "nuts", references=references))
    assert first.startswith("On these data Gibbs can stand in for NUTS (nearest to a limit: width ratio 1.120 ± 0.030")
    assert "CAVI cannot: its" in first
    assert second == (
        "The reference is NUTS, which passed its checks (largest R-hat 1.003); Gibbs, sampled independently, agrees with it "
        "in every claim."
    )
    open_ended = manifest(verdicts | {"gibbs": OPEN}, "nuts", references=references)
    assert answer.sentences(open_ended)[1].endswith("; Gibbs passed too and does not contradict it.")


def test_an_untrusted_reference_lowers_every_sentence():
    lowered = {
        m: {c: s | {"state": "cannot tell", "because": f"no trusted reference; {s['because']}"} for c, s in v.items()}
        for m, v in {"em": POINT, "cavi": NARROW}.items()
    }
    found = manifest(
        lowered | {"nuts": {c: s | {"state": "cannot tell"} for c, s in EXACT.items()}},
        "nuts",
        trusted=False,
        reason="failed its checks after relabelling (largest R-hat 1.53)",
        data={"n_heldout": 20, "n_classes": 3},
    )
    assert answer.sentences(found) == (
        "Whether any method can stand in for the posterior cannot be told: the reference is not trusted. The largest "
        "difference from NUTS as it is: CAVI, width ratio 0.520 ± 0.011 at variances[1, x], limits 0.8 to 1.25.",
        "NUTS would be the reference and cannot be trusted: it failed its checks after relabelling (largest R-hat 1.53). What "
        "follows says how far the methods are from it, not which of them is right.",
        "Which clusters and predictions are right cannot be told either (the largest differences from NUTS: CAVI, "
        "co-clustering difference 0.0340 ± 0.0020, limit 0.02 and EM, total variation 0.0800 ± 0.0060, limit 0.05); the score "
        "on held-out points and the recovery of the known classes below need no reference.",
    )


def test_without_a_reference_nothing_is_judged():
    lowered = {c: {"state": "cannot tell", "because": "no trusted reference", "checks": []} for c in GOOD}
    found = manifest(
        {"em": lowered, "cavi": lowered}, None, trusted=False, reason="no MCMC draws to hold the others against"
    )
    assert answer.sentences(found) == (
        "Whether EM or CAVI can stand in for the posterior cannot be told: there is no reference.",
        "There is no reference: no MCMC draws to hold the others against.",
        "Clusters and predictions have nothing to be compared with; leave-one-out scores below need no reference.",
    )


def test_a_failed_method_is_named_with_its_error():
    found = manifest({"cavi": GOOD, "exact": EXACT})
    found["methods"]["advi"] = method("variational", None, status="failed", error="ValueError: [[x|y]] is not finite")
    first, *_ = answer.sentences(found)
    assert first.endswith(" ADVI failed (ValueError: [\u2060[x|y]] is not finite).")
    found["methods"]["nuts"] = method("mcmc", None, status="failed", error="MemoryError: too large")
    assert answer.sentences(found)[0].endswith(" ADVI and NUTS failed.")


def test_nothing_succeeded():
    found = manifest({}, None, trusted=False, reason="no method succeeded")
    found["methods"] = {"em": method("point", None, status="failed", error="a cluster collapsed")}
    assert answer.sentences(found) == (
        "No method succeeded. EM failed (a cluster collapsed).",
        "There is no reference: no method succeeded.",
        "So there are neither clusters nor predictions to compare.",
    )


def test_the_reference_alone():
    first, _, last = answer.sentences(manifest({"nuts": EXACT}, "nuts"))
    assert first == "Only NUTS succeeded: there is nothing to compare it with."
    assert last.startswith("Clusters and predictions have nothing to be compared with")


def test_one_cluster():
    of_one = {claim: GOOD[claim] for claim in ("locations", "spreads", "density")}
    found = manifest({"cavi": of_one, "exact": EXACT}, model={"n_components": 1, "blocks": ["locations", "spreads"]})
    assert answer.sentences(found)[2] == (
        "With one cluster all points belong together. For prediction, CAVI agrees with the reference (total variation "
        "0.0120 ± 0.0030, limit 0.05)."
    )


def test_what_did_not_converge_is_not_called_right():
    lowered = {c: s | {"state": "cannot tell"} for c, s in GOOD.items()}
    found = manifest({"advi": lowered, "smc": lowered, "exact": EXACT})
    for name in ("advi", "smc"):
        found["methods"][name]["converged"] = False
    found["references"]["smc"] = {"checks": [{"name": "largest R-hat", "value": 1.0141, "passed": False}]}
    assert answer.sentences(found)[0] == (
        "On these data no method could be shown to stand in for the exact posterior. For ADVI this cannot be told (it did not "
        "converge). For SMC this cannot be told (it failed its checks: largest R-hat 1.014)."
    )


def test_clusters_that_no_draw_has_are_told():
    modes = {"nuts": {"sits": {"em": None, "cavi": 0}}}
    found = manifest({"em": POINT, "cavi": GOOD, "nuts": EXACT}, "nuts", modes=modes)
    assert answer.sentences(found)[2].endswith(" No draw of NUTS has the clusters of EM.")


def test_an_added_method_keeps_its_name():
    found = manifest({"mine [[a]]": NARROW, "exact": EXACT})
    assert ". mine [\u2060[a]] cannot: its intervals" in answer.sentences(found)[0]
