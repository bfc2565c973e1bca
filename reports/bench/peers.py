"""Another package's side of `reports.bench.families`: a process, of any Python that has it, that does what it is told.

Nothing of this project is imported, so that the package may live in an environment of its own. The first line read is a JSON
task; each further one asks for so many iterations of EM from the task's start, and is answered with their seconds and the
parameters that they lead to. An iteration is an E-step and an M-step, as the package's own loop calls them; its checks of the
data are left out where they can be.
"""

from __future__ import annotations

import json
import sys
import time
import warnings


def stepmix(x, task):
    """StepMix: `_e_step` and `_m_step`, as in its `em`."""
    import numpy as np
    from stepmix.stepmix import StepMix

    kind = {"bernoulli": "binary", "categorical": "categorical"}[task["family"]]
    settings = {"max_iter": 1, "progress_bar": 0, "random_state": 0}
    model = StepMix(n_components=len(task["weights"]), measurement=kind, **settings).fit(x)
    weights, pis = np.array(task["weights"]), np.array(task["probabilities"])

    def iterate(times):
        model.weights_ = weights.copy()
        model._mm.parameters["pis"] = pis.reshape(len(weights), -1).copy()
        for _ in range(times):
            _, log_r = model._e_step(x)
            model._m_step(x, np.exp(log_r))
        return model.weights_, model._mm.parameters["pis"].reshape(pis.shape)

    return iterate


def pomegranate(x, task):
    """pomegranate: `summarize` and `from_summaries`, as in its `fit`; it computes in float32."""
    import torch
    from pomegranate.distributions import Bernoulli
    from pomegranate.gmm import GeneralMixtureModel

    points = torch.tensor(x, dtype=torch.float32)
    weights, probabilities = (torch.tensor(task[name], dtype=torch.float32) for name in ("weights", "probabilities"))

    def iterate(times):
        clusters = [Bernoulli(mu.clone(), check_data=False) for mu in probabilities]
        model = GeneralMixtureModel(clusters, priors=weights.clone(), check_data=False)
        for _ in range(times):
            model.summarize(points)
            model.from_summaries()
        return model.priors.numpy(), torch.stack([cluster.probs for cluster in clusters]).numpy()

    return iterate


def main():
    """Answer line by line until there are no more."""
    warnings.simplefilter("ignore")
    task = json.loads(sys.stdin.readline())
    try:
        import numpy as np
        from threadpoolctl import threadpool_limits

        iterate = {"stepmix": stepmix, "pomegranate": pomegranate}[task["package"]](np.load(task["path"]), task)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with threadpool_limits(asked["threads"]):
            began = time.perf_counter()
            weights, probabilities = iterate(asked["times"])
            seconds = time.perf_counter() - began
        found = {"seconds": seconds, "weights": weights.tolist(), "probabilities": probabilities.tolist()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
