"""A test that is skipped because a file is missing fails the run; one without an optional package does not."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT

PLANTED = {
    "a missing file": ("@pytest.mark.skipif(True, reason='shared/data is absent')\ndef test_it(): pass\n", 1),
    "in the test": ("def test_it(): pytest.skip('a.json is absent')\n", 1),
    "in a fixture": ("@pytest.fixture\ndef it(): pytest.skip('no it')\ndef test_it(it): pass\n", 1),
    "no parameters": ("@pytest.mark.parametrize('it', [])\ndef test_it(it): pass\n", 1),
    "a whole module": ("pytest.importorskip('no_such_package')\ndef test_it(): pass\n", 2),
    "a named reason": ("def test_it(): pytest.skip('radeval is not installed')\n", 0),
    "an expected failure": ("@pytest.mark.xfail\ndef test_it(): raise ValueError\n", 0),
}
"""Tests that are skipped, each with the exit status of the run."""


@pytest.mark.parametrize("kind", PLANTED)
def test_a_skip_for_a_reason_that_is_not_named_fails_the_run(kind, tmp_path):
    text, status = PLANTED[kind]
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_planted.py").write_text(f"import pytest\n{text}")
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert result.returncode == status, result.stdout
    assert ("MAY_SKIP" in result.stdout) == (status != 0), result.stdout


def test_every_reason_that_is_named_is_a_reason_of_some_test(pytestconfig):
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    texts += (ROOT / "tests" / "browser" / "conftest.py").read_text(encoding="utf-8")
    reasons = re.findall(r"(?:reason=|skip\()\"([^\"]+)\"", texts)
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert set(conftest.MAY_SKIP) <= set(reasons)
