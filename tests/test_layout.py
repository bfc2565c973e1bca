"""The shape of the project: who may import whom, what loads at import, what is packaged, and that the code is clean."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mixtures", "models", "reports")
SIBLINGS = ("families", "allocations", "engines", "methods")


def imports(path, *, top_level_only):
    """Modules that a file imports, those inside functions left out on request; TYPE_CHECKING blocks never count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
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


@pytest.mark.parametrize("kind", SIBLINGS)
def test_siblings_do_not_import_each_other(kind):
    wrong = [
        (path.name, name)
        for path in (ROOT / "mixtures" / kind).glob("*.py")
        for name in imports(path, top_level_only=False)
        if any(name.startswith(f"mixtures.{other}") for other in SIBLINGS)
    ]
    assert wrong == []


def test_mixtures_loads_numpy_and_scipy_alone():
    """But for what is loaded when it is first used."""
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "mixtures"}
    late = {ROOT / "mixtures" / name for name in ("engines/fused.py", "softmax.py")}
    late |= set((ROOT / "mixtures" / "estimators").glob("*.py"))
    wrong = [
        (path.name, name)
        for path in files("mixtures")
        if path not in late
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] not in allowed or (name.startswith("scipy") and not name.startswith("scipy.special"))
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
    ours, theirs = ({p.name for p in (ROOT / side / "families").glob("*.py")} for side in ("mixtures", "models"))
    assert ours == theirs


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)], ids=" ".join
)
def test_code_is_clean(command):
    found = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert found, f"{command[0]} is not installed beside this Python"
    result = subprocess.run([found, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
