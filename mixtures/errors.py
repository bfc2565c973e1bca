"""What can go wrong in a fit, by name."""

import numpy as np


class CollapseError(ValueError):
    """A cluster shrank onto too few points for its parameters to exist or to keep their digits.

    Parameters
    ----------
    message : str
    runs : ndarray of bool, optional
        Of several states looked at together, those in which it happened, with their batch shape.
    """

    def __init__(self, message: str, runs: np.ndarray | bool = True) -> None:
        super().__init__(message)
        self.runs = np.asarray(runs)


class DistinctRowsError(ValueError):
    """There are fewer distinct rows than clusters to seed; ``distinct`` says how many."""

    def __init__(self, message: str, distinct: int) -> None:
        super().__init__(message)
        self.distinct = distinct


class ConvergenceWarning(UserWarning):
    """The ascent stopped at ``max_iter`` before the bound settled."""
