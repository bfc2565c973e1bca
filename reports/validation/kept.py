"""Draws of our own methods, kept on disk: the next run of the same model takes them and fits nothing again.

A run is the same if its log density is, part by part and to the last bit, at `POINTS` points about PyMC's start, and so are the
names, the method, its settings, its stream of random numbers, the versions of the packages, and the code of this one.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np

from models import cache
from reports.comparison import files
from reports.comparison.manifest import versions
from reports.validation.results import Joined, from_unconstrained
from reports.validation.target import BLOCK, Target

POINTS = BLOCK
STATS = "stats."


@dataclass(frozen=True)
class Shelf:
    """Where runs of one model are kept; without a folder none are.

    Parameters
    ----------
    target : Target
    folder : Path, optional
    """

    target: Target
    folder: Path | None

    @classmethod
    def of(cls, target: Target, wanted: bool) -> Shelf:
        """The shelf in the user's folder for what can be made again, if one is wanted and can be written."""
        own = cache.folder().parent / "draws"
        return cls(target, own if wanted and cache.ready(own) else None)

    def place(self, method: str, settings: Mapping[str, Any], rng: np.random.Generator) -> Path | None:
        """The file of a run that is about to begin."""
        if self.folder is None:
            return None
        facts = [method, dict(settings), rng.bit_generator.state]
        digest = hashlib.sha256(self._model + json.dumps(facts, sort_keys=True, default=str).encode())
        return self.folder / f"{digest.hexdigest()[:32]}.npz"

    def take(self, place: Path | None) -> tuple[Joined, dict[str, Any]] | None:
        """The draws in a file and what was said of them: ``warnings``, and ``made``, when they were; None if it holds none."""
        if place is None or not place.is_file():
            return None
        try:
            with place.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            facts = json.loads(str(arrays.pop("facts")))
            found = from_unconstrained(self.target, arrays.pop("u"), facts.pop("kind"))
            stats = {name.removeprefix(STATS): a for name, a in arrays.items() if name.startswith(STATS)}
            said = {name: facts.pop(name) for name in ("warnings", "made")}
            return replace(found, stats=stats, bound=arrays["bound"], log_q=arrays.get("log_q"), **facts), said
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            zipfile.BadZipFile,
        ):  # cut short or of another form: fitted again
            return None

    def put(self, place: Path | None, joined: Joined, entry: Mapping[str, Any]) -> None:
        """Keep the draws of a run and its entry in the manifest; a full disk costs only that."""
        if place is None or joined.u is None:
            return
        facts = {name: entry[name] for name in ("converged", "info", "warnings")}
        facts |= {
            "kind": joined.kind,
            "seconds": joined.seconds,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        arrays: dict[str, Any] = {"u": joined.u, "bound": joined.bound, "facts": np.array(json.dumps(facts))}
        arrays |= {} if joined.log_q is None else {"log_q": joined.log_q}
        arrays |= {f"{STATS}{name}": np.asarray(a) for name, a in joined.stats.items()}

        def write(part: Path) -> None:
            with part.open("wb") as stream:
                np.savez(stream, **arrays)

        with suppress(OSError):
            files.write_file(place, write)

    @cached_property
    def _model(self) -> bytes:
        """What the model is known by, in 32 bytes."""
        import jax

        target, rng = self.target, np.random.default_rng(0)
        u = target.start + np.concatenate([np.zeros((1, target.size)), rng.standard_normal((POINTS - 1, target.size))])
        host = [platform.machine(), jax.default_backend(), jax.local_device_count()]
        names = [target.model.str_repr(), str(target.variables), str(target.flat.shapes), versions(), _code(), host]
        digest = hashlib.sha256(json.dumps(names).encode())
        for part in target.parts(u):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.digest()


def _code() -> str:
    """A digest of the code that fits."""
    digest = hashlib.sha256()
    for package in ("models", "mixtures.dynamics", "reports.validation"):
        root = Path(str(resources(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
