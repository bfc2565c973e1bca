"""What tells how an ascent went, with the interface of hmmlearn's monitor."""

from __future__ import annotations

import sys
from collections import deque

# A fall of the objective by less than this is rounding.
ROUNDING = float(2.0**-26)


class ConvergenceMonitor:
    """The objective of a fit, step by step.

    Parameters
    ----------
    tol : float
        The ascent has converged when a step raises the objective by no more than this, in nats.
    n_iter : int
        Steps at most.
    verbose : bool
        Whether to print step, objective and rise to the standard error.

    Attributes
    ----------
    history : deque of float
        The objective after each step: for the classes of this package at the parameters that the step led to.
    iter : int
        Number of steps.

    Notes
    -----
    Unlike in hmmlearn, neither running out of steps nor an objective that falls by more than rounding is convergence.

    Examples
    --------
    >>> monitor = ConvergenceMonitor(tol=0.01, n_iter=10, verbose=False)
    >>> for objective in (-12.0, -11.5, -11.499):
    ...     monitor.report(objective)
    >>> monitor.converged, monitor.iter
    (True, 3)
    """

    _template = "{iter:>10d} {log_prob:>16.8f} {delta:>+16.8f}"

    def __init__(self, tol: float, n_iter: int, verbose: bool) -> None:
        self.tol = tol
        self.n_iter = n_iter
        self.verbose = verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def __repr__(self) -> str:
        facts = dict(sorted(vars(self).items())) | {"history": list(self.history)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in facts.items())})"

    def report(self, log_prob: float) -> None:
        """Note the objective after one more step."""
        if self.verbose:
            delta = log_prob - self.history[-1] if self.history else float("nan")
            print(self._template.format(iter=self.iter + 1, log_prob=log_prob, delta=delta), file=sys.stderr)
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        """Whether the last step raised the objective by no more than ``tol``."""
        return len(self.history) > 1 and -ROUNDING <= self.history[-1] - self.history[-2] <= self.tol

    def _reset(self) -> None:
        self.iter = 0
        self.history.clear()
