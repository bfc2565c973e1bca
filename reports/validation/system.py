"""A linear dynamical system as the target of a validation: the density is that of its twin, what is compared is identified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mixtures.dynamics import states
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences
from reports.metrics import gaussian_bridge
from reports.metrics.coordinates import Coordinates
from reports.validation import identified
from reports.validation.catalogue import EDGE
from reports.validation.results import Joined
from reports.validation.target import Target

# Draws of each kind of a bridge whose density is computed one by one.
BRIDGED = 2000


@dataclass(frozen=True, kw_only=True)
class SystemTarget(Target):
    """The twin of a linear dynamical system; make one by `of_system`.

    Parameters
    ----------
    system : LinearDynamics
        With its priors.
    x : Sequences
    features : tuple of str
    """

    system: LinearDynamics
    x: Sequences
    features: tuple[str, ...]

    @classmethod
    def of_system(cls, x: Rows, system: LinearDynamics, features: Sequence[str] = ()) -> SystemTarget:
        """Build the twin of a system for its data.

        Raises
        ------
        ValueError
            If x or the model is not what the other needs, or the model has no conjugate prior.
        """
        from mixtures.dynamics.checks import checked
        from models.dynamics import build

        rows, system = checked(x, system).x, system.with_prior(x)
        named = tuple(features) or tuple(f"x{j}" for j in range(1, system.D + 1))
        base = Target.of(build(system, rows))
        parts = {name: getattr(base, name) for name in ("model", "flat", "flat_priors", "notes")}
        shown = identified.variables(system, named)
        return cls(variables=shown, left_out=(), system=system, x=rows, features=named, **parts)

    @property
    def samplers(self) -> tuple[str, ...]:
        """Gibbs sampling is the reference where NUTS failed its checks, such as by a divergent transition."""
        return ("gibbs",)

    @property
    def graphic(self) -> bool:
        """The states are integrated out of the twin, so that its graph has none."""
        return False

    @property
    def edge(self) -> str:
        """See `Target.edge`: a stationary start is within the unit circle."""
        return EDGE if self.system.stationary else ""

    @property
    def latent(self) -> bool:
        """Whether the states may have any coordinates."""
        return bool(np.isnan(self.system.emission).any())

    def bridge(self, u: np.ndarray, log_p: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
        """See `Target.bridge`; draws of a latent system are first turned to one set of coordinates."""
        if not self.latent:
            return super().bridge(u, log_p, rng)
        own = Coordinates(self.system, self.x)
        own.check()
        theta = self.theta(u)
        flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in theta.items()}
        return gaussian_bridge.bridge(own.vector(flat).reshape(*u.shape[:2], -1), None, own.log_density, rng, BRIDGED)

    def joined(self, theta: Theta, kind: str, *, log_ratio: np.ndarray | None = None, **facts: Any) -> Joined:
        """What is compared of draws (chain, draw, ...) of theta.

        Parameters
        ----------
        theta : dict of ndarray
        kind : {"point", "variational", "mcmc"}
        log_ratio : ndarray, shape (chain, draw), optional
            log q(theta) - log p(theta), in nats.
        **facts
            Those of `Joined`.
        """
        from models.dynamics import unconstrain

        shape = theta["transition"].shape[:2]
        found = identified.values(self.system, theta)
        if kind == "point":
            own = {name: v[0, 0] for name, v in theta.items()}
            total = states.log_likelihood(self.x, own, self.system.diffuse).sum()
            found[identified.LIKELIHOOD] = np.full(shape, total)
            return Joined(found, kind, unjudged=(identified.LIKELIHOOD,), theta=theta, **facts)
        u = self.flat.join(unconstrain(self.system, theta))
        parts = self.parts(u.reshape(-1, self.size))
        found[identified.LIKELIHOOD] = parts.likelihood.reshape(shape)
        log_q = None if log_ratio is None else log_ratio + (parts.prior + parts.jacobian).reshape(shape)
        return Joined(found, kind, u, log_q, **facts)

    def identified(self, theta: Theta) -> dict[str, np.ndarray]:
        """What is compared of one theta, by name.

        Raises
        ------
        ValueError
            If it lacks a parameter, or one is of another shape than the model's.
        """
        for name in self.system.dims:
            wanted = getattr(self.system, name).shape
            if name not in theta:
                raise ValueError(f"truth has no {name!r}; expected one of shape {wanted}")
            if np.shape(theta[name]) != wanted:
                raise ValueError(f"truth has {name!r} of shape {np.shape(theta[name])}; expected {wanted}")
        own = {name: np.asarray(theta[name], dtype=float) for name in self.system.dims}
        found = identified.values(self.system, {name: v[None, None] for name, v in own.items()})
        total = states.log_likelihood(self.x, own, self.system.diffuse).sum()
        return {name: v[0, 0] for name, v in found.items()} | {identified.LIKELIHOOD: np.asarray(total)}

    def constrain(self, u: np.ndarray) -> dict[str, np.ndarray]:
        """What is compared, (n, *shape) each, from unconstrained values u (n, P)."""
        found = identified.values(self.system, self.theta(u[None]))
        return {name: v[0] for name, v in found.items()} | {identified.LIKELIHOOD: self.parts(u).likelihood}

    def theta(self, u: np.ndarray) -> Theta:
        """Parameters by name, (chain, draw, ...), from unconstrained values u (chain, draw, P)."""
        lead = u.shape[:2]
        found = dict(zip(self._free_names, self._by_blocks(self._parameters, u.reshape(-1, self.size)), strict=True))
        known = {name: getattr(self.system, name) for name in self.system.dims if name not in found}
        return {name: v.reshape(*lead, *v.shape[1:]) for name, v in found.items()} | {
            name: np.broadcast_to(v, (*lead, *v.shape)) for name, v in known.items()
        }

    @property
    def _free_names(self) -> list[str]:
        return [name for name in self.system.dims if name in self.model.named_vars]

    @cached_property
    def _parameters(self) -> Callable:
        import jax

        from models.flat import flatten

        names = self._free_names
        flat = flatten(self.model, names)
        return jax.jit(jax.vmap(lambda u: [flat.constrain(u)[name] for name in names]))
