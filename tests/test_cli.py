"""The `firempo` command itself: what it shows without a subcommand, with another's, and to a reader that leaves."""

import os
import subprocess
import sys

import pytest

from firempo_plugin import cli

FIREMPO = [sys.executable, "-m", "firempo_plugin.cli"]


def helped(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_alone_it_shows_its_help_and_fails(capsys):
    assert cli.main([]) == 2
    text = capsys.readouterr().err
    assert "validate" in text
    assert "build" in text


def test_a_command_of_the_host_is_named_as_it_is_written(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "my run.yaml", "fire_gamma=0.2"])
    assert end.value.code == 2
    assert "write `llamafactory-cli train 'my run.yaml' fire_gamma=0.2`" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "review", *cli.STEP_HELP])
def test_help_of_a_command_shows_its_own_words(command, capsys):
    text = helped(capsys, command)
    assert len(text.splitlines()) <= 42
    first = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    keys = [word for word in first if "." in word and word != "CONFIG.yaml"]
    assert all(key.startswith(f"{command}.") for key in keys)
    assert bool(keys) == (command in cli.STEP_HELP)
    assert "`firempo build --help` lists all keys" in text


def test_help_of_a_build_lists_every_key(capsys):
    text = helped(capsys, "build")
    assert "noise.fallback_sigma" in text
    assert "mmedpo.kind" in text


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["build", "--help"], ["audit", "pairs.jsonl"]])
def test_a_reader_that_leaves_is_no_error(words, unbuffered, tmp_path):
    row = '{"chosen": "a b", "rejected": "a c", "prompt": "?"}\n'
    (tmp_path / "pairs.jsonl").write_text(row * 3)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        run = subprocess.run(
            [*FIREMPO, *words],
            stdout=nobody,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    assert (run.stderr, run.returncode in (0, cli.NO_READER)) == (b"", True)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many"])
def test_a_number_that_is_none_is_named(number, capsys):
    with pytest.raises(SystemExit):
        cli.main(["convert", "source", "target", f"--alpha={number}"])
    assert f"argument --alpha: expected a whole number of at least 1, found '{number}'" in capsys.readouterr().err
