"""Worked examples: the variational Bayes of a textbook, written from scratch, beside the PyMC model that it approximates.

One example a file, and what they share: `factorised` and `sources`. Every example has

    load()              the data: arrays by name
    build(data=None)    the PyMC model, of these data or of others of the same names
    fit(data, rng)      q, with ``sample(n, rng)`` and ``log_prob(values)`` by the names of the model's variables

and what ``data`` leaves out is as `load` gives it.
"""

EXAMPLES = {
    "gaussian": "reports.examples.gaussian",
    "linear-regression": "reports.examples.linear_regression",
    "logistic-regression": "reports.examples.logistic_regression",
    "eight-schools": "reports.examples.eight_schools",
    "wrong": "reports.examples.wrong",
}
"""The module of each example."""
