"""Rules of the house that a machine can check: floors, sizes, lazy imports, safe loading."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "medfm"
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "_data" not in p.parts)

# From the ground up; a floor imports from itself and from those before it.
FLOORS = [
    "core",
    "io",
    "modalities",
    "cohorts",
    "knowledge",
    "encoders",
    "embeddings",
    "evaluation",
    "objectives",
    "training",
    "federated",
    "reporting",
    "workflows",
    "cli",
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name_of(path)}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != PACKAGE], ids=name_of)
def test_imports_go_downwards_only(path: Path) -> None:
    floor = path.relative_to(PACKAGE).parts[0]
    if floor == "testing":
        return
    level = FLOORS.index(floor)
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "medfm" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS.index(parts[1]) <= level, f"{name_of(path)} imports upwards: {module}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_above_500_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_checkpoints_are_loaded_safely(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        if re.search(r"\btorch\.load\(", line):
            assert "weights_only=True" in line, line
    assert not re.search(r"^\s*(import|from) (pickle|dill|joblib)\b", text, re.M) or "safety" in path.name


@pytest.mark.parametrize("path", [p for p in FILES if "cli" not in p.parts], ids=name_of)
def test_library_code_does_not_print(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
    ]
    # core/progress.py prints by design, to the stream that it was given.
    assert not calls or path.name == "progress.py"


def modules_after(code: str) -> set[str]:
    output = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    return set(output.split("\n")[-2].split(" "))


HEAVY = {"torch", "timm", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "pydantic", "pyarrow"}


def test_importing_medfm_imports_nothing_heavy() -> None:
    assert not modules_after("import medfm; dir(medfm)") & HEAVY


def test_help_imports_nothing_heavy() -> None:
    code = (
        "from medfm.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
    )
    assert not modules_after(code) & HEAVY


def test_every_public_name_can_be_imported() -> None:
    import medfm

    for name in medfm.__all__:
        assert getattr(medfm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medfm.nothing  # type: ignore[attr-defined]


def test_the_typing_marker_is_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()
