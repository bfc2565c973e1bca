"""Technical words of rows in the order of time; see `reports.page.glossary`."""

from __future__ import annotations

from reports.page.term import Term

ZUCCHINI = "Zucchini, MacDonald & Langrock 2016, Hidden Markov Models for Time Series"

SERIES = (
    Term(
        "hidden-markov",
        "hidden Markov model",
        "A mixture whose rows follow each other in time: the state of a row, the cluster that it comes from, "
        "depends on that of the row before. Given its state a row is independent of all others.",
        "p(x, z) = π(z<sub>1</sub>) Π<sub>t</sub> A(z<sub>t−1</sub>, z<sub>t</sub>) Π<sub>t</sub> p(x<sub>t</sub> | "
        "z<sub>t</sub>)",
        "Rabiner 1989, Proceedings of the IEEE 77",
        ("hidden Markov model", "hidden Markov models"),
    ),
    Term(
        "transitions",
        "transition probabilities",
        "Row j of the transition matrix A: how probable each state is after state j. Each row sums to one; its [[prior]] is a "
        "Dirichlet distribution.",
        "A<sub>jk</sub> = P(z<sub>t</sub> = k | z<sub>t−1</sub> = j)",
        "Bishop 2006, Pattern Recognition and Machine Learning, section 13.2",
        ("transition probabilities", "transition probability", "transition matrix", "transition matrices"),
    ),
    Term(
        "initial",
        "initial probabilities",
        "How probable each state is at the start of a sequence. One sequence shows one start: the [[posterior]] is then hardly "
        "more than the [[prior]], and maximum likelihood estimates 0 and 1.",
        "π<sub>k</sub> = P(z<sub>1</sub> = k)",
        "Bishop 2006, Pattern Recognition and Machine Learning, section 13.2",
        ("initial probabilities", "initial probability"),
    ),
    Term(
        "smoothed",
        "smoothed probability",
        "Probability of the state of a row given all rows of its sequence, those after it among them.",
        "P(z<sub>t</sub> = k | x<sub>1</sub>, …, x<sub>T</sub>)",
        "Bishop 2006, Pattern Recognition and Machine Learning, section 13.2.2",
        ("smoothed probability", "smoothed probabilities"),
    ),
    Term(
        "stationary",
        "stationary distribution",
        "Share of each state in the long run, whatever the start.",
        "π = π A",
        f"{ZUCCHINI}, section 1.3.2",
        ("stationary distribution", "stationary distributions"),
    ),
    Term(
        "dwell-time",
        "dwell time",
        "Number of steps in a row that the chain spends in a state. A chain forgets how long it has been there, so that dwell "
        "times are geometric; the expected one follows from the probability to stay.",
        "1 / (1 − A<sub>kk</sub>)",
        f"{ZUCCHINI}, section 12.1",
        ("dwell time", "dwell times"),
    ),
    Term(
        "viterbi",
        "most probable path",
        "The states of all rows that are together most probable, under the parameters of the method. It is not made of the "
        "most probable state of each row, and leaves out short visits.",
        "argmax<sub>z</sub> p(z | x)",
        "Viterbi 1967, IEEE Transactions on Information Theory 13",
        ("most probable path",),
    ),
    Term(
        "pseudo-residual",
        "pseudo-residual",
        "Normal quantile of the probability, given the rows before, of a value up to the row's own. Where the model is right "
        "pseudo-residuals are standard normal and independent of each other.",
        "Φ<sup>−1</sup>(P(X<sub>t</sub> ≤ x<sub>t</sub> | x<sub>1</sub>, …, x<sub>t−1</sub>))",
        f"{ZUCCHINI}, section 6.2",
        ("pseudo-residual", "pseudo-residuals"),
    ),
    Term(
        "lfo",
        "leave-future-out",
        "Mean log density of every row given all rows before it, under a posterior that has seen these alone. A row left out "
        "of the middle of a series would be told by its neighbours.",
        "log p(x<sub>t</sub> | x<sub>1</sub>, …, x<sub>t−1</sub>)",
        "Bürkner, Gabry & Vehtari 2020, Journal of Statistical Computation and Simulation 90",
        ("leave-future-out",),
    ),
    Term(
        "autocorrelation",
        "autocorrelation",
        "Correlation of a series with itself some steps earlier; their number is the lag.",
        "",
        f"{ZUCCHINI}, section 1.1",
        ("autocorrelation", "autocorrelations"),
    ),
)
