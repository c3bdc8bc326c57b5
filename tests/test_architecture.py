"""ARCHITECTURE.md names files and names that are there, and draws the rooms as the borders hold them."""

import ast
import re

import pytest
from places import ROOT
from test_borders import BELOW, PACKAGE

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`(firempo_plugin/[\w/.]*)(?::(\w+))?`", TEXT)))
BASE = {room for room in BELOW if room.endswith(".py")} - {"torch_releases.py"}


def defined(path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("path", "name"), PLACES)
def test_what_it_names_is_there(path, name):
    assert (ROOT / path).exists()
    assert not name or name in defined(ROOT / path)


def test_every_room_is_drawn_with_arrows_to_rooms_that_it_knows():
    drawing = TEXT.split("```mermaid")[1].split("```")[0]
    nodes = set(re.findall(r'^ *(\w+)\["', drawing, re.M))
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert nodes == rooms | {"cli", "base"}
    arrows = {
        (a, b.strip()) for a, to in re.findall(r'^ *(\w+)\[.*?"\] --> (.*)$', drawing, re.M) for b in to.split("&")
    }
    below = {room: set(known.split()) for room, known in BELOW.items()}
    assert all(other in below[room] or other == "base" for room, other in arrows if room in below)
    for room, known in below.items():
        if room in rooms:
            drawn = {other for one, other in arrows if one == room}
            reached = drawn.union(*(below[other] for other in drawn if other in below))
            assert {other for other in known if other in rooms} <= reached, room


def test_the_base_is_listed_whole():
    listed = set(re.search(r'base\["([^"]*)"\]$', TEXT.split("```")[1], re.M)[1].split(" · "))
    assert {f"{name}.py" for name in listed} == BASE
