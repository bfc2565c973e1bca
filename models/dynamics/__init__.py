"""The PyMC twin of linear dynamical systems: the states integrated out by the Kalman filter."""

from models.dynamics.joint import build, unconstrain

__all__ = ["build", "unconstrain"]
