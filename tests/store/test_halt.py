"""Signals that end a run early."""

import os
import signal

import pytest

from firempo_plugin.store.halt import halted_by_signals


@pytest.fixture
def handled():
    """Sets how SIGHUP is handled before, and puts back what was."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_is_ended_in_order_when_it_is_told_to_or_its_terminal_goes(number, handled):
    handled(ignored := lambda *_: None)
    with halted_by_signals() as halt:
        os.kill(os.getpid(), number)
        assert halt.reason == f"{number.name}; run the same command again to go on"
    assert signal.getsignal(signal.SIGHUP) == ignored


def test_a_run_that_is_to_outlive_its_terminal_does(handled):
    handled(signal.SIG_IGN)
    with halted_by_signals() as halt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert halt.reason is None
