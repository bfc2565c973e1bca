"""How the page begins: the answer, the verdict on every method, and what was fitted to what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mixtures.datasets.dataset import counted
from mixtures.tables import KINDS, merged
from reports.comparison.verdict import CORRELATIONS, LIMITS, NAMES
from reports.page import answer, columns, profiles, quantities, states
from reports.page.blocks import Card, Cards, Cell, Code, Facts, Figure, Notice, Section, Table, Use, image, row_id
from reports.page.cells import name_cell
from reports.page.numbers import DASH, percent
from reports.page.view import View
from reports.page.words import listing, literal, moment, short, symbols

POINT_LIMIT = 2000
"""Points drawn at most; of more, evenly spaced ones."""

METRIC_WORDS = {"cavi": "metric from CAVI's posterior", "adapt": "metric from the identity"}
"""What the metric of NUTS starts from."""


def opening(view: View) -> Section:
    """The answer: three sentences and the one picture that shows it."""
    section = Section("answer", "Answer", "What the numbers below come to, on these data and under this model.")
    titles = ("Posterior", "Reference", "Use")
    section.blocks.append(Facts(list(zip(titles, answer.sentences(view.manifest), strict=True))))
    if view.trees:
        picture = states.overview if view.ordered else overview if view.gaussian else profiles.overview
        section.blocks.append(picture(view))
    return section


def overview(view: View) -> Figure:
    """Return the picture of the data with every method's clusters."""
    from reports.plots.overview import plot_overview

    x = view.data["x"]
    d = x.sizes["feature"]
    if d > 2:
        x = x.sel(feature=list(quantities.feature_pairs(view.trees[view.base], 1)[0]))
    rows = quantities.drawn_rows(x, POINT_LIMIT)
    x = x.isel(obs=rows)
    shown = {m: quantities.overview(x, tree, rows) for m, tree in view.trees.items()}
    return Figure(
        overview_caption(view, [str(f) for f in x["feature"].values]) + quantities.without_points(x),
        [image(plot_overview(x, shown, view.reference), "", raster=True)],
        alt=overview_alt(view, shown),
        slug="answer",
    )


def overview_caption(view: View, features: list[str]) -> str:
    """Return what the picture shows, what agreement would look like, and which features it shows of many."""
    if len(features) == 1:
        return (
            "The data as a histogram, and each method's predictive density over it. Below, each method's row has a mark for "
            "every point, in the colour of its most probable cluster. Where methods agree, lines and rows look alike."
        )
    inner, outer = (percent(prob) for prob in quantities.REGION_PROBS)
    d = view.data.sizes["feature"]
    which = (
        f" Shown are {literal(listing(features))}, the two of {d} features that part the clusters best."
        if d > 2
        else ""
    )
    against = (
        f" Dashed grey: the {outer} regions of {view.label(view.reference)}, the reference; where a method agrees with it, "
        "they lie under the coloured ones."
        if view.reference and len(view.trees) > 1
        else ""
    )
    return (
        "The data, each point in the colour of its most probable cluster and fainter where that is less certain; lines are the "
        f"[[hdr|highest-density regions]] that hold {inner} (thick) and {outer} (thin) of each cluster, "
        f"averaged over the posterior.{against}{which}"
    )


def overview_alt(view: View, shown: dict[str, Any]) -> str:
    """Return what is seen: the sizes of every method's clusters, and how many points it puts elsewhere than the reference."""
    said = []
    for method, fit in shown.items():
        sizes = np.bincount(fit["best"].values, minlength=view.n_clusters)
        words = f"{view.label(method)}: {' + '.join(map(str, sizes))} points"
        if view.reference and method != view.reference:
            moved = int((fit["best"].values != shown[view.reference]["best"].values).sum())
            words += f", {moved} in another cluster than by {view.label(view.reference)}"
        said.append(words)
    return f"Most probable clusters by method. {'; '.join(said)}."


def verdict(view: View) -> Section:
    """Where each method agrees with the reference, and the check that decided it."""
    section = Section(
        "verdict",
        "Verdict",
        "Where each method agrees with the reference, claim by claim, and the check that decided it: quantity, parameter, "
        "value ± one [[mcse|Monte Carlo standard error]] of both sides, limit. A claim differs if for some parameter the value "
        "lies beyond its limit by more than its error allows, and agrees if all lie within; otherwise these draws cannot tell.",
    )
    if view.trees and not view.trusted:
        reason = view.manifest["reference"]["reason"]
        why = f"{view.label(view.reference)} {reason}" if view.reference else reason
        section.blocks.append(
            Notice(
                f"There is no trusted reference, so nothing here says that a posterior is right: {literal(why)}.",
                "warn",
            )
        )
    cards = []
    for method, facts in view.methods.items():
        failed = facts["status"] != "ok"
        cards.append(
            Card(
                method,
                view.label(method),
                kind_words(view, method),
                str(facts["error"]) if failed else "",
                [] if failed else uses(view, method),
            )
        )
    section.blocks.append(Cards(cards))
    return section


def kind_words(view: View, method: str) -> str:
    """Return what a method gives, whether it is the reference, and whether it failed."""
    facts = view.methods[method]
    if facts["status"] != "ok":
        return "failed"
    caveat = f", {answer.own_caveat(facts)}" if facts["converged"] is False else ""
    return f"{view.kind(method)}{', the reference' if method == view.reference else ''}{caveat}"


def uses(view: View, method: str) -> list[Use]:
    """Return a method's claims with the check that decided each."""
    judged = view.manifest["verdict"].get(method, {})
    if fault := view.manifest.get("faults", {}).get(method):
        return [
            fault_use(fault, any(view.word(method, said["state"]) != said["state"] for said in judged.values())),
            *(use(view, method, claim, judged[claim]) for claim in view.claims if claim in judged),
        ]
    if len({(said["state"], said["because"]) for said in judged.values()}) == 1 and not any(
        said["checks"] for said in judged.values()
    ):
        said = next(iter(judged.values()))
        return [Use("all claims", said["state"], literal(said["because"]))]
    return [use(view, method, claim, judged[claim]) for claim in view.claims if claim in judged]


FAULTS = {
    "shift": "shifted",
    "width": "wrong width",
    "correlations": "correlation lost",
    "mean field": "mean field",
    "sign": "wrong sign",
    "power": "wrong power",
    "prior": "the prior",
    "jacobian": "wrong Jacobian",
    "fixed": "does not vary",
    "tied": "one number twice",
    "several": "several",
}


def fault_use(fault: dict[str, Any], allowed: bool) -> Use:
    """Return the fault that a method most likely has; that it departs is certain, whether or not the limits allow as much."""
    said = f"{FAULTS[fault['kind']]}{', within limits' if allowed else ''}"
    within = " The limits of the verdict allow that much." if allowed else ""
    return Use("[[likeliest-fault|likeliest fault]]", "differs", literal(fault["sentence"]) + within, said=said)


def use(view: View, method: str, claim: str, said: dict[str, Any]) -> Use:
    """Return one claim with its deciding check in parts, and why it was lowered if it was."""
    words = view.word(method, said["state"])
    if not said["checks"]:
        return Use(claim, said["state"], literal(said["because"]), said=words)
    check, facts = said["checks"][0], view.methods[method]
    notes = []
    if not view.trusted:
        notes.append("There is no trusted reference.")
    elif said["state"] != check["state"]:
        notes.append(f"Within the limit, but {view.label(method)} {answer.own_caveat(facts)}.")
    if facts["kind"] == "point" and claim in view.blocks:
        notes.append("A point estimate has no intervals.")
    return Use(
        claim,
        said["state"],
        " ".join(notes),
        NAMES[check["quantity"]],
        "" if check["target"] == "data" else literal(check["target"]),
        answer.check_value(check),
        answer.limits(check),
        LIMITS[check["quantity"]].why,
        check_address(view, method, claim),
        words,
    )


def check_address(view: View, method: str, claim: str) -> str:
    """Return where the number that decided a claim stands."""
    if claim == CORRELATIONS:
        return "#table-correlations"
    return f"#{row_id(method, claim if claim in view.blocks else 'label-free')}"


def setting(view: View) -> Section:
    """Model, priors, data, seeds, versions, command."""
    manifest = view.manifest
    data, model, prior = manifest["data"], manifest["model"], manifest["model"]["prior"]
    section = Section(
        "setting",
        "Model, data and settings",
        f"Everything needed to run this comparison again. {shared(view)}",
    )
    if view.added:
        section.blocks.append(
            Notice(
                f"Made elsewhere and added: {listing([view.label(m) for m in view.added])}. What was added is a distribution "
                "of the right shape; from which data and under which prior it came is not known here.",
                "warn",
            )
        )
    section.blocks.append(Code(manifest["command"], "Command"))
    source = f"Model (after {source_of(model['family'], view.ordered)})"
    section.blocks.append(Code(symbols(model["text"]).replace("; ", "\n"), source))
    unit = "standardised features" if data["standardized"] else "the data's own units"
    labels = data["label_column"]
    classes, unlabelled = data["n_classes"], data.get("n_unlabelled")
    without = f"; {unlabelled} points without" if unlabelled else ""
    held = f"; {data['n_heldout']} more points held out" if data["n_heldout"] else "; none held out"
    section.blocks.append(
        Facts(
            [
                ("Data", f"{data['name']} ({data['source']})" if data["source"] else str(data["name"])),
                ("Size", f"{view.n_fitted} points{states.lengths_words(view)}, {counted(data['d'], 'feature')}{held}"),
                ("Features", features(view)),
                *(("As read", literal("; ".join(notes))) for notes in [data.get("notes", ())] if notes),
                ("True classes", f"{classes}, from {labels or 'the source'}{without}" if classes else "not known"),
                *([("Units", f"parameters are in {unit}")] if view.numbers else []),
                ("Digest", str(data["digest"])),
                ("States" if view.ordered else "Clusters", clusters_words(model)),
                *prior_of_labels(model),
                (
                    "Prior of the states" if view.ordered else "Prior of the clusters",
                    "; ".join(f"{symbols(name)} = {short(without_padding(name, prior[name]))}" for name in prior),
                ),
                ("Where it comes from", prior_words(manifest)),
                ("Seed", short(manifest["seed"])),
                ("Written", moment(str(manifest["created"]))),
                ("Machine", str(manifest["platform"])),
                *(("JAX runs on", where) for where in [devices(view)] if where),
            ]
        )
    )
    if not view.gaussian:
        section.blocks.append(columns.columns(view))
    section.blocks += columns.notices(view)
    options = [
        [
            name_cell(view, m),
            Cell(f["title"]),
            Cell(view.kind(m)),
            Cell(options_words(f["options"])),
        ]
        for m, f in view.methods.items()
    ]
    section.blocks.append(
        Table("Methods and their options", ["method", "in full", "gives", "options"], options, slug="methods")
    )
    versions = [[Cell(package), Cell(version)] for package, version in manifest["versions"].items()]
    section.blocks.append(
        Table("Versions of the software", ["package", "version"], versions, fold=True, slug="versions")
    )
    return section


def options_words(options: dict[str, Any]) -> str:
    """Return what a method was told.

    >>> options_words({"draws": 1000, "tune": 300, "metric": "cavi"})
    "draws = 1000, tune = 300, metric from CAVI's posterior"
    >>> options_words({})
    '–'
    """
    each = (METRIC_WORDS[v] if k == "metric" else f"{k} = {short(v)}" for k, v in options.items())
    return ", ".join(each) or DASH


def without_padding(name: str, value: Any) -> Any:
    """Return a hyperparameter; of the pseudo-observations of levels, those of the levels that a feature has.

    >>> without_padding("a0", [[1.2, 1.1, 1.3], [1.5, 1.5, 0.0]])
    [[1.2, 1.1, 1.3], [1.5, 1.5]]
    """
    if name.startswith("a0") and np.ndim(value) == 2:
        return [[a for a in row if a > 0] for row in value]
    return value


def prior_of_labels(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the prior of the weights, or that of the start and of the transitions of a chain."""
    if "start" not in model:
        return [("Prior of the weights", f"Dirichlet, α0 = {short(model['alpha0'])}")]
    a0 = np.array(model["a0"])
    stay = a0[0, 0] - a0[0, -1] if len(a0) > 1 else 0.0
    sticky = f", and {short(float(stay))} more to stay" if stay else ""
    start = (
        f"Dirichlet, α0 = {short(model['alpha0'])}"
        if model["start"] == "free"
        else "none: it is the stationary distribution of the transitions"
    )
    return [
        ("Prior of the start", start),
        ("Prior of the transitions", f"Dirichlet, a0 = {short(float(a0[0, -1]))}{sticky}"),
    ]


def shared(view: View) -> str:
    """Return what the methods run here had in common: EM has no prior."""
    own = [m for m in view.methods if m not in view.added]
    if own == ["em"]:
        return "EM maximises the likelihood and has no prior."
    if "em" in own:
        return (
            "All methods run here were given the same data and model, and all but EM, which maximises the likelihood, the "
            "same prior."
        )
    return "All methods run here were given the same data, model and prior."


SOURCES = {
    **dict.fromkeys(("gaussian", "tied", "diagonal", "spherical"), "Bishop, PRML, section 10.2"),
    "bernoulli": "Bishop, PRML, section 9.3.3",
    "categorical": "Goodman 1974, latent class analysis",
    "poisson": "Gelman et al., Bayesian Data Analysis, section 2.6",
    "product": "Bishop, PRML, sections 9.3.3 and 10.2: columns independent within a cluster, but for numbers among each other",
}
"""Where the model of a family is described."""


def source_of(family: str, ordered: bool) -> str:
    """Return where a mixture of a family is described, or a hidden Markov model whose states have it."""
    return f"{'Rabiner 1989; states after ' if ordered else ''}{SOURCES[family]}"


HOLDS = {"gaussian": "numbers", "poisson": "counts", "categorical": "categories", "bernoulli": "two levels"}
"""What a column of each kind holds."""


def features(view: View) -> str:
    """Return the names of the features, or how many hold what where these are not all numbers; a table then has their names."""
    if view.gaussian:
        return literal(", ".join(view.kinds))
    held = list(view.kinds.values())
    return ", ".join(f"{held.count(kind)} of {what}" for kind, what in HOLDS.items() if kind in held)


def clusters_words(model: dict[str, Any]) -> str:
    """Return how many clusters there are, and what their covariances are like where there are any."""
    k, covariance = model["n_components"], model["covariance"]
    return f"K = {k}" if covariance == "none" else f"K = {k}, {covariance} covariance"


SCALES = {
    "full": "their covariance matrix over K^(2/D)",
    "tied": "their covariance matrix over K^(2/D)",
    "diag": "their variances over K^(2/D)",
    "spherical": "the mean of their variances over K^(2/D)",
}
"""Where the default W0⁻¹ comes from, by covariance structure."""


class Default(NamedTuple):
    """How hyperparameters of one kind of columns are computed where they are not given, after whom, and those from the data."""

    source: str
    rules: dict[str, str]
    computed: tuple[str, ...]


def defaults(model: dict[str, Any]) -> list[Default]:
    """Return the defaults of the model's prior, for every kind of its columns in turn."""
    kinds = merged(list(model["kinds"].values()))
    found, taken = [], set[str]()
    for part, kind in enumerate((kind for kind in KINDS if kind in kinds), 1):
        own = _default(kind, model["covariance"])
        suffix = f"_{part}" if taken & set(own.rules) else ""
        taken |= set(own.rules)
        rules = {
            name + suffix: rule.replace("a0", f"a0{suffix}").replace("b0", f"b0{suffix}")
            for name, rule in own.rules.items()
        }
        found.append(Default(own.source, rules, tuple(name + suffix for name in own.computed)))
    return found


def sources(kinds: Iterable[str]) -> list[str]:
    """Return where the default priors of columns of these kinds come from."""
    there = merged(list(kinds))
    return list(dict.fromkeys(_default(kind, "full").source for kind in KINDS if kind in there))


def _default(kind: str, covariance: str) -> Default:
    shares = "the shares of the levels over K"
    return {
        "gaussian": lambda: Default(
            "Fraley & Raftery (2007, section 3.1)",
            {
                "m0": "m0 is the mean of the data",
                "W0": f"W0⁻¹ {SCALES[covariance]}",
                "nu0": "ν0 = D + 2",
                "beta0": "β0 = 0.01",
            },
            ("m0", "W0"),
        ),
        "poisson": lambda: Default(
            "Jaynes (1968)", {"a0": "a0 = 1", "b0": "b0 is 1 over the mean of the data"}, ("b0",)
        ),
        "categorical": lambda: Default("Clogg et al. (1991)", {"a0": f"a0 is 1 plus {shares}"}, ("a0",)),
        "bernoulli": lambda: Default(
            "Clogg et al. (1991)", {"a0": f"a0 and b0 are 1 plus {shares}", "b0": ""}, ("a0", "b0")
        ),
    }[kind]()


def prior_words(manifest: dict[str, Any]) -> str:
    """Return which hyperparameters of the clusters were given and how the others were computed."""
    model = manifest["model"]
    given, every = set(model["given"]), defaults(model)
    named = [name for default in every for name in default.rules if name in given]
    words = f"Given: {listing([symbols(name) for name in named])}. " if named else ""
    for default in every:
        if rest := [rule for name, rule in default.rules.items() if name not in given and rule]:
            words += f"By default, after {default.source}: {listing(rest)}. "
    if any(name not in given for default in every for name in default.computed):
        words += (
            "So the prior was computed from the points that the methods were then fitted to, and these are used twice; "
            "[[#prior-sensitivity|prior sensitivity]] shows what the prior decides."
        )
    return words.strip()


def devices(view: View) -> str:
    """On what JAX ran, and who chose that; empty where no method used it."""
    known = [facts["device"] for facts in view.methods.values() if facts.get("device")]
    if not known:
        return ""
    used = " and ".join(f"the {kind.upper()}" for kind in dict.fromkeys(own["used"] for own in known))
    if not known[0]["gpu"]:
        return f"{used}: it sees no GPU"
    return f"{used}, " + ("as asked (--device)" if known[0]["asked"] != "auto" else "chosen by the size of the model")
