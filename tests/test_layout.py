"""The shape of the project: who may import whom, what loads at import, what is packaged, and that the code is clean."""

import ast
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mixtures", "models", "reports")

# From the bottom: a file imports from its own floor and those below.
FLOORS = {
    "mixtures": (
        ("caches", "checks", "chunks", "errors", "memory", "model", "rows", "seeds", "special", "substitution"),
        ("engines",),
        ("fit", "labels", "sequences"),
        ("families", "allocations"),
        ("ascent",),
        ("methods", "dynamics"),
        ("estimators", "datasets", "tables"),
    ),
    "reports": (
        ("metrics", "examples"),
        ("comparison", "validation"),
        ("studies", "bench"),
        ("plots",),
        ("page",),
        ("api",),
        ("commands",),
    ),
}

# Where one file is one family, allocation or method, files import no other of their folder but these.
APART = {
    "families": {
        "collapse",
        "discrete",
        "gaps",
        "hyperparameters",
        "normal",
        "numbering",
        "parameters",
        "priors",
        "scaling",
        "side_by_side",
        "symmetric",
        "wishart",
    },
    "allocations": {"independent", "stationary"},
    "methods": {
        "exact_cost",
        "exact_labellings",
        "exact_posterior",
        "exact_subsets",
        "partitions",
        "stationary",
        "sweeps",
    },
}


def imports(path, *, top_level_only):
    """Modules that a file imports, those inside functions left out on request; TYPE_CHECKING blocks never count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in tree.body if top_level_only else ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(("package", "above"), [("mixtures", ("models", "reports")), ("models", ("reports",))])
def test_imports_point_one_way(package, above):
    wrong = [
        (path.name, name)
        for path in files(package)
        for name in imports(path, top_level_only=False)
        if name.split(".")[0] in above
    ]
    assert files(package)
    assert wrong == []


def floor(package, name):
    """The floor of a module of the package by its dotted name; None for the package itself."""
    part = name.split(".")[1] if "." in name else None
    return next((i for i, floor in enumerate(FLOORS[package]) if part in floor), None)


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("package", FLOORS)
def test_imports_go_down_the_floors(package):
    """Every file stands on a floor, and imports from none above it."""
    modules = {path: dotted(path) for path in files(package) if dotted(path) != package}
    assert [str(path) for path, name in modules.items() if floor(package, name) is None] == []
    wrong = [
        (name, imported)
        for path, name in modules.items()
        for imported in imports(path, top_level_only=False)
        if imported.startswith(f"{package}.") and (floor(package, imported) or 0) > floor(package, name)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_go_round_in_circles(package):
    modules = {dotted(path): path for path in files(package)}

    def module(name):
        return name if name in modules else name.rpartition(".")[0]

    graph = {
        name: {module(i) for i in imports(path, top_level_only=False) if module(i) in modules} - {name, package}
        for name, path in modules.items()
    }
    TopologicalSorter(graph).prepare()  # raises a CycleError that names the circle


@pytest.mark.parametrize("folder", APART)
def test_families_allocations_and_methods_stand_apart(folder):
    allowed = {f"mixtures.{folder}.{name}" for name in APART[folder]}
    wrong = [
        (path.name, name)
        for path in (ROOT / "mixtures" / folder).glob("*.py")
        for name in imports(path, top_level_only=False)
        if name.startswith(f"mixtures.{folder}.") and name.rpartition(".")[0] not in allowed
    ]
    assert wrong == []


def test_mixtures_loads_numpy_and_scipy_alone():
    """But for what is loaded when it is first used."""
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "mixtures"}
    late = {
        ROOT / "mixtures" / name
        for name in (
            "engines/accurate.py",
            "engines/both_ends.py",
            "engines/chains.py",
            "dynamics/compiled.py",
            "dynamics/sweeps.py",
            "engines/coded.py",
            "engines/diffuse.py",
            "engines/entries.py",
            "engines/filters.py",
            "engines/flat.py",
            "engines/fused.py",
            "engines/laid.py",
            "engines/lanes.py",
            "engines/loops/answers.py",
            "engines/loops/attributes.py",
            "engines/loops/seeding.py",
            "engines/loops/whole.py",
            "engines/objects.py",
            "engines/products.py",
            "engines/recursions.py",
            "engines/sampling.py",
            "engines/short.py",
            "engines/softmax.py",
            "engines/split.py",
            "engines/steps.py",
            "engines/triangles.py",
            "engines/vectors.py",
            "engines/wide.py",
        )
    }
    late |= set((ROOT / "mixtures" / "estimators").rglob("*.py"))
    wrong = [
        (path.name, name)
        for path in files("mixtures")
        if path not in late
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] not in allowed
        or (
            name.startswith("scipy") and not name.startswith(("scipy.special", "scipy.linalg"))
        )  # the one loads the other
    ]
    assert wrong == []


def test_importing_mixtures_loads_nothing_slow():
    methods = "mixtures.methods.em, mixtures.methods.cavi, mixtures.methods.exact, mixtures.methods.gibbs"
    code = f"import sys, {methods}, mixtures.datasets; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "scipy.special" in loaded
    slow = {
        "pymc",
        "pytensor",
        "jax",
        "arviz",
        "arviz_stats",
        "sklearn",
        "pandas",
        "xarray",
        "numba",
        "matplotlib",
        "pyarrow",
    }
    assert slow.isdisjoint(loaded)


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for p in (ROOT / package).rglob("__init__.py")
    }
    assert set(listed) == found


def test_a_family_has_its_twin():
    ours, theirs = ({p.stem for p in (ROOT / side / "families").glob("*.py")} for side in ("mixtures", "models"))
    assert ours - APART["families"] == theirs


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)], ids=" ".join
)
def test_code_is_clean(command):
    found = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert found, f"{command[0]} is not installed beside this Python"
    result = subprocess.run([found, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
