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


def imported_modules(text: str) -> set[str]:
    """Modules that a file imports, wherever in it; those it names in a string to import them later among them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "a relative import"
            # "from medfm import workflows" imports a floor, too.
            found |= {f"medfm.{alias.name}" for alias in node.names} if node.module == "medfm" else {node.module}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = re.fullmatch(rf"(medfm\.(?:{'|'.join(FLOORS)})\.[\w.]+)(?::\w+)?", node.value)
            found |= {named[1]} if named else set()
    return found


def upward_imports(floor: str, text: str) -> list[str]:
    """What a file of `floor` imports from floors above it, or from the package's front, which is above all."""
    upward = []
    for module in sorted(imported_modules(text)):
        package, _, rest = module.partition(".")
        first = rest.split(".")[0]
        above = first in FLOORS and FLOORS.index(first) > FLOORS.index(floor)
        front = package == "medfm" and first not in (*FLOORS, "__version__")
        if package == "medfm" and (above or front):
            upward.append(module)
    return upward


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != PACKAGE], ids=name_of)
def test_imports_go_downwards_only(path: Path) -> None:
    assert not upward_imports(path.relative_to(PACKAGE).parts[0], path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "upward"),
    [
        ("import medfm.core.errors", []),
        ("from medfm.encoders.load import load_encoder", []),
        ("from medfm import __version__", []),
        ("LAZY = 'medfm.io.images:read'", []),
        ("def f():\n    from medfm.workflows.embed import embed", ["medfm.workflows.embed"]),
        ("from medfm import workflows", ["medfm.workflows"]),
        ("import medfm", ["medfm"]),
        ("from medfm import load_encoder", ["medfm.load_encoder"]),
        ("import medfm.cli.main as m", ["medfm.cli.main"]),
        ("LAZY = 'medfm.reporting.result:Result'", ["medfm.reporting.result"]),
        ("if TYPE_CHECKING:\n    from medfm.training.loop import Loop", ["medfm.training.loop"]),
        ("WORDS = 'see medfm.workflows.embed for more'", []),
        ("KEY_OF_A_CARD = 'medfm.generator'", []),
    ],
)
def test_every_way_to_import_upwards_is_seen(line: str, upward: list[str]) -> None:
    assert upward_imports("embeddings", line) == upward


def test_every_folder_of_the_package_is_a_floor() -> None:
    assert {p.relative_to(PACKAGE).parts[0] for p in FILES if p.parent != PACKAGE} <= set(FLOORS)


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
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_another_file_needs_is_public(path: Path) -> None:
    """A name with an underscore is its file's own; a second user makes it a function of the floor."""
    private = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "medfm"
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert not private, "give it a public name, and a docstring"
