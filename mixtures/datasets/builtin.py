"""The data sets that come with the package, or with scikit-learn; their provenance is in SOURCES.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixtures.datasets import files
from mixtures.datasets.dataset import Table
from mixtures.datasets.kinds import Asked
from mixtures.datasets.simulated import tsmatz

FILES = {"penguins-whole": "penguins"}
"""The file of a data set that has not its own name."""

PIXELS = tuple(f"r{row}c{column}" for row in range(8) for column in range(8))
"""The features of ``digits``."""


@dataclass(frozen=True)
class Description:
    """One row of the catalogue: rows and features as loaded by default, and the number of classes if labelled.

    ``holds`` says in a word what the features are; ``columns``, ``missing``, ``counts``, ``categorical`` and ``family`` are
    what `mixtures.datasets.load` takes of this set where it is not told otherwise.
    """

    name: str
    n: int
    d: int
    classes: int | None
    source: str
    label: str | None = None
    holds: str = "numbers"
    columns: tuple[str, ...] | None = None
    missing: str | None = None
    counts: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    family: str | None = None

    def asked(self, asked: Asked, columns: Sequence[str] | None) -> Asked:
        """The kinds that were asked for, and for columns of which nothing was said those of this data set."""
        if asked.family is not None:
            return asked
        known = {*asked.counts, *asked.categorical}
        chosen = None if columns is None else set(columns)
        counts, categorical = (
            tuple(name for name in own if name not in known and (chosen is None or name in chosen))
            for own in (self.counts, self.categorical)
        )
        return Asked(asked.counts + counts, asked.categorical + categorical, self.family)


_MEASURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")

CATALOGUE = {
    entry.name: entry
    for entry in (
        Description("faithful", 272, 2, None, "Old Faithful eruptions; Härdle (1991), R datasets::faithful"),
        Description("galaxies", 82, 1, None, "Galaxy velocities, km/s; Roeder (1990), R MASS::galaxies"),
        Description("acidity", 155, 1, None, "Lake acidity, log ANC; Crawford (1994), R mclust::acidity"),
        Description("banknote", 200, 6, 2, "Swiss notes; Flury & Riedwyl (1988), R mclust::banknote", "Status"),
        Description("diabetes", 145, 3, 3, "Reaven & Miller (1979), R mclust::diabetes", "class"),
        Description(
            "penguins",
            342,
            4,
            3,
            "Palmer penguins; Horst, Hill & Gorman (2020)",
            "species",
            columns=_MEASURES,
            missing="drop",
        ),
        Description("iris", 150, 4, 3, "Fisher (1936), scikit-learn load_iris", "species"),
        Description("wine", 178, 13, 3, "Forina et al. (1988), scikit-learn load_wine", "cultivar"),
        Description("tsmatz", 1000, 2, 3, "Simulated: three overlapping clusters, RandomState(1000)", "cluster"),
        Description(
            "penguins-whole",
            333,
            6,
            3,
            "Palmer penguins with island and sex; Horst, Hill & Gorman (2020)",
            "species",
            "mixed",
            ("island", *_MEASURES, "sex"),
            missing="drop",
        ),
        Description(
            "heart",
            270,
            12,
            2,
            "Statlog heart data, UCI repository; R VarSelLCM::heart",
            "disease",
            "mixed",
            counts=("age",),
            categorical=(
                "sex",
                "chest_pain",
                "fasting_blood_sugar",
                "rest_ecg",
                "exercise_angina",
                "slope",
                "major_vessels",
                "thal",
            ),
        ),
        Description(
            "digits",
            1797,
            64,
            10,
            "Handwritten digits, 8 x 8 pixels, each of at least half the darkness or not; scikit-learn load_digits",
            "digit",
            "binary",
            family="bernoulli",
        ),
        Description(
            "carcinoma",
            118,
            7,
            None,
            "Seven pathologists' ratings of slides; Agresti (2002), R poLCA::carcinoma",
            holds="binary",
            family="bernoulli",
        ),
        Description(
            "cheating",
            319,
            4,
            None,
            "Students on cheating; Dayton (1998), R poLCA::cheating",
            holds="binary",
            columns=("LIEEXAM", "LIEPAPER", "FRAUD", "COPYEXAM"),
            family="bernoulli",
        ),
        Description(
            "alzheimer",
            240,
            6,
            None,
            "Symptoms of early Alzheimer's disease; Moran et al. (2004), R BayesLCA::Alzheimer",
            holds="binary",
            family="bernoulli",
        ),
        Description(
            "election",
            1311,
            12,
            None,
            "US National Election Study 2000, two candidates' traits; R poLCA::election",
            holds="categories",
            columns=tuple(trait + of for of in "GB" for trait in ("MORAL", "CARES", "KNOW", "LEAD", "DISHON", "INTEL")),
            missing="drop",
        ),
        Description(
            "deaths",
            1096,
            1,
            None,
            "Deaths a day in the London Times; Lange (2010, table 2.6)",
            holds="counts",
            columns=("deaths",),
            counts=("deaths",),
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the built-in data sets.

    >>> names()[:6]
    ('faithful', 'galaxies', 'acidity', 'banknote', 'diabetes', 'penguins')
    """
    return tuple(CATALOGUE)


def describe() -> tuple[Description, ...]:
    """Return name, rows, features, classes and source of each built-in data set, without loading any.

    >>> [(entry.name, entry.n, entry.d, entry.classes) for entry in describe()][:2]
    [('faithful', 272, 2, None), ('galaxies', 82, 1, None)]
    """
    return tuple(CATALOGUE.values())


def read(name: str, label: str | None = None) -> Table:
    """Read a built-in data set with all of its columns, the label included."""
    if name == "tsmatz":
        data = tsmatz()
        return Table((*data.features, "cluster"), (*data.x.T, np.asarray(data.labels, dtype=object)))
    if name in ("iris", "wine"):
        return _from_scikit_learn(name)
    if name == "digits":
        return _digits()
    table = files.read(Path(__file__).with_name(f"{FILES.get(name, name)}.csv"), label)
    if name == "deaths":  # a row for each number of deaths, and the days that had it
        return Table(("deaths",), (np.repeat(table["deaths"], table["days"].astype(int)),))
    return table


def _from_scikit_learn(name: str) -> Table:
    from sklearn.datasets import load_iris, load_wine

    bunch = {"iris": load_iris, "wine": load_wine}[name]()
    features = [feature.replace(" (cm)", "_cm").replace(" ", "_") for feature in bunch.feature_names]
    labels = np.asarray(bunch.target_names)[bunch.target].astype(object)
    return Table((*features, str(CATALOGUE[name].label)), (*bunch.data.T, labels))


def _digits() -> Table:
    """Scikit-learn's digits; of the 0 to 16 of a pixel it is kept whether it is at least 8."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    dark = (bunch.data >= 8).astype(float)
    return Table((*PIXELS, "digit"), (*dark.T, bunch.target.astype(str).astype(object)))
