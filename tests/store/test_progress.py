"""Where the output is no terminal a run still says that it lives: in lines, not in a bar that overwrites itself."""

import time

import pytest

from firempo_plugin.store import progress as module
from firempo_plugin.store.progress import progress


def test_the_end_of_a_step_is_a_line(capsys):
    with progress("edit", 3) as tick:
        tick(1)
        tick(2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edit: 3 of 3 items, ")
    assert "left" not in line
    assert "\r" not in line


def test_a_step_in_which_nothing_ends_speaks_all_the_same(capsys, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    said, end = "", time.monotonic() + 60
    with progress("edit", 2):
        while said.count("\n") < 2 and time.monotonic() < end:
            time.sleep(0.01)
            said += capsys.readouterr().err
    *during, last = (said + capsys.readouterr().err).splitlines()
    assert len(during) >= 2
    assert all(line.startswith("edit: 0 of 2 items, ") and line.endswith(" left") for line in during)
    assert last.startswith("edit: 0 of 2 items, ")
    assert not last.endswith(" left")


def test_what_fails_ends_its_lines(capsys):
    with pytest.raises(ZeroDivisionError), progress("edit", 2):
        1 / 0  # noqa: B018
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_nothing_to_do_is_nothing_to_say(capsys):
    with progress("edit", 0) as tick:
        tick(0)
    assert capsys.readouterr().err == ""
