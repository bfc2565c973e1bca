"""What can go wrong in a fit, by name."""


class CollapseError(ValueError):
    """A cluster shrank onto too few points for its parameters to exist or to keep their digits."""


class ConvergenceWarning(UserWarning):
    """The ascent stopped at ``max_iter`` before the bound settled."""
