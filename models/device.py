"""Where JAX runs a model: a small one on the CPU even where there is a GPU, whose kernels take longer to start than to run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

DEVICES = ("auto", "cpu", "gpu")

# Terms of one log density, N K P, from which a GPU is chosen. On an H100 NUTS and ADVI on 272 rows take two to seven times as
# long as on the CPU beside it: a kernel takes about 10 microseconds to start, in which one core adds up 10,000 terms, and the
# gradient has hundreds of kernels.
TERMS = 20_000_000


class Choice(NamedTuple):
    """Where a model runs, "cpu" or "gpu"; what was asked for; and whether there is a GPU."""

    used: str
    asked: str
    gpu: bool


def choose(asked: str, terms: float, devices: Sequence[Any]) -> Choice:
    """The device for a log density of so many terms.

    Parameters
    ----------
    asked : {"auto", "cpu", "gpu"}
    terms : float
        N K P.
    devices : sequence of jax.Device
        What JAX has by default.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if asked not in DEVICES:
        raise ValueError(f"device is {asked!r}; expected {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
    gpu = any(device.platform != "cpu" for device in devices)
    if asked == "gpu" and not gpu:
        raise ValueError("JAX sees no GPU here; leave the device to the toolkit, or install JAX for this machine's GPU")
    if asked == "auto":
        return Choice("gpu" if gpu and terms >= TERMS else "cpu", asked, gpu)
    return Choice(asked, asked, gpu)


@contextmanager
def chosen(asked: str, terms: float) -> Iterator[Choice]:
    """Run JAX within on the device that `choose` names, and from all threads.

    Raises
    ------
    ValueError
        See `choose`.
    """
    import jax
    import pymc.sampling.jax  # noqa: F401  (which asks XLA for many host devices, as long as it has not started)

    choice = choose(asked, terms, jax.devices())
    if not choice.gpu:
        yield choice
        return
    before = jax.config.jax_default_device
    own = jax.local_devices(backend="cpu") if choice.used == "cpu" else jax.local_devices()
    jax.config.update("jax_default_device", own[0])
    try:
        yield choice
    finally:
        jax.config.update("jax_default_device", before)


def local() -> list[Any]:
    """The devices of the kind that JAX now uses."""
    import jax

    device = jax.config.jax_default_device
    return jax.local_devices(backend=getattr(device, "platform", device))
