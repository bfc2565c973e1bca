"""Which checks of a calibration say that a method differs from the posterior, and how often they do so wrongly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reports.studies.calibration.judgement import Band, covered, symmetry
from reports.studies.calibration.prior import LEVELS
from reports.studies.intervals import wilson_of_means
from reports.studies.own.generative import LOG_JOINT, LOG_LIKELIHOOD

FALSE_ALARMS = 0.003
"""How often at most a calibration says that an exact method departs, over its three checks and all quantities."""

LEVEL = FALSE_ALARMS / 3
"""Of each check."""


def departures(ranks: Mapping[str, np.ndarray], L: int, band: Band, rng: np.random.Generator) -> list[str]:
    """Which checks of a method say that it differs, at the levels of a calibration's page.

    Parameters
    ----------
    ranks : mapping of str to ndarray, shape (S,)
        Among L draws, by quantity.
    L : int
    band : Band
        Of as many ranks.
    rng : numpy.random.Generator
        For the test of symmetry.
    """
    level = LEVELS[-1]
    together = np.stack(list(ranks.values()), axis=1)
    _, low, high = wilson_of_means(covered(together, L, level).mean(1), 1 - LEVEL)
    sided = [name for name in ranks if name not in (LOG_LIKELIHOOD, LOG_JOINT)]
    found = {
        "intervals": not low <= level <= high,
        "posterior": band.p_values(together.T).min() < LEVEL / len(ranks),
        "medians": any(symmetry(ranks[q], L, rng, LEVEL / len(sided)) < LEVEL / len(sided) for q in sided),
    }
    return [name for name, differs in found.items() if differs]
