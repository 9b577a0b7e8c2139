"""The arrows between the packages, the weight of an import, and the size of what is written."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("encoder", "ingest", "query", "analytics", "cli")
HEAVY = {"torch", "sklearn", "dask", "rasterio", "pandas", "duckdb", "faiss", "requests", "fastapi", "matplotlib", "xarray"}
SOURCES = sorted(
    path
    for folder in ("esd", *FOLDERS, "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if not any(parent.is_symlink() for parent in path.parents)
)


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


@pytest.mark.parametrize("path", [p for p in SOURCES if package_of(p) not in ("tests", "benchmarks")], ids=str)
def test_packages_never_import_each_other_sideways(path: Path) -> None:
    package = package_of(path)
    allowed = set(FOLDERS) if package == "cli" else {package} - {"esd"}
    for name in imports_of(path):
        parts = name.split(".")
        assert parts[0] not in FOLDERS, f"{path}: import {name} as esd.{name}"
        if parts[0] == "esd" and len(parts) > 1 and parts[1] in FOLDERS:
            assert parts[1] in allowed, f"{path} in {package} imports {name}"


@pytest.mark.parametrize("path", [p for p in SOURCES if package_of(p) in ("esd", "analytics")], ids=str)
def test_the_core_and_the_declarations_import_nothing_heavy_at_the_top(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports_of(path, top_level_only=True)} & HEAVY


def test_import_esd_loads_nothing_heavy() -> None:
    # odc-geo itself imports Dask where that is installed: what is loaded before our own modules does not count
    names = "{name.split('.')[0] for name in sys.modules}"
    code = f"import sys, odc.geo.geobox; known = {names}; import esd; print(' '.join(sorted({names} - known)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & HEAVY


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, f"{path} has more than 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            length = (node.end_lineno or 0) - first.lineno + 1
            assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_every_package_is_in_the_wheel() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"esd", "esd.engine", *(f"esd.{folder}" for folder in FOLDERS)}
    nested = {str(p.parent.relative_to(ROOT)) for p in SOURCES if p.name == "__init__.py" and package_of(p) != "tests"}
    assert declared == found
    assert nested <= {"esd", "esd/engine", *FOLDERS}


@pytest.mark.parametrize("name", ["esd", *(f"esd.{folder}" for folder in FOLDERS)])
def test_exported_names_exist_and_are_all_that_is_public(name: str) -> None:
    module = importlib.import_module(name)
    exported = set(module.__all__)
    assert all(hasattr(module, attribute) for attribute in exported)
    visible = {
        attribute
        for attribute, value in vars(module).items()
        if not attribute.startswith("_") and type(value).__name__ not in ("module", "_Feature")
    }
    assert visible <= exported, f"{name} shows {visible - exported} outside of __all__"
