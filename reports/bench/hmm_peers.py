"""Another package's side of `reports.bench.hmm`: a process, of any Python that has it, that does what it is told.

Nothing of this project is imported, so that the package may live in an environment of its own. The first line read is a JSON
task; each further one asks for so many iterations of EM from the task's start, or so many rounds of whole fits from its starts,
and is answered with their seconds and the parameters that they lead to. An iteration is an E-step and an M-step, as the
package's own loop calls them; its checks of the data are left out where they can be.

hmmlearn's priors are flat. dynamax takes the mode of a posterior, and its priors are as weak as it allows: Dirichlet
concentrations just above 1, and for D features an inverse Wishart density of D degrees of freedom. It computes in float32
unless it is told otherwise, and is not.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

# What dynamax's Dirichlet concentrations are above 1, and the pseudo-observation of its Gaussian means.
WEAK = 1e-3

# hmmlearn's forward-backward, in logarithms or with scaling; the quicker one is taken.
IMPLEMENTATIONS = ("log", "scaling")

# Iterations that a whole fit may take.
MOST = 10_000


def hmmlearn_model(family, start, implementation, **settings):
    """A model of hmmlearn with these parameters and without priors."""
    import numpy as np
    from hmmlearn import hmm

    K = len(start["initial"])
    settings |= {"n_components": K, "implementation": implementation, "init_params": ""}
    if family == "gaussian":
        flat = {"covariance_type": "full", "covars_prior": 0.0, "covars_weight": 0.0}
        model = hmm.GaussianHMM(**flat, **settings)
        model.means_, model.covars_ = np.array(start["means"]), np.array(start["covariances"])
    elif family == "categorical":
        model = hmm.CategoricalHMM(**settings)
        model.emissionprob_ = np.array(start["probabilities"])[:, 0]
        model.n_features = model.emissionprob_.shape[1]
    else:
        model = hmm.PoissonHMM(lambdas_prior=0.0, lambdas_weight=0.0, **settings)
        model.lambdas_ = np.array(start["rates"])
        model.n_features = model.lambdas_.shape[1]
    model.startprob_, model.transmat_ = np.array(start["initial"]), np.array(start["transitions"])
    return model


def of_hmmlearn(model, family):
    """Its parameters, named and shaped as the start's."""
    found = {"initial": model.startprob_, "transitions": model.transmat_}
    if family == "gaussian":
        return found | {"means": model.means_, "covariances": model.covars_}
    if family == "categorical":
        return found | {"probabilities": model.emissionprob_[:, None]}
    return found | {"rates": model.lambdas_}


def hmmlearn(x, task):
    """hmmlearn: `_do_estep`, `_compute_lower_bound` and `_do_mstep`, as in its `fit`; or that `fit` itself."""
    import numpy as np

    family, lengths = task["family"], np.array(task["lengths"])
    points = x if family == "gaussian" else x.astype(int)

    def iterations(times, how):
        model = hmmlearn_model(family, task["starts"][0], how)
        model._check()
        for _ in range(times):
            stats, log_likelihood = model._do_estep(points, lengths)
            model._compute_lower_bound(log_likelihood)
            model._do_mstep(stats)
        return [of_hmmlearn(model, family)]

    def fits(times, how):
        parts = np.split(points, np.cumsum(lengths)[:-1])
        for _ in range(times):
            found = [
                hmmlearn_model(family, start, how, n_iter=MOST, tol=task["tol"]).fit(part)
                for part, start in zip(parts, task["starts"])  # noqa: B905
            ]
        return [of_hmmlearn(model, family) for model in found]

    iterate = {"iterations": iterations, "fits": fits}[task["kind"]]
    best = min(IMPLEMENTATIONS, key=lambda how: min(clock(lambda: iterate(1, how)) for _ in range(2)))
    return lambda times: iterate(times, best), f"implementation={best!r}"


def dynamax(x, task):
    """dynamax: `e_step` over all series and `m_step`, compiled together, as in its `fit_em`."""
    import dynamax.hidden_markov_model as models
    import jax
    import jax.numpy as jnp
    import numpy as np

    family, start, lengths = task["family"], task["starts"][0], task["lengths"]
    (_, D), K = x.shape, len(start["initial"])
    own = {name: jnp.array(value) for name, value in start.items() if name not in ("initial", "transitions")}
    chain = {"initial_probs_concentration": 1 + WEAK, "transition_matrix_concentration": 1 + WEAK}
    if family == "gaussian":
        # As few degrees of freedom as it takes, D; its covariances are then those of 2 D + 2 points more.
        flat = {"emission_prior_concentration": WEAK, "emission_prior_scale": 1e-4, "emission_prior_extra_df": 0.0}
        model = models.GaussianHMM(K, D, **chain, **flat)
        given = {"emission_means": own["means"], "emission_covariances": own["covariances"]}
        names = {"means": "means", "covariances": "covs"}
    elif family == "categorical":
        C = own["probabilities"].shape[-1]
        model = models.CategoricalHMM(K, D, C, **chain, emission_prior_concentration=1 + WEAK)
        given, names = {"emission_probs": own["probabilities"]}, {"probabilities": "probs"}
    else:
        model = models.PoissonHMM(K, D, **chain, emission_prior_concentration=1 + WEAK, emission_prior_rate=WEAK)
        given, names = {"emission_rates": own["rates"]}, {"rates": "rates"}
    first, properties = model.initialize(
        initial_probs=jnp.array(start["initial"]), transition_matrix=jnp.array(start["transitions"]), **given
    )
    kind = np.int32 if family == "categorical" else np.float32
    points = jnp.array(x.reshape(len(lengths), lengths[0], D).astype(kind))

    @jax.jit
    def step(parameters, state):
        statistics, _ = jax.vmap(lambda series: model.e_step(parameters, series))(points)
        return model.m_step(parameters, properties, statistics, state)

    def iterate(times):
        parameters, state = first, model.initialize_m_step_state(first, properties)
        for _ in range(times):
            parameters, state = step(parameters, state)
        jax.block_until_ready(parameters)
        found = {"initial": parameters.initial.probs, "transitions": parameters.transitions.transition_matrix}
        found = {name: summing_to_one(np.array(value, float)) for name, value in found.items()}
        return [found | {name: np.array(getattr(parameters.emissions, a), float) for name, a in names.items()}]

    return iterate, f"float32; {clock(lambda: iterate(1)):.1f} s to compile"


def summing_to_one(p):
    """Probabilities of float32 as those of float64."""
    return p / p.sum(-1, keepdims=True)


def clock(call):
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main():
    """Answer line by line until there are no more."""
    warnings.simplefilter("ignore")
    task = json.loads(sys.stdin.readline())
    try:
        import numpy as np
        from threadpoolctl import threadpool_limits

        iterate, note = {"hmmlearn": hmmlearn, "dynamax": dynamax}[task["package"]](np.load(task["path"]), task)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"note": note}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with threadpool_limits(asked["threads"]):
            began = time.perf_counter()
            found = iterate(asked["times"])
            seconds = time.perf_counter() - began
        parameters = [{name: value.tolist() for name, value in one.items()} for one in found]
        print(json.dumps({"seconds": seconds, "parameters": parameters}), flush=True)


if __name__ == "__main__":
    main()
