"""Another package's side of `reports.bench.lds`: a process, of any Python that has it, that does what it is told.

Nothing of this project is imported, so that the package may live in an environment of its own. The first line read is a JSON
task; each further one asks for so many iterations of EM from the task's start, and is answered with their seconds and the
parameters that they lead to.

dynamax computes in float32 unless it is told otherwise, and is not. statsmodels has no EM for these models; it runs its
smoother alone, which an iteration would need, and is answered with its log likelihood at the start.
"""

from __future__ import annotations

import json
import sys
import time
import warnings


def dynamax(x, start):
    """dynamax: `e_step` and `m_step`, compiled together, as in its `fit_em`."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM

    D, H = start["emission"].shape
    model = LinearGaussianSSM(H, D, has_dynamics_bias=False, has_emissions_bias=False)
    first, properties = model.initialize(
        jax.random.PRNGKey(0),
        initial_mean=jnp.array(start["initial_mean"]),
        initial_covariance=jnp.array(start["initial_covariance"]),
        dynamics_weights=jnp.array(start["transition"]),
        dynamics_covariance=jnp.array(start["state_covariance"]),
        emission_weights=jnp.array(start["emission"]),
        emission_covariance=jnp.array(start["observation_covariance"]),
    )
    points = jnp.array(x[None].astype(np.float32))

    @jax.jit
    def step(parameters, state):
        statistics, _ = jax.vmap(lambda series: model.e_step(parameters, series))(points)
        return model.m_step(parameters, properties, statistics, state)

    def iterate(times):
        parameters, state = first, model.initialize_m_step_state(first, properties)
        for _ in range(times):
            parameters, state = step(parameters, state)
        jax.block_until_ready(parameters)
        found = {
            "transition": parameters.dynamics.weights,
            "emission": parameters.emissions.weights,
            "state_covariance": parameters.dynamics.cov,
            "observation_covariance": parameters.emissions.cov,
            "initial_mean": parameters.initial.mean,
            "initial_covariance": parameters.initial.cov,
        }
        return {name: np.array(value, float) for name, value in found.items()}, None

    return iterate, f"float32; {clock(lambda: iterate(1)):.1f} s to compile"


def pykalman(x, start):
    """pykalman: `em`, of everything but the offsets."""
    import numpy as np
    from pykalman import KalmanFilter

    names = {
        "transition": "transition_matrices",
        "emission": "observation_matrices",
        "state_covariance": "transition_covariance",
        "observation_covariance": "observation_covariance",
        "initial_mean": "initial_state_mean",
        "initial_covariance": "initial_state_covariance",
    }

    def iterate(times):
        own = {name: start[given] for given, name in names.items()}
        model = KalmanFilter(**own, em_vars=list(names.values())).em(x, n_iter=times)
        return {given: np.array(getattr(model, name)) for given, name in names.items()}, None

    return iterate, ""


def statsmodels(x, start):
    """statsmodels: its smoother, once an iteration."""
    import numpy as np
    from statsmodels.tsa.statespace.kalman_smoother import (
        SMOOTHER_STATE,
        SMOOTHER_STATE_AUTOCOV,
        SMOOTHER_STATE_COV,
        KalmanSmoother,
    )

    D, H = start["emission"].shape
    output = SMOOTHER_STATE | SMOOTHER_STATE_COV | SMOOTHER_STATE_AUTOCOV
    model = KalmanSmoother(k_endog=D, k_states=H, smoother_output=output)
    model.bind(np.ascontiguousarray(x))
    model["design"], model["obs_cov"] = start["emission"], start["observation_covariance"]
    model["transition"], model["state_cov"] = start["transition"], start["state_covariance"]
    model["selection"] = np.eye(H)
    model.initialize_known(start["initial_mean"], start["initial_covariance"])

    def iterate(times):
        for _ in range(times):
            found = model.smooth()
        return None, float(found.llf)

    return iterate, "its smoother alone"


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

        start = {name: np.array(value) for name, value in task["start"].items()}
        sides = {"dynamax": dynamax, "pykalman": pykalman, "statsmodels": statsmodels}
        iterate, note = sides[task["package"]](np.load(task["path"]), start)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"note": note}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with threadpool_limits(asked["threads"]):
            began = time.perf_counter()
            parameters, log_likelihood = iterate(asked["times"])
            seconds = time.perf_counter() - began
        found = None if parameters is None else {name: value.tolist() for name, value in parameters.items()}
        print(json.dumps({"seconds": seconds, "parameters": found, "log_likelihood": log_likelihood}), flush=True)


if __name__ == "__main__":
    main()
