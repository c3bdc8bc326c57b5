"""Outputs that are kept: whoever changes what a stored thing is made of must raise its version.

A golden file holds, of fixed inputs, what the code of some version makes of them, a case a line. What a store keeps
under a version is used again as long as the version stays, so that an output which changes without it would mix old
results with new ones, unseen.

    pytest TEST --golden

writes the file anew. It refuses to where a case came out otherwise and the version is still the file's.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "golden"
RELATIVE, ABSOLUTE = 2e-3, 2e-4
"""How far numbers with a fraction may be off: other releases of torch and other processors round otherwise."""


def digest(content: Any) -> str:
    """Sixteen hex digits of bytes, or of JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True, default=str).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def check(
    name: str, where: str, version: int, cases: dict[str, Any], *, anew: bool, test: str, folder: Path = FOLDER
) -> None:
    """Compares outputs with the golden file, or writes it.

    Args:
        name: Of the file.
        where: The version's place, for whoever has to raise it.
        version: As it is in the code.
        cases: Outputs by the input's name: JSON, long ones as a `digest` and an excerpt.
        anew: Write the file.
        test: The test that was started, for the command.

    Raises:
        AssertionError: Says what changed and what to do.
    """
    file = folder / f"{name}.json"
    found = json.loads(json.dumps(cases))
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"version": version, "cases": {}}
    common = [case for case in stored["cases"] if case in found]
    changed = [case for case in common if not _alike(stored["cases"][case], found[case])]
    raised = stored["version"] != version
    command = f"pytest {test.partition('::')[0]} --golden"
    if changed and not raised:
        lines = [f"  {case!r}\n    was {stored['cases'][case]}\n    is  {found[case]}" for case in changed[:5]]
        raise AssertionError(
            f"{len(changed)} of {len(common)} outputs of {name} have changed, and {where} is still {version}: raise "
            f"{where}, so that what is stored is made again, and write the golden file anew with: {command}\n"
            + "\n".join(lines)
        )
    if anew:
        _write(
            file,
            version,
            {case: stored["cases"][case] if not raised and case in common else found[case] for case in found},
        )
        return
    assert not raised, f"{where} is {version}, and the golden file {stored['version']}; write it anew with: {command}"
    assert found.keys() == stored["cases"].keys(), f"cases came or went; write the golden file anew with: {command}"


def _write(file: Path, version: int, cases: dict[str, Any]) -> None:
    """A case a line, so that a change is seen where it is."""
    lines = [
        f"  {json.dumps(case, ensure_ascii=False)}: {json.dumps(cases[case], ensure_ascii=False)}" for case in cases
    ]
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'{{"version": {version}, "cases": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)


def _alike(was: Any, found: Any) -> bool:
    """Equal, but for how numbers with a fraction are rounded."""
    if isinstance(was, float) or isinstance(found, float):
        numbers = isinstance(was, int | float) and isinstance(found, int | float)
        return numbers and math.isclose(was, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if isinstance(was, dict) and isinstance(found, dict):
        return was.keys() == found.keys() and all(_alike(was[key], found[key]) for key in was)
    if isinstance(was, list) and isinstance(found, list):
        return len(was) == len(found) and all(map(_alike, was, found))
    return bool(was == found)
