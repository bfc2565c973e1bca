"""What a comparison leaves behind: the numbers, the draws and the facts of a run, in memory or in a folder.

A folder holds ``metrics.csv`` (long form), ``manifest.json``, ``data.zarr`` and one ``<method>.zarr`` a method, beside the
page ``report.html``. The page is made from these alone, so that it can be made again without fitting anything.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FORMAT = 6
COLUMNS = ("method", "metric", "target", "value", "se")
MANIFEST, PAGE = "manifest.json", "report.html"


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
        Columns method, metric, target, value, se; a row that is missing does not apply.
    data : xarray.Dataset
        ``x`` (obs, feature), ``row`` (obs), where these points stood in the data as given, and ``x_heldout`` (obs_heldout,
        feature) and ``label`` (obs) where there are any.
    trees : dict of xarray.DataTree
        The draws of every method that succeeded, in one labelling and in the units of x.
    """

    manifest: dict[str, Any]
    metrics: pd.DataFrame
    data: xr.Dataset
    trees: dict[str, xr.DataTree]

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder in one move: it is there whole, or not at all.

        Parameters
        ----------
        folder : path
        overwrite : bool
            Replace an earlier comparison.

        Raises
        ------
        ResultsError
            If the folder holds something else, or a comparison and ``overwrite`` is false.
        """
        import zarr

        folder = Path(folder).resolve()
        check_free(folder, overwrite=overwrite)
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        part.chmod(0o755)
        try:
            (part / MANIFEST).write_text(json.dumps(self.manifest, indent=2, default=_plain) + "\n", encoding="utf-8")
            self.metrics.to_csv(part / "metrics.csv", index=False)
            self.data.to_zarr(part / "data.zarr", zarr_format=2)
            for name, tree in self.trees.items():
                store = part / f"{file_name(name)}.zarr"
                tree.to_zarr(
                    store, zarr_format=2, consolidated=False
                )  # else once a group, which takes longer than the rest
                zarr.consolidate_metadata(store, zarr_format=2)
            check_free(folder, overwrite=overwrite)
            if overwrite and folder.exists():
                shutil.rmtree(folder)
            try:
                part.rename(folder)
            except OSError:  # another run may have written there since
                check_free(folder, overwrite=False)
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder

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

        folder = Path(folder)
        manifest = _read_manifest(folder)
        try:
            metrics = pd.read_csv(folder / "metrics.csv", keep_default_na=False, na_values={"value": [""], "se": [""]})
            data = xr.open_zarr(folder / "data.zarr", consolidated=True).load()
            names = [name for name, method in manifest["methods"].items() if method["status"] == "ok"]
            trees = {name: xr.open_datatree(folder / f"{file_name(name)}.zarr", engine="zarr").load() for name in names}
            if list(metrics.columns) != list(COLUMNS):
                raise ValueError("metrics.csv has other columns")
            for name, tree in trees.items():
                for group in ("posterior", "clusters"):
                    if any(bool(values.isnull().any()) for values in tree[group].to_dataset().data_vars.values()):
                        raise ValueError(f"{name}.zarr has gaps in {group}")
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise ResultsError(f"{folder} is damaged ({error}); run the comparison again") from error
        return cls(manifest, metrics, data, trees)


def file_name(method: str) -> str:
    """The method's name as part of a file's, whatever its characters; letters, digits, hyphens and spaces stay.

    >>> file_name("advi-fullrank"), file_name("<b>x/y</b>")
    ('advi-fullrank', '%3Cb%3Ex%2Fy%3C%2Fb%3E')
    """
    return quote(method, safe=" ")


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot or must not be written."""
    folder = folder.resolve()
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir():
        raise ResultsError(f"{above} is a file; give a folder with --out")
    if folder == Path.cwd() or folder in Path.cwd().parents:
        raise ResultsError(f"{folder} is the working folder or above it; give a new folder with --out")
    try:
        tempfile.TemporaryDirectory(dir=folder.parent if above == folder else above).cleanup()
    except OSError as error:
        raise ResultsError(f"{folder} cannot be written ({error.strerror}); give another folder with --out") from None
    if above != folder or not any(folder.iterdir()):
        return
    try:
        _read_manifest(folder)
    except ResultsError:
        raise ResultsError(f"{folder} holds something else than a comparison; give another folder with --out") from None
    if not overwrite:
        raise ResultsError(f"{folder} holds an earlier comparison; give --overwrite to replace it, or another --out")


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ResultsError(
            f"{folder} is no results folder: it has no {MANIFEST}; name one that `mixtures compare` wrote"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} is not the manifest of a comparison ({error})") from error
    if version != FORMAT:
        raise ResultsError(f"{folder} was written in format {version}, not {FORMAT}; run the comparison again")
    return manifest


def _plain(value: Any) -> Any:
    """JSON for NumPy scalars and arrays."""
    return value.tolist()
