"""The page: its sections, its honesty about what is missing, and what a browser makes of it."""

import json
import pickle
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import multivariate_normal

import reports
from reports.comparison.verdict import LIMITS, judge, of_reference
from reports.metrics import Row
from reports.page import quantities, render, uniformity
from reports.page.blocks import Card, Cards, Cell, Facts, Image, Notice, Section, Table, Use, embedded
from reports.page.blocks import Figure as BlockFigure
from reports.page.build import fragment, numbered, write
from reports.page.convergence import convergence
from reports.page.glossary import _TERMS, TERMS
from reports.page.links import LINK, Links
from reports.page.numbers import number, with_error
from reports.page.opening import setting
from reports.page.sections import SECTIONS as BUILDERS
from reports.page.view import View
from reports.plots import style

SECTIONS = [
    "answer",
    "verdict",
    "setting",
    "reference",
    "convergence",
    "relabelling",
    "agreement",
    "summary",
    "joint",
    "classes",
    "clusters",
    "label-free",
    "prior-sensitivity",
    "evidence",
    "prediction",
    "checks",
    "recovery",
    "cost",
    "limits",
    "glossary",
]
ROOT = Path(__file__).parents[1]
SCRIPT = "<script>alert(1)</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


INLINE = ("a", "b", "span", "strong", "i")


class Page(HTMLParser):
    """The text of every section, every address, id and tag of a page."""

    def __init__(self, html):
        super().__init__()
        self.sections, self.tags, self.addresses, self.images, self.ids, self.numbers = {}, [], [], [], [], []
        self._section = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == "section":
            self._section = attributes["id"]
            self.sections[self._section] = ""
        if tag == "img":
            self.images.append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.addresses += [attributes[name] for name in ("src", "href", "srcset", "action") if name in attributes]

    def handle_endtag(self, tag):
        if tag == "section":
            self._section = None
        elif self._section and tag not in INLINE:
            self.sections[self._section] += " "

    def handle_data(self, data):
        if self._section:
            self.sections[self._section] += data
        if found := re.fullmatch(r"(Figure|Table)\xa0(\d+)\.", data):
            self.numbers.append((found[1], int(found[2])))


def compared(x, n_components, features, **settings):
    return reports.compare(
        x,
        n_components,
        rng=np.random.default_rng(0),
        methods=("em", "cavi"),
        features=features,
        draws=100,
        restarts=2,
        **settings,
    ).results


def with_reference(results, trusted=True):
    """The results as if CAVI's draws, widened, had come from two MCMC runs, and ADVI had failed."""
    manifest, trees = deepcopy(results.manifest), dict(results.trees)
    manifest["methods"]["nuts"] = manifest["methods"]["cavi"] | {"kind": "mcmc", "bound_kind": None, "title": "NUTS"}
    manifest["methods"]["advi"] = manifest["methods"]["cavi"] | {
        "title": "ADVI",
        "status": "failed",
        "error": f"ValueError: {SCRIPT}",
        "converged": None,
    }
    tree = trees["cavi"].copy()
    posterior = tree["posterior"].to_dataset()
    tree["posterior"] = posterior.assign(
        means=posterior["means"].mean() + 1.5 * (posterior["means"] - posterior["means"].mean())
    )
    del tree["ascent"]
    manifest["methods"]["gibbs"] = manifest["methods"]["nuts"] | {"title": "Gibbs"}
    for method in ("nuts", "gibbs"):
        trees[method] = tree
        manifest["relabelling"][method] = manifest["relabelling"]["cavi"]
    manifest["reference"] = {
        "method": "nuts",
        "trusted": trusted,
        "reason": "passed its checks" if trusted else "failed its checks (largest R-hat 1.53)",
        "checks": [{"name": "largest R-hat", "value": 1.53, "limit": "< 1.01", "passed": trusted}],
        "floor_note": None,
    }
    manifest["references"] = {"nuts": manifest["reference"], "gibbs": manifest["reference"] | {"method": "gibbs"}}
    names = list(quantities.scalars(tree))
    rows = [
        ("cavi", metric, name, 0.7, 0.01)
        for name in names
        for metric in ("width_ratio", "median_shift", "coverage95", "wasserstein")
    ]
    rows += [("cavi", "wasserstein_floor", name, 0.03, np.nan) for name in names]
    rows += [
        ("gibbs", "median_shift", "locations", -0.0567, 0.0123),
        ("gibbs", "predictive_tv", "data", 0.00123, 0.0004),
    ]
    rows += [("cavi", "coclustering_error", "data", 0.0047, 0.0003), ("cavi", "predictive_tv", "data", 0.09, 0.002)]
    against = manifest["reference"]
    manifest["verdict"] = {
        method: of_reference(against) if method == "nuts" else judge(own, "variational", reference=against)
        for method in trees
        for own in [[Row(*row) for row in rows if row[0] == method]]
    }
    metrics = pd.concat([results.metrics, pd.DataFrame(rows, columns=results.metrics.columns)], ignore_index=True)
    return reports.Results(manifest, metrics, results.data, trees)


def all_failed(results):
    manifest = deepcopy(results.manifest)
    for entry in manifest["methods"].values():
        entry |= {
            "status": "failed",
            "error": "ValueError: nothing worked",
            "converged": None,
            "seconds": {},
            "info": {},
        }
    manifest |= {"relabelling": {}, "verdict": {}, "references": {}}
    return reports.Results(manifest, results.metrics.iloc[:0], results.data, {})


@pytest.fixture(scope="module")
def quick():
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(0, 1, (35, 2)), rng.normal(6, 1, (25, 2))])
    return compared(x, 2, [SCRIPT, "km/h of $a$ & $\\b"])


@pytest.fixture(scope="module")
def full(quick):
    return with_reference(quick)


@pytest.fixture(scope="module")
def pages(quick, full):
    return {"quick": render(quick), "full": render(full), "untrusted": render(with_reference(quick, trusted=False))}


@pytest.mark.parametrize("which", ["quick", "full", "untrusted"])
def test_sections_stand_in_the_order_of_the_design(pages, which):
    assert list(Page(pages[which]).sections) == [s for s in SECTIONS if s != "recovery"]  # no classes are known


@pytest.mark.robustness("security")
@pytest.mark.parametrize("which", ["quick", "full"])
def test_strings_from_the_data_are_escaped(pages, which):
    page = Page(pages[which])
    assert page.tags.count("script") == 1
    assert SCRIPT in page.sections["setting"]
    assert SCRIPT in page.sections["agreement"]


@pytest.mark.parametrize("which", ["quick", "full", "untrusted"])
def test_every_link_leads_somewhere_and_every_id_is_one(pages, which):
    page = Page(pages[which])
    assert len(set(page.ids)) == len(page.ids)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not LINK.search(" ".join(page.sections.values()))


@pytest.mark.parametrize("which", ["quick", "full"])
def test_figures_and_tables_are_numbered_through_the_page(pages, which):
    page = Page(pages[which])
    for kind, tag in (("Figure", "figure"), ("Table", "table")):
        numbers = [number for of, number in page.numbers if of == kind]
        assert numbers == list(range(1, page.tags.count(tag) + 1))


def test_text_links_to_terms_and_places():
    links = Links({"fig-a": "Figure\xa01", "row-b": "its row"})
    assert links.html("<b> [[elbo]], [[elbo|bounds]]") == (
        '&lt;b&gt; <a href="#term-elbo" class="term">ELBO</a>, <a href="#term-elbo" class="term">bounds</a>'
    )
    assert (
        links.html("[[#fig-a]] and [[#row-b|0.7]]") == '<a href="#fig-a">Figure\xa01</a> and <a href="#row-b">0.7</a>'
    )
    assert links.html("[[nothing|words]], [[#gone|there]], [[x]]") == "words, there, [[x]]"
    assert links.plain("[[elbo|a bound]] < [[#fig-a]]") == "a bound < Figure\xa01"
    assert {"elbo", "evidence", "kl", "prior", "nats"} <= {term.slug for term in links.terms()}


def test_no_line_ends_within_the_name_of_an_option():
    links = Links({})
    assert links.prose("Raise --max-steps: a -- b, x--y") == (
        'Raise <span class="option">--max-steps</span>: a -- b, x--y'
    )
    assert Links.command("mixtures compare '<a>' --restarts 3") == (
        'mixtures compare &#39;&lt;a&gt;&#39; <span class="option">--restarts</span> 3'
    )


def test_a_section_links_the_first_sight_of_a_term():
    links = Links({})
    assert links.prose("PSIS-LOO, [[nats|nat]] and PSIS & nats") == (
        '<a href="#term-psis-loo" class="term">PSIS-LOO</a>, <a href="#term-nats" class="term">nat</a> and '
        '<a href="#term-psis" class="term">PSIS</a> &amp; nats'
    )
    assert links.prose("Evidence and MAP-EM, PSIS") == (
        '<a href="#term-evidence" class="term">Evidence</a> and <a href="#term-map" class="term">MAP-EM</a>, PSIS'
    )
    assert links.begin() == ""
    assert "#term-psis" in links.prose("PSIS")


def test_every_term_has_a_definition_and_leads_to_terms():
    for slug, term in TERMS.items():
        assert term.slug == slug
        assert len(term.definition) > 30
        assert not LINK.sub("", term.definition).count("[[")
        assert {to for _, to, _ in LINK.findall(term.definition)} <= set(TERMS) - {slug}


def test_every_term_stands_once():
    assert [term.slug for term in _TERMS] == list(TERMS)


def test_every_link_that_a_page_writes_leads_to_a_term():
    pages = (ROOT / "reports" / "page").glob("*.py")
    slugs = {slug for path in pages for place, slug, _ in LINK.findall(path.read_text("utf-8")) if not place}
    written = {slug for slug in slugs if re.fullmatch(r"[a-z][a-z-]*", slug)} - {"slug", "a", "cluster"}  # examples
    assert len(written) > 20
    assert written <= set(TERMS)


def test_text_stands_out_from_its_ground_in_the_light_and_in_the_dark():
    def light(colour):
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    css = (ROOT / "reports" / "page" / "page.css").read_text("utf-8")
    schemes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)][
        :2
    ]
    pairs = [(ink, ground) for ink in ("ink", "quiet", "link", "good", "bad", "unsure") for ground in ("paper", "wash")]
    for scheme in schemes:
        for ink, ground in [*pairs, ("warn-ink", "warn")]:
            darker, lighter = sorted((light(scheme[ink]), light(scheme[ground])))
            assert lighter / darker > 4.5, (ink, ground)  # WCAG 2.2, 1.4.3


def test_ids_are_stable_and_rows_may_have_one():
    rows = [[Cell("a")], [Cell("b")]]
    tables = [
        Table("", ["x"], rows, ids=["row-a", ""]),
        Table("", ["x"], rows, ids=["row-a", "row-b"]),
        Table("", ["x"], []),
    ]
    blocks = [tables[0], replace(tables[1], slug="own"), tables[2], BlockFigure("", []), BlockFigure("", ["an image"])]
    (section,) = numbered([Section("here", "", "", blocks)])
    assert [block.id for block in section.blocks] == ["table-here", "table-own", "table-here-2", "fig-here"]
    assert [block.number for block in section.blocks] == [1, 2, 3, 1]
    assert section.blocks[1].ids == ["", "row-b"]


def test_a_use_shows_its_check_and_leads_to_its_row(quick):
    use = Use("locations", "differs", quantity="[[elbo|shift]]", parameter="means[0]", value="0.71 ± 0.04",
              limit="within ±0.5", why="half a reference sd", href="#row-x")  # fmt: skip
    table = Table("All", ["x"], [[Cell("a", href="#row-x")]], ids=["row-x"])
    section = Section(
        "verdict", "", "", [Cards([Card("em", "EM", "", "", [use, Use("density", "cannot tell")])]), table]
    )
    html = write(View(quick), [section])
    text = " ".join(Page(html).sections["verdict"].split())
    assert "locations ✗ differs shift of means[0]: 0.71 ± 0.04 (within ±0.5) half a reference sd" in text
    assert "density ? cannot tell" in text
    assert html.count('<a href="#row-x">') == 2


def test_a_fragment_has_neither_numbers_nor_links(quick):
    table = Table("The [[elbo|bound]]", ["ELBO"], [[Cell("a", href="#row-x")]], ids=["row-x"])
    html = fragment(View(quick), [Notice("CAVI, [[#table-x|below]]"), table])
    assert "<a " not in html
    assert "The bound." in html
    assert "CAVI, below" in html


@pytest.mark.parametrize("which", ["quick", "full"])
def test_no_address_leaves_the_page(pages, which):
    page = Page(pages[which])
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    without_pictures = re.sub(r"data:[\w/+]+;base64,[\w+/=]+", "", pages[which])
    assert not re.search(r"https?:|//\w+\.|@import|url\(", without_pictures)


def test_every_figure_has_words(pages):
    page = Page(pages["full"])
    assert len(page.images) > 10
    assert all(len(image["alt"]) > 10 for image in page.images)
    assert page.tags.count("figure") == page.tags.count("figcaption")


def test_a_failed_method_shows_its_error_where_it_belongs(pages):
    sections = Page(pages["full"]).sections
    for name in ("verdict", "convergence"):
        assert f"ValueError: {SCRIPT}" in sections[name]
    assert "ADVI" not in sections["cost"]
    assert "ADVI failed" in sections["limits"]


def test_all_failed_still_makes_a_page(quick):
    sections = Page(render(all_failed(quick))).sections
    assert list(sections) == [name for name in SECTIONS if name != "recovery"]
    assert "nothing worked" in sections["verdict"]
    assert all("No method succeeded" in sections[name] for name in SECTIONS[5:16])


def test_references_are_held_against_each_other(pages):
    section = Page(pages["full"]).sections["reference"]
    assert "how far from NUTS" in section
    assert "−0.057 ± 0.012" in section
    assert "how far from" not in Page(pages["quick"]).sections["reference"]


def test_an_untrusted_reference_lowers_the_claims(pages):
    sections = Page(pages["untrusted"]).sections
    for name in ("verdict", "reference", "agreement"):
        assert "failed its checks (largest R-hat 1.53)" in sections[name]
    assert "no trusted reference" in sections["limits"]
    assert "failed its checks" not in Page(pages["full"]).sections["agreement"]


def test_what_does_not_apply_is_said_or_dashed(pages, quick):
    sections = Page(pages["quick"]).sections
    assert "There is no reference" in sections["agreement"]
    assert "No held-out part" in sections["prediction"]
    assert "recovery" not in sections
    aic = next(row for row in quick.metrics.itertuples() if row.metric == "aic")
    assert "–" in sections["evidence"]
    assert f"{aic.value:,.2f}".replace(",", "\u202f").replace("-", "−") in sections["classes"]
    assert not re.search(r"\bnan\b|-0\.0|\bNone\b", " ".join(sections.values()))


def test_the_numbers_are_those_of_the_table(pages, quick):
    row = next(row for row in quick.metrics.itertuples() if (row.method, row.metric) == ("cavi", "train_log_density"))
    assert with_error(row.value, row.se) in Page(pages["quick"]).sections["prediction"]


def test_modes_and_what_single_parameters_do_not_show_are_told(full):
    results = deepcopy(full)
    one = {"share": 0.6, "se": 0.2, "sizes": [31.2, 28.8], "by_chain": [0.9, 0.3]}
    other = {"share": 0.37, "se": 0.012, "sizes": [44.0, 16.0], "by_chain": [0.1, 0.64]}
    facts = {"basins": 2, "rest": 0.03, "halves": [2, 3], "sits": {"cavi": 1, "em": None}}
    away = [
        one | {"share": 1.0, "se": None, "by_chain": [1.0, 1.0]},
        other | {"share": 0.0, "se": None, "by_chain": [0.0, 0.0]},
    ]
    results.manifest["modes"] = {
        "nuts": facts | {"modes": [one, other]},
        "gibbs": facts | {"modes": away, "rest": 0.0, "sits": {"cavi": None, "em": None}},
    }
    results.manifest["relabelling"]["nuts"] = results.manifest["relabelling"]["cavi"] | {"agreement": 0.987}
    rows = [
        ("cavi", "median_shift_corrected", "weights[0]", 0.123, 0.01),
        ("cavi", "correlation_error", "weights[0] ~ means[0]", -0.61, 0.02),
        ("cavi", "correlation_reference", "weights[0] ~ means[0]", 0.71, 0.01),
        ("cavi", "correlation_floor", "all", 0.045, np.nan),
        ("cavi", "two_sample_accuracy", "all", 0.789, 0.004),
        ("nuts", "two_sample_floor", "all", 0.503, 0.004),
    ]
    extra = pd.DataFrame(rows, columns=results.metrics.columns)
    metrics = pd.concat([results.metrics, extra], ignore_index=True)
    sections = Page(render(reports.Results(results.manifest, metrics, results.data, results.trees))).sections
    for words in (
        "98.7%",
        "2 modes that differ",
        "44 + 16",
        "90%, 30%",
        "60% ± 20%",
        "37.0% ± 1.2%",
        "first halves of the chains alone show 2, the second halves 3",
        "No draw is where EM settled",
        "No chain of Gibbs leaves mode 1: its draws say nothing of mode 2",
    ):
        assert words in sections["relabelling"], words
    for words in ("0.123", "weights[0] ~ means[0]", "0.10", "−0.610 ± 0.020", "0.045", "0.7890 ± 0.0040", "0.503"):
        assert words in sections["agreement"], words


def test_a_claim_leads_from_the_card_to_its_number(pages, full):
    """Quantity, parameter, value with error, limit and its reason, and a link to a row that holds the value."""
    html = pages["full"]
    card = next(part for part in html.split("</article>") if "<h3>CAVI" in part)
    claims = re.findall(r"<dt>(.*?)</dt>(.*?)</div>", card, re.S)
    assert [name for name, _ in claims] == ["weights", "locations", "spreads", "clusters", "density"]
    shown = {name: re.sub(r"<[^>]+>", "", text) for name, text in claims}
    for name in ("weights", "locations", "spreads"):
        assert "✗ differs" in shown[name]
        assert "95% coverage of" in shown[name]
        assert "0.700 ± 0.010 (limit 0.9)" in shown[name]
        assert LIMITS["coverage95"].why in html_text(shown[name])
    assert "✓ agrees" in shown["clusters"]
    assert "0.00470 ± 0.00030 (limit 0.02)" in shown["clusters"]
    for _, text in claims:
        (target,) = re.findall(r'href="#(row-[^"]+)"', text)
        assert re.search(rf'<tr id="{re.escape(target)}">.*?</tr>', html, re.S)


def html_text(text):
    return text.replace("&#39;", "'")


def test_the_answer_stands_first_with_its_picture(pages):
    section = Page(pages["full"]).sections["answer"]
    assert "CAVI cannot:" in section
    assert "The reference is NUTS, which passed its checks" in section
    assert "ADVI failed" in section
    assert pages["full"].count('id="fig-answer"') == 1
    assert "There is no reference" in Page(pages["quick"]).sections["answer"]
    assert "the reference is not trusted" in Page(pages["untrusted"]).sections["answer"]


def test_how_the_data_were_read_is_told(quick):
    def facts(results):
        return dict(next(block for block in setting(View(results)).blocks if isinstance(block, Facts)).items)

    data = quick.manifest["data"] | {"notes": ["left out 'a [[b]]'", "the rest"], "n_classes": 2, "n_unlabelled": 3}
    said = facts(replace(quick, manifest=quick.manifest | {"data": data}))
    assert said["As read"].replace("\u2060", "") == "left out 'a [[b]]'; the rest"
    assert said["True classes"].endswith("; 3 points without")
    assert "As read" not in facts(quick)


def test_where_the_prior_comes_from(quick):
    """EM has none, the rest of the methods have one, computed from the data unless it was given."""
    section = Page(render(quick)).sections["setting"]
    assert "all but EM, which maximises the likelihood, the same prior" in section
    assert "m0 is the mean of the data" in section
    assert "W0⁻¹ their covariance matrix over K^(2/D)" in section
    results = deepcopy(quick)
    results.manifest["model"] |= {"given": ["W0", "m0"], "covariance": "diag"}
    section = Page(render(results)).sections["setting"]
    assert "Given: m0 and W0." in section
    assert "ν0 = D + 2 and β0 = 0.01" in section
    assert "mean of the data" not in section


@pytest.mark.pictures
def test_the_page_is_the_same_each_time(quick, pages):
    assert render(quick) == pages["quick"]


@pytest.mark.parametrize(("n_components", "d"), [(1, 1), (2, 4)])
def test_other_shapes_make_a_page(n_components, d):
    x = np.random.default_rng(1).normal(size=(50, d)) + 5 * (np.arange(50) % 2)[:, None]
    results = compared(x, n_components, [f"f{i}" for i in range(d)], labels=np.arange(50) % 2, test_fraction=0.2)
    sections = Page(render(with_reference(results))).sections
    assert list(sections) == SECTIONS
    assert "adjusted Rand" in sections["recovery"]
    assert "held out" in sections["prediction"]


def test_a_page_of_closed_forms_does_not_import_arviz_plots(quick, tmp_path):
    quick.save(tmp_path / "results")
    code = (
        "import sys; from reports.comparison.results import Results; from reports.page import render; "
        f"render(Results.load({str(tmp_path / 'results')!r})); assert 'arviz_plots' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_methods_clusters_and_chains_share_no_colour():
    from matplotlib.colors import to_rgb

    colours = [look.colour for look in style.METHODS.values()]
    assert len(set(colours)) == len(colours)
    assert not set(colours) & set(style.CLUSTERS)
    for chain in style.CHAINS:
        assert all(np.abs(np.subtract(to_rgb(chain), to_rgb(c))).max() > 0.1 for c in (*colours, *style.CLUSTERS)), (
            chain
        )
    assert style.look("mine") == style.look("mine")


def test_figures_are_labelled_and_leave_matplotlib_alone(quick, full):
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    drawn = []
    before = dict(mpl.rcParams), plt.get_fignums()

    def keep(figure, alt, *, raster=False):
        drawn.append(figure)
        return None

    with pytest.MonkeyPatch.context() as patch:
        modules = ("trust", "convergence", "opening", "agreement", "joint", "clusters", "label_free")
        for module in (*modules, "scores", "leave_one_out", "closing"):
            patch.setattr(f"reports.page.{module}.image", keep)
        for results in (quick, full):
            view = View(results)
            for build in BUILDERS:
                build(view)
    assert len(drawn) > 20
    for figure in drawn:
        assert isinstance(figure, Figure)
        shown = [ax for ax in figure.axes if ax.get_visible()]
        assert any(ax.get_xlabel() for ax in shown)
        assert figure.get_size_inches()[0] <= style.WIDTH
    assert (dict(mpl.rcParams), plt.get_fignums()) == before


def test_panels_of_one_parameter_carry_its_name(full):
    from reports.plots.marginals import plot_marginals
    from reports.plots.rank import plot_rank
    from reports.plots.trace import plot_trace

    draws = quantities.scalars(full.trees["nuts"])[["weights[0]", f"means[0, {SCRIPT}]"]]
    draws = draws.rename({f"means[0, {SCRIPT}]": "means[0]"})
    tree, ranks = quantities.as_tree(draws), uniformity.ranks(draws)
    frames = {str(name): (0.0, 1.0) for name in tree["posterior"].data_vars}
    for figure in (plot_trace(tree), plot_rank(ranks), plot_marginals({"nuts": tree}, {}, frames)):
        assert [ax.get_title("left") for ax in figure.axes] == ["weights[0]", "means[0]"]


def test_advi_steps_are_counted_as_steps(full):
    from reports.plots import bounds

    seen = {}
    results = deepcopy(full)
    results.manifest["methods"]["cavi"]["info"]["steps_per_entry"] = 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "plot_bounds", lambda traces, labels: seen.update(traces=traces, labels=labels))
        patch.setattr("reports.page.convergence.image", lambda figure, alt, **_: None)
        convergence(View(results))
    steps = list(seen["traces"]["cavi"].index)
    assert steps == [40 * (i + 1) for i in range(len(steps))]
    assert seen["labels"]["cavi"][0] == "step"
    assert seen["labels"]["em"][0] == "pass"


def test_numbers_are_written_for_readers():
    assert number(float("nan")) == "–"
    assert number(-1e-12) == "−1×10⁻¹²"
    assert number(float("-inf")) == "−∞"
    assert with_error(-0.0, 0.5) == "0.00 ± 0.50"
    assert with_error(1.0, 1e-16) == "1"


def test_block_order_brings_clusters_together():
    label = np.array([0, 1, 0, 1, 1, 0])
    order = quantities.block_order((label[:, None] == label).astype(float))
    assert np.count_nonzero(np.diff(label[order])) == 1


def test_an_axis_ends_near_the_reference_when_a_method_is_astray(rng):
    near = xr.Dataset({"a": (("chain", "draw"), rng.standard_normal((4, 500)))})
    wide = near.assign(a=1000 * near["a"])
    low, high = quantities.frames({"nuts": near, "advi": wide}, {"em": {"a": 40.0}}, "nuts")["a"]
    assert -15 < low < -10 < 10 < high < 15
    low, high = quantities.frames({"nuts": near, "advi": 2 * near}, {"em": {"a": 8.0}}, "nuts")["a"]
    assert -7 < low < -4
    assert 8 < high < 9


def test_the_outer_region_of_a_pair_lies_within_its_axes(rng):
    """But for a quarter of the axis at most: one method far from all others does not press them into a line."""
    near = xr.Dataset({name: (("chain", "draw"), rng.standard_normal((4, 500))) for name in "ab"})
    draws = {"nuts": near, "mine": near.assign(a=near["a"] * 20)}
    axes = quantities.frames(draws, {}, "nuts") | {"b": (-2.0, 2.0)}
    regions = quantities.pair_regions(draws, axes)
    wide = quantities.around(regions, axes)
    region = regions["a", "b"]["nuts"]
    inside = region["density"] >= region["level"].min()
    up = region["up"].values[inside.any("i").values]
    assert not axes["b"][0] < up.min() < up.max() < axes["b"][1]
    assert wide["b"][0] <= up.min() < up.max() <= wide["b"][1]
    assert np.ptp(wide["a"]) <= 1.5 * np.ptp(axes["a"]) + 1e-9


def browse(html, folder):
    """What the console said and which outside addresses the page asked for; the finished document."""
    page, log = folder / "page.html", folder / "net.json"
    page.write_text(html, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            f"--log-net-log={log}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    parameters = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # The browser's own errands have "not an origin" as their initiator.
    asked = {p["url"] for p in parameters if p.get("initiator", "not an origin") != "not an origin"}
    return console, {url for url in asked if not url.startswith(("data:", "file:"))}, done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_without_errors_or_requests(pages, tmp_path):
    console, asked, document = browse(pages["full"], tmp_path)
    assert not console
    assert not asked
    assert 'aria-label="Sort by method"' in document


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_folded_tables_open_in_print_and_for_a_link_to_a_row(quick, tmp_path):
    rows = [[Cell("a", 2.0)], [Cell("b", 1.0)]]
    tables = [Table("One", ["x"], rows, fold=True, ids=["row-a", ""]), Table("Two", ["[[elbo|x]]"], rows, fold=True)]
    html = write(View(quick), [Section("here", "Here", "", tables)])
    script = """<script>
      const told = (name, value) => document.body.setAttribute(`data-${name}`, value);
      const open = () => document.querySelectorAll("details[open]").length;
      dispatchEvent(new Event("beforeprint")); told("print", open());
      dispatchEvent(new Event("afterprint")); told("after", open());
      document.querySelector("#table-here-2 th button").click();
      told("sorted", document.querySelector("#table-here-2 tbody").textContent.replace(/\\s/g, ""));
      document.querySelector(".menu").click(); told("menu", document.querySelector(".menu").ariaExpanded);
      addEventListener("hashchange", () => told("linked", document.querySelector("#table-here").open && open() === 1));
      location.hash = "#row-a";
    </script>"""
    console, _, document = browse(html.replace("</body>", f"{script}</body>"), tmp_path)
    assert not console
    for told in ('print="2"', 'after="0"', 'sorted="ba"', 'menu="true"', 'linked="true"'):
        assert f"data-{told}" in document, told


def test_a_legend_of_every_method_stays_in_its_figure():
    figure, _ = style.panels(1, 1)
    with style.drawing():
        style.legend(figure, style.METHODS)
        figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.width
    assert style.legend_columns(["EM", "CAVI", "NUTS"], style.WIDTH) == 3


def test_titles_of_seven_methods_do_not_collide():
    from reports.plots.coclustering import plot_coclustering

    methods = ["em", "map", "cavi", "advi", "advi-fullrank", "nuts", "gibbs"]
    figure = plot_coclustering(dict.fromkeys(methods, np.eye(6)))
    figure.draw_without_rendering()
    boxes = [ax._left_title.get_window_extent().padded(3) for ax in figure.axes if ax.get_title("left")]
    assert len(boxes) == len(methods)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_tall_figure_has_a_page_of_its_own_in_print():
    tall, wide = (Image(style.panels(1, 1, height=height)[0], "") for height in (12, 3))
    assert pickle.loads(pickle.dumps(tall)).tall
    assert not wide.tall


def test_the_ground_of_a_picture_of_few_colours_is_white():
    from PIL import Image as Picture

    figure, axes = style.panels(1, 1)
    axes[0, 0].scatter(*np.random.default_rng(0).uniform(size=(2, 3000)), c=np.linspace(0, 1, 3000), cmap="hsv")
    assert Picture.open(BytesIO(embedded(figure, raster=True))).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_browser_would_have_told(tmp_path):
    console, asked, _ = browse('<img src="http://127.0.0.1:9/x.png"><script>console.error("oops")</script>', tmp_path)
    assert len(console) == 1
    assert asked == {"http://127.0.0.1:9/x.png"}


def test_regions_of_a_cluster_hold_what_they_say(rng):
    """A normal cluster whose parameters are known: the level of the region of probability p is (1 - p) times the peak."""
    mean, covariance = np.array([1.0, -2.0]), np.array([[2.0, 0.7], [0.7, 0.5]])
    posterior = xr.Dataset(
        {
            "means": (("chain", "draw", "cluster", "feature"), mean[None, None, None]),
            "covariances": (("chain", "draw", "cluster", "feature", "feature_"), covariance[None, None, None]),
        },
        coords={"feature": ["a", "b"], "feature_": ["a", "b"]},
    )
    found = quantities.cluster_regions(posterior, ("a", "b")).isel(cluster=0)
    grid = np.stack(np.meshgrid(found["across"], found["up"], indexing="ij"), -1)
    exact = multivariate_normal(mean, covariance)
    np.testing.assert_allclose(found["density"], exact.pdf(grid), rtol=1e-10)
    np.testing.assert_allclose(found["level"], exact.pdf(mean) * np.array([0.5, 0.1]), rtol=0.03)


def test_a_region_that_the_grid_does_not_hold_is_missing():
    assert quantities.highest_density(np.array([4.0, 1.0, 2.0]), 0.1, (0.4, 0.55, 0.9)) == pytest.approx(
        [4.0, 2.0, np.nan], nan_ok=True
    )


def test_regions_of_draws_hold_what_they_say(rng):
    """Heavy tails (Student's t with two degrees of freedom) and a tilt; the share inside within four standard errors."""
    from scipy.interpolate import RegularGridInterpolator

    n = 4000
    a = rng.standard_t(2, n)
    b = a + 0.3 * rng.standard_normal(n)
    draws = xr.Dataset({"a": (("chain", "draw"), a[None]), "b": (("chain", "draw"), b[None])})
    frames = quantities.frames({"m": draws}, {}, "m")
    region = quantities.pair_regions({"m": draws}, frames)["a", "b"]["m"]
    at = RegularGridInterpolator(
        (region["across"].values, region["up"].values), region["density"].values, bounds_error=False, fill_value=0
    )(np.stack([a, b], 1))
    for prob, level in zip(region["prob"].values, region["level"].values, strict=True):
        assert np.mean(at >= level) == pytest.approx(prob, abs=4 * np.sqrt(prob * (1 - prob) / n) + 0.02)


def test_the_density_of_two_numbers_is_a_sum_of_normals(rng):
    """Draws that lie on the grid, so that counting them by its places moves none; of a kernel 3e-4 lies beyond its edge."""
    draws = np.concatenate([np.clip(rng.normal(64, 9, (2, 500)).round(), 20, 107), [[0, 127], [0, 127]]], axis=1)
    density, across, up = quantities.kernel_density(draws, 128)
    np.testing.assert_allclose([across, up], [np.arange(128)] * 2, atol=1e-10)
    covariance = np.cov(draws) * draws.shape[1] ** (-1 / 3) + np.eye(2) / 144
    at = np.stack(np.meshgrid(across[40:90], up[40:90], indexing="ij"), -1)
    exact = np.mean([multivariate_normal(draw, covariance).pdf(at) for draw in draws.T], axis=0)
    np.testing.assert_allclose(density[40:90, 40:90], exact, rtol=1e-3, atol=4e-4 * exact.max())


def test_regions_of_two_numbers_that_are_one(rng):
    a = rng.standard_normal((4, 500))
    draws = xr.Dataset({"a": (("chain", "draw"), a), "b": (("chain", "draw"), 2 * a)})
    region = quantities.pair_regions({"m": draws}, quantities.frames({"m": draws}, {}, "m"))["a", "b"]["m"]
    assert np.isfinite(region["density"]).all()
    assert region["level"].values.min() > 0


def test_many_methods_wrap_and_keep_their_titles(full):
    from reports.plots.ellipses import plot_ellipses
    from reports.plots.overview import plot_overview

    view = View(full)
    tree, x = view.trees["cavi"], view.data["x"]
    rows = np.arange(x.sizes["obs"])
    methods = ["em", "map", "cavi", "advi", "advi-fullrank", "nuts", "gibbs"]
    shown = dict.fromkeys(methods, quantities.overview(x, tree, rows))
    pair = tuple(x["feature"].values)
    regions = {pair: dict.fromkeys(methods, quantities.cluster_regions(tree["posterior"].to_dataset(), pair))}
    for figure in (plot_overview(x, shown, "nuts"), plot_ellipses(x, dict.fromkeys(methods, tree), regions, 0.9)):
        visible = [ax for ax in figure.axes if ax.get_visible()]
        assert len({ax.get_subplotspec().rowspan.start for ax in visible}) == 3
        assert [ax.get_title("left").split(",")[0] for ax in visible] == [style.look(m).label for m in methods]
        figure.draw_without_rendering()
        boxes = [
            ax.title.get_window_extent() if ax.get_title() else ax._left_title.get_window_extent() for ax in visible
        ]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_the_overview_of_one_feature_names_every_method():
    x = np.random.default_rng(1).normal(size=(50, 1)) + 5 * (np.arange(50) % 2)[:, None]
    view = View(compared(x, 2, ["velocity"]))
    from reports.plots.overview import plot_overview

    rows = np.arange(50)
    shown = {m: quantities.overview(view.data["x"], tree, rows) for m, tree in view.trees.items()}
    figure = plot_overview(view.data["x"], shown, None)
    top, below = figure.axes
    assert len(top.lines) == 2
    assert [t.get_text() for t in below.get_yticklabels()] == ["EM", "CAVI"]
    assert below.get_xlabel() == "velocity"


def test_a_figure_is_laid_out_and_then_drawn_once_and_looks_the_same():
    pictures, drawn = [], {}
    for write_ in (embedded, plainly):
        with style.drawing():
            figure, axes = style.panels(2, 2)
            for k, ax in enumerate(axes.flat):
                ax.plot([1, 2, 3], [10.0**k, -2, 4])
                ax.set(xlabel=f"x {k}", ylabel="y", title="a" * 20)
            style.legend(figure, ["em", "nuts"])
        line = axes[0, 0].lines[0]
        line.draw = counted = Mock(side_effect=line.draw)
        pictures += [write_(figure, raster=False)]
        drawn[write_] = counted.call_count
    assert pictures[0] == pictures[1]
    assert drawn == {embedded: 1, plainly: 2}


def plainly(figure, raster):
    """A figure as matplotlib writes it by itself."""
    buffer = BytesIO()
    with style.drawing():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def test_a_forest_shows_median_and_intervals_and_marks_points(rng):
    from reports.plots.forest import plot_forest

    values = rng.standard_exponential((2, 400))
    draws = xr.Dataset({name: (("chain", "draw"), scale * values) for name, scale in (("a", 1), ("b", 3))})
    (ax,) = plot_forest({"cavi": draws, "nuts": draws + 1}, {"em": {"a": 0.5, "b": np.nan}}, "x", 12).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    found = [collection.get_segments() for collection in ax.collections]
    low, lower, median, upper, high = np.quantile(values, [0.025, 0.25, 0.5, 0.75, 0.975])
    np.testing.assert_allclose(np.array(found[0])[:, :, 0], [[low, high], [3 * low, 3 * high]])
    np.testing.assert_allclose(np.array(found[3])[:, :, 0] - 1, [[lower, upper], [3 * lower, 3 * upper]])
    point, of_cavi, of_nuts = ax.lines[:3]
    np.testing.assert_allclose(point.get_xdata(), [0.5, np.nan])
    np.testing.assert_allclose([of_cavi.get_xdata(), of_nuts.get_xdata() - 1], 2 * [[median, 3 * median]])
    heights = [line.get_ydata()[0] for line in (point, of_cavi, of_nuts)]
    assert heights == sorted(heights, reverse=True)
    assert 0.5 < heights[2] < heights[0] < 1.5
