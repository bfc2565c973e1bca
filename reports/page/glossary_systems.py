"""Technical words as pages without clusters mean them: those of any PyMC model, and of linear dynamical systems."""

from __future__ import annotations

from reports.page.glossary import BISHOP, TERMS
from reports.page.term import Term

BEAL = "Beal 2003, Variational Algorithms for Approximate Bayesian Inference, chapter 5"
DURBIN = "Durbin & Koopman 2012, Time Series Analysis by State Space Methods"


def _as(slug: str, definition: str, formula: str = "", source: str = "") -> Term:
    """A term of the glossary with another definition."""
    return TERMS[slug]._replace(definition=definition, formula=formula, source=source)


_OF_MODELS = (
    _as("prior", "Distribution of the parameters before the data are seen.", "p(θ)", f"{BISHOP}, section 1.2"),
    _as(
        "collapse",
        "A variance goes towards zero and the likelihood beyond every bound.",
        "",
        "Day 1969, Biometrika 56",
    ),
    _as("exact", "The posterior itself, without approximation."),
    _as(
        "bound",
        "A number that is at most the one sought: the [[elbo]] is a lower bound on the log [[evidence]].",
        "",
        f"{BISHOP}, section 10.1",
    ),
    _as(
        "oracle",
        "The density under the true parameters, which no method knows. A better score than the oracle's is chance.",
    ),
    _as(
        "restarts",
        "Runs of one optimiser from different starts, of which the best is kept.",
    ),
)

_OF_SYSTEMS = (
    _as(
        "prior",
        "Distribution of the parameters before the data are seen. Where a system is given none, a weak one is made: precisions "
        "with means from the variances of the data and of their first differences, coefficients with mean zero.",
        "Λ ~ Wishart(S<sub>0</sub><sup>−1</sup>, ν<sub>0</sub>), B | Λ ~ MN(M<sub>0</sub>, Λ<sup>−1</sup>, "
        "K<sub>0</sub><sup>−1</sup>)",
        BEAL,
    ),
    _as(
        "wishart",
        "The [[prior]] of a precision matrix Λ, the inverse of a covariance of noise. ν0 counts how many rows it is worth.",
        "E[Λ] = ν<sub>0</sub> S<sub>0</sub><sup>−1</sup>",
        f"{BISHOP}, section 2.3.6; Wishart 1928, Biometrika 20A",
    ),
    _as(
        "em",
        "Expectation-maximisation: alternates the moments of the states given all rows, by the Kalman smoother, and the "
        "parameters that fit them best, and climbs to a local maximum of the likelihood. It gives a [[point-estimate|point]] "
        "and has no prior.",
        "",
        "Shumway & Stoffer 1982, Journal of Time Series Analysis 3",
    ),
    _as(
        "map",
        "[[em|EM]] that climbs likelihood times [[prior]], to a maximum a posteriori (MAP) estimate: of coefficients and "
        "precisions, so that variances are the inverses of the mode's. It gives a [[point-estimate|point]].",
        "",
        "Shumway & Stoffer 1982, Journal of Time Series Analysis 3",
    ),
    _as(
        "cavi",
        "Coordinate-ascent variational inference: updates one factor of a [[mean-field]] q after the other, each in closed "
        "form, so that the [[elbo]] never falls. States and parameters are independent under q: it takes the variances of the "
        "states for better known than they are.",
        "q(z, θ) = q(z<sub>1</sub>, …, z<sub>T</sub>) q(A, Q) q(C, R) q(m<sub>0</sub>, P<sub>0</sub>)",
        BEAL,
    ),
    _as(
        "gibbs",
        "[[mcmc|MCMC]] that draws all states of a series given the parameters, the last state first, and the parameters given "
        "the states, in turn.",
        "",
        "Carter & Kohn 1994, Biometrika 81",
    ),
    _as(
        "bic",
        "Bayesian information criterion: log likelihood at its maximum less a penalty that grows with the number N of values "
        "seen, times −2, so that smaller is better; p counts the parameters that the likelihood tells apart. Beside log "
        "densities it is shown as −BIC / 2, a rough log [[evidence]].",
        "−BIC / 2 = L − (p / 2) log N",
        f"Schwarz 1978, Annals of Statistics 6; {DURBIN}, section 7.4",
    ),
    _as(
        "restarts",
        "Runs of one optimiser from different starts, of which the best is kept. The states of latent systems start as "
        "combinations of the last few rows: of one run those that tell most of the rows to come, of the others random ones.",
    ),
    _as(
        "total-variation",
        "Half the area between two densities: the largest difference between the probabilities that they give to any event. "
        "0 is equal, 1 is disjoint.",
        "½ ∫ |p − q|",
    ),
    Term(
        "innovations",
        "innovations",
        "Errors of the forecasts of each row from all rows before it; standardised, they are divided by the forecast's sd. "
        "Where the model is right they are independent of each other.",
        "(x<sub>t</sub> − E[x<sub>t</sub> | x<sub>1</sub>, …, x<sub>t−1</sub>]) / sd",
        f"{DURBIN}, section 2.12",
        ("innovations", "innovation"),
    ),
    Term(
        "eigenvalues",
        "eigenvalues of the transition",
        "How the states move when left alone: the modulus of an eigenvalue of A is how much of a movement is left after a "
        "step, its angle how far the movement turns, in radians. They are numbered from the largest modulus, [0]; a pair of "
        "conjugates has one modulus and one angle.",
        "A v = λ v, λ = r (cos φ ± i sin φ)",
        "",
        ("eigenvalue modulus", "eigenvalue angle", "eigenvalues", "eigenvalue"),
    ),
    Term(
        "response",
        "response",
        "What a shock to the states does to the features: response[j, a, b] is the covariance of feature a, j steps later, "
        "with the shock to feature b that comes through the states. It is the same in all coordinates of the states.",
        "C A<sup>j</sup> Q C<sup>T</sup>",
        "",
        ("response", "responses"),
    ),
    Term(
        "diffuse",
        "diffuse start",
        "The first state has a normal distribution with an infinite variance: nothing is known of where the series begins. Log "
        "likelihood and [[evidence]] are those of the rows after the ones that determine it.",
        "z<sub>1</sub> ~ N(0, κ), κ → ∞",
        f"{DURBIN}, chapter 5",
        ("diffuse",),
    ),
    Term(
        "linear-system",
        "linear dynamical system",
        "States that follow each other by a linear regression and normal noise, seen through another: a state-space model. Its "
        "states may have any coordinates where nothing is known of A and C.",
        "z<sub>t</sub> = A z<sub>t−1</sub> + N(0, Q), x<sub>t</sub> = C z<sub>t</sub> + N(0, R)",
        f"{BISHOP}, section 13.3",
        ("linear dynamical system", "linear dynamical systems"),
    ),
)

QUANTITIES = {
    "observation variance": "of the noise of x",
    "observation correlation": "of the noises of two features",
    "state variance": "of the noise of a state",
    "coefficient": "a free entry of the transition A, by its row and column, or its lag",
    "eigenvalue modulus": "of the transition A, the largest first",
    "eigenvalue angle": "of the transition A, in radians",
    "response": "C A^j Q C^T by j and two features: how a shock to the states is seen j steps later",
    "forecast": "mean of the row after the last given all rows, which sees the states",
}
"""What is compared of a system, or ranked, by the first words of its name."""

OF_MODELS: dict[str, Term] = TERMS | {term.slug: term for term in _OF_MODELS}
"""The glossary of a page about any PyMC model."""

OF_SYSTEMS: dict[str, Term] = OF_MODELS | {term.slug: term for term in _OF_SYSTEMS}
"""That of a page about linear dynamical systems."""
