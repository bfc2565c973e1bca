"""Linear dynamical systems: a state that moves by a linear regression on itself, and is seen through another."""

from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.regression import Prior
from mixtures.dynamics.states import filter_, forecast, innovations, log_likelihood, simulate, smooth
from mixtures.dynamics.structures import (
    autoregression,
    local_level,
    local_linear_trend,
    random_regression,
    seasonal,
    smooth_trend,
    structure,
)

__all__ = [
    "DynamicsFit",
    "LinearDynamics",
    "Prior",
    "autoregression",
    "filter_",
    "forecast",
    "innovations",
    "local_level",
    "local_linear_trend",
    "log_likelihood",
    "random_regression",
    "seasonal",
    "simulate",
    "smooth",
    "smooth_trend",
    "structure",
]
