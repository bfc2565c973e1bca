"""What a comparison leaves behind: the numbers, the draws and the facts of a run, in memory or in a folder.

A folder holds ``metrics.csv`` (long form), ``manifest.json``, ``data.zarr`` and one ``<method>.zarr`` a method, beside the
page ``report.html``. The page is made from these alone, so that it can be made again without fitting anything; so is
``memberships.csv``, which says of every row of the data to which cluster it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mixtures.memory import check_memory
from reports.comparison import files
from reports.comparison.manifest import ManifestError, kind_of, read, write
from reports.comparison.memberships import as_csv, of_results

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FORMAT, FORMAT_OF_VALIDATION = 8, 1
COLUMNS = ("method", "metric", "target", "value", "se")
MANIFEST, PAGE, METRICS, DATA = "manifest.json", "report.html", "metrics.csv", "data.zarr"
MEMBERSHIPS = "memberships.csv"
VALIDATION = "validation"

# What a file within a zarr store is called.
IN_STORE = re.compile(r"\.z(array|attrs|group|metadata)|\d+(\.\d+)*")


class ResultsError(ValueError):
    """A results folder that cannot be read or must not be written."""


@dataclass
class Results:
    """Everything a page is made from.

    Parameters
    ----------
    manifest : dict
        Command, seed, versions, data, model, methods, reference, relabelling, evidence, verdict and timings; JSON-able.
    metrics : pandas.DataFrame
        Columns method, metric, target, value, se; a row that is missing does not apply. A value is infinite where an estimate
        is at the boundary, so that it has no log odds or no logarithm, or makes a point impossible.
    data : xarray.Dataset
        ``x`` (obs, feature), ``row`` (obs), where these points stood in the data as given, ``index`` (obs), what they are
        called, and ``label`` (obs) where there are any; and the same of held-out points, ``x_heldout`` (obs_heldout, feature)
        and so on.
    trees : dict of xarray.DataTree
        The draws of every method that succeeded, in one labelling and in the units of x.
    """

    manifest: dict[str, Any]
    metrics: pd.DataFrame
    data: xr.Dataset
    trees: dict[str, xr.DataTree]

    @property
    def is_validation(self) -> bool:
        """Whether they are of any model (`reports.validation`) and not of one mixture."""
        return self.manifest.get("kind") == VALIDATION

    def memberships(self) -> pd.DataFrame | None:
        """To which cluster each row of the data belongs, by the reference or else the first method; None where none succeeded.

        See `reports.comparison.memberships.memberships`.
        """
        return None if self.is_validation else of_results(self.manifest, self.data, self.trees)

    def save(self, folder: str | Path, *, overwrite: bool = False, page: Callable[[], str] | None = None) -> Path:
        """Write the folder in one move: it is there whole, or not at all.

        Parameters
        ----------
        folder : path
        overwrite : bool
            Replace an earlier comparison.
        page : callable, optional
            Gives the page, which goes with the numbers.

        Raises
        ------
        ResultsError
            If the folder holds something else, or a comparison and ``overwrite`` is false.
        OSError
            If it cannot be written; an earlier comparison stays.
        """
        folder = Path(folder).resolve()

        def check() -> None:
            check_free(folder, overwrite=overwrite)

        check()
        try:
            return files.write_folder(folder, partial(self._fill, page), replace=overwrite, check=check)
        except OSError:  # another run may have written there since
            check_free(folder, overwrite=overwrite)
            raise

    def _fill(self, page: Callable[[], str] | None, folder: Path) -> None:
        from reports.comparison.schema import spelled

        self.metrics.to_csv(folder / METRICS, index=False)
        files.write_tree(self.data, folder / DATA)
        for name, tree in self.trees.items():
            files.write_tree(tree, folder / store_name(name))
        if (table := self.memberships()) is not None:
            files.write_text(folder / MEMBERSHIPS, as_csv(table))
        digests = {path.name: files.digest(path) for path in sorted(folder.iterdir())}
        write(folder / MANIFEST, spelled(self.manifest) | {"files": digests})
        if page:
            files.write_text(folder / PAGE, page())

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read what `save` wrote.

        Raises
        ------
        ResultsError
            If the folder is not there, is not a comparison, is damaged, or was written in another format.
        """
        import pandas as pd
        import xarray as xr

        folder = Path(folder).resolve()
        files.restore(folder)
        manifest = _read_manifest(folder)
        names = [name for name, method in manifest["methods"].items() if method["status"] == "ok"]
        try:
            _check_files(folder, names, manifest.pop("files"))
            metrics = pd.read_csv(folder / METRICS, keep_default_na=False, na_values={"value": [""], "se": [""]})
            data = xr.open_zarr(files.open_store(folder / DATA), chunks=None, consolidated=True)
            check_memory(data.nbytes, DATA, "it holds more than was written")
            data = data.load()
            stores = {name: files.open_tree(folder / store_name(name)) for name in names}
            check_memory(sum(store.nbytes for store in stores.values()), "its draws", "they are more than was written")
            trees = {name: store.load() for name, store in stores.items()}
            (_check_shapes if manifest.get("kind") == VALIDATION else _check_agree)(manifest, data, trees)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise ResultsError(f"{folder} is damaged ({error}); run the comparison again") from error
        return cls(manifest, metrics, data, trees)


def file_name(method: str) -> str:
    """The method's name as part of a file's, whatever its characters; letters, digits, hyphens and spaces stay.

    >>> file_name("advi-fullrank"), file_name("<b>x/y</b>")
    ('advi-fullrank', '%3Cb%3Ex%2Fy%3C%2Fb%3E')
    """
    return quote(method, safe=" ")


def store_name(method: str) -> str:
    """Name of the zarr store of a method's draws."""
    return f"{file_name(method)}.zarr"


def check_place(folder: Path, *, moved: bool = True) -> None:
    """Refuse a folder that cannot be written; see `reports.comparison.files.check_folder`.

    Raises
    ------
    ResultsError
    """
    folder = folder.resolve()
    above = files.standing(folder)
    if not above.is_dir():
        raise ResultsError(f"{above} is a file; give a folder with --out")
    try:
        files.restore(folder)
        files.check_folder(folder, moved=moved)
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror}); give another folder with --out") from None


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot or must not be written.

    Raises
    ------
    ResultsError
    """
    folder = folder.resolve()
    if folder == Path.cwd() or folder in Path.cwd().parents:
        raise ResultsError(f"{folder} is the working folder or above it; give a new folder with --out")
    check_place(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        manifest = _read_manifest(folder, or_older=True)
    except ResultsError as error:
        raise ResultsError(
            f"{folder} holds something else than a comparison ({error}); give another folder with --out"
        ) from None
    if not overwrite:
        raise ResultsError(f"{folder} holds an earlier comparison; give --overwrite to replace it, or another --out")
    if (other := next(_not_ours(folder, manifest), None)) is not None:
        raise ResultsError(
            f"{folder} holds {other!r}, which no comparison wrote, and --overwrite would delete it; move it, or give another "
            "folder with --out"
        )


def check_empty(folder: Path) -> None:
    """Refuse a folder that cannot be written or has something in it.

    Raises
    ------
    ResultsError
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ResultsError(f"{folder} is not empty; give a new folder with --out")
    check_free(folder, overwrite=False)


def _not_ours(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Names, as seen from the folder, of whatever is in it that its comparison did not write."""
    stores = {DATA, *map(store_name, manifest["methods"])}
    for path in sorted(path for path in folder.iterdir() if not files.is_leftover(path)):
        if path.name in stores and path.is_dir() and not path.is_symlink():
            for name, file in files.contents(path):
                if file.is_symlink() or not IN_STORE.fullmatch(file.name):
                    yield f"{path.name}/{name}"
        elif path.is_symlink() or not path.is_file() or path.name not in (MANIFEST, PAGE, METRICS, MEMBERSHIPS):
            yield path.name


def _read_manifest(folder: Path, *, or_older: bool = False) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        if not path.is_file():
            raise ResultsError(
                f"{folder} is no results folder: it has no {MANIFEST}; name one that `mixtures compare` wrote"
            )
        from reports.comparison import schema

        older = schema.Earlier if or_older else None
        if kind_of(path) == VALIDATION:
            manifest = read(path, schema.Validation, "a validation", FORMAT_OF_VALIDATION, older=older)
            if manifest["format"] == FORMAT_OF_VALIDATION:
                schema.check_validation(manifest)
                schema.as_numbers(manifest)
            return manifest
        manifest = read(path, schema.Manifest, "a comparison", FORMAT, older=older)
        if manifest["format"] == FORMAT:
            schema.check(manifest)
            schema.as_numbers(manifest)
    except ManifestError as error:
        raise ResultsError(f"{error}; run the comparison again") from error
    return manifest


def _check_files(folder: Path, methods: list[str], digests: dict[str, str]) -> None:
    """Refuse files that are not as they were written: lost, cut short, changed, or a symbolic link that leads elsewhere."""
    for name in (METRICS, DATA, *map(store_name, methods)):
        if files.digest(folder / name) != digests[name]:
            raise ValueError(f"{name} is not as it was written")


def _check_agree(manifest: dict[str, Any], data: xr.Dataset, trees: dict[str, xr.DataTree]) -> None:
    """Refuse a manifest that is about other numbers than those of the stores."""
    described, K = manifest["data"], manifest["model"]["n_components"]
    if list(data["feature"].values) != described["features"] or data.sizes["obs"] != described["n"]:
        raise ValueError(f"{MANIFEST} describes other data than {DATA}")
    for name, tree in trees.items():
        if tree["posterior"].sizes["cluster"] != K:
            raise ValueError(f"{MANIFEST} has K = {K}, and {store_name(name)} has not")


def _check_shapes(manifest: dict[str, Any], data: xr.Dataset, trees: dict[str, xr.DataTree]) -> None:
    """Refuse a manifest of a validation that is about other observed values or variables than those of the stores."""
    if {name: list(v.shape) for name, v in data.data_vars.items()} != manifest["data"]["observed"]:
        raise ValueError(f"{MANIFEST} describes other data than {DATA}")
    described = {name: facts["shape"] for name, facts in manifest["model"]["variables"].items()}
    for method, tree in trees.items():
        found = {name: list(v.shape[2:]) for name, v in tree["posterior"].data_vars.items()}
        lacks = manifest["methods"][method]["missing"]
        if found != {name: shape for name, shape in described.items() if name not in lacks}:
            raise ValueError(f"{MANIFEST} describes other variables than {store_name(method)}")
