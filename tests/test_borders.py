"""Who may know whom, read from the sources; and that the light modules stay light."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "firempo_plugin"
FILES = sorted(PACKAGE.rglob("*.py"))
BELOW_HOST = [path for path in FILES if PACKAGE / "host" not in path.parents]


@cache
def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Absolute names of the modules that a file imports, in functions too unless told otherwise."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ("firempo_plugin", *path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_only_host_knows_llamafactory():
    assert [path for path in BELOW_HOST if "llamafactory" in roots(imports(path))] == []


def test_the_mathematics_imports_torch_only():
    used = {name for path in (PACKAGE / "objectives").glob("*.py") for name in imports(path)}
    own = {name for name in used if name.startswith("firempo_plugin.")}
    assert roots(used - own) - set(sys.stdlib_module_names) == {"torch"}
    assert own - {name for name in own if name.startswith("firempo_plugin.objectives")} == {
        "firempo_plugin.errors", "firempo_plugin.errors.UserError"
    }  # fmt: skip
    for name in ("terms.py", "table.py", "settings.py"):
        assert "torch" not in roots(imports(PACKAGE / "objectives" / name))
    assert not imports(PACKAGE / "errors.py")


@pytest.mark.parametrize("name", ["phrases.py", "forward/plan.py", "host/data/source_file.py"])
def test_text_work_imports_no_torch(name):
    assert not roots(imports(PACKAGE / name)) & {"torch", "transformers", "llamafactory"}


def test_the_reader_of_the_preview_is_all_standard_library():
    heavy = ("numpy", "PIL", "gradio")
    code = f"import sys, firempo_plugin.host.preview.look; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_nothing_below_knows_the_host_subpackage():
    def known(path):
        lazily = path == PACKAGE / "cli.py"
        return any(name.startswith("firempo_plugin.host") for name in imports(path, everywhere=not lazily))

    assert list(filter(known, BELOW_HOST)) == []


BELOW = {
    "errors.py": "",
    "files.py": "errors",
    "processes.py": "errors",
    "registry.py": "",
    "scrub.py": "",
    "checkpoints.py": "files",
    "torch_releases.py": "",
    "phrases.py": "errors",
    "chat_templates.py": "",
    "records.py": "errors",
    "terminal.py": "",
    "settings.py": "errors registry scrub",
    "report_metrics.py": "errors",
    "objectives": "errors",
    "forward": "errors files objectives",
    "endpoint": "errors files records scrub settings",
    "images": "errors files records registry settings",
    "sources": "errors files images records registry settings",
    "answers": "endpoint errors files phrases records",
    "store": "endpoint errors files phrases records",
    "respond": "checkpoints endpoint errors images records settings sources store",
    "pages": "images records",
    "pairs": "answers chat_templates endpoint errors files images pages phrases records registry report_metrics "
    "respond scrub settings sources store terminal",
    "evaluate": "answers checkpoints endpoint errors files forward images records registry report_metrics respond "
    "settings sources store terminal",
    "demo": "errors files images processes torch_releases",
    "align": "checkpoints endpoint errors evaluate files pairs processes records scrub settings sources store terminal",
    "convert": "errors terminal",
}
"""By room, the rooms that it knows; all others are unknown to it. Only the host and the commands know every one."""
NO_TORCH = [
    *(
        "phrases.py",
        "processes.py",
        "checkpoints.py",
        "records.py",
        "settings.py",
        "sources",
        "images",
        "answers",
        "endpoint",
    ),
    *("store", "respond", "pages", "pairs", "convert", "align"),
]


def files_of(room: str) -> list[Path]:
    return [PACKAGE / room] if room.endswith(".py") else sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("room", BELOW)
def test_a_room_knows_the_rooms_below_it(room):
    names = {name for path in files_of(room) for name in imports(path) if name.startswith("firempo_plugin.")}
    known = {name.split(".")[1] for name in names} - {"__version__", room.removesuffix(".py")}
    assert known == set(BELOW[room].split())


def test_the_rooms_stand_in_an_order():
    done: list[str] = []
    for room, below in BELOW.items():
        assert set(below.split()) <= set(done), room
        done.append(room.removesuffix(".py"))
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    above = {"host", "cli.py", "starter.py", "__init__.py"}
    assert there - above - {"__pycache__", "starter_files"} == set(BELOW)


def test_what_makes_pairs_loads_no_model_library_at_once():
    heavy = {"torch", "transformers", "openai", "pydicom"}
    files = [path for room in NO_TORCH for path in files_of(room)]
    assert [path for path in files if roots(imports(path, everywhere=False)) & heavy] == []


def test_the_pair_builder_starts_quickly():
    """Half a second of work, of which most is Python; as the best of three, since the machine may be busy."""
    code = "import time; t = time.process_time(); import firempo_plugin.pairs.commands; print(time.process_time() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.5


def test_there_are_no_import_cycles():
    names = {".".join(("firempo_plugin", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in FILES}
    edges = {name: imports(path, everywhere=False) & set(names) for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in edges[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize(
    "module",
    [
        "firempo_plugin.cli",
        "firempo_plugin.phrases",
        "firempo_plugin.host.doctor",
        "firempo_plugin.host.preview.look",
        "firempo_plugin.demo.pairs",
        "firempo_plugin.pairs.commands",
        "firempo_plugin.convert.commands",
    ],
)
def test_light_modules_load_neither_torch_nor_the_host(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'llamafactory') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_file_fits_one_sitting():
    assert [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 450] == []
