"""Energy plot of a Hamiltonian sampler: do its transitions reach all energies of the posterior?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

COLOURS = (style.INK, "#b58900")


def plot_energy(method: str, tree: xr.DataTree, limit: float) -> Figure:
    """Draw the densities of the energies and of their changes between draws, and E-BFMI by chain, with ArviZ.

    Parameters
    ----------
    tree
        Group `sample_stats` with `energy` (chain, draw), in nats.
    limit
        E-BFMI below which exploration is poor.
    """
    with style.arviz_drawing() as az:
        collection = az.plot_energy(
            tree,
            threshold=limit,
            color=COLOURS,
            visuals={
                "legend": False,
                "title": False,
                "ylabel": False,
                "ref_line": {"color": style.MUTED},
                "face": {"alpha": 0.12},
            },
            figure_kwargs={"figsize": (style.HALF, 2.3)},
        )
        figure = style.of_collection(collection)
        by_chain, densities = figure.axes
        chains = tree["sample_stats"].sizes["chain"]
        by_chain.set(title=style.look(method).label, xlabel="E-BFMI", ylabel="chain", ylim=(chains - 0.5, -0.5),
                     xlim=(0, None), yticks=range(chains))  # fmt: skip
        densities.set(xlabel="energy less its mean (nats)", ylabel="density")
        densities.set_ylim(0, 1.4 * densities.get_ylim()[1])
        densities.legend(densities.lines[:2], ["energy", "change between draws"], loc="upper right", handlelength=1.2)
    return figure
