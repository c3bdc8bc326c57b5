"""Processes of one distributed run, as torchrun starts them, but for their imports: they are forked from the tests'."""

import os
import socket
from multiprocessing import get_context

from accelerate.state import AcceleratorState, GradientState, PartialState


def forget_processes():
    """Lets the next run of this process find out anew what it runs on."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def run_as_ranks(work, *args, ranks=2):
    """Calls `work` with the arguments in every rank, and waits until all are done; no rank may fail."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    sizes = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}

    def run(rank):
        os.environ |= {**place, **sizes, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
        forget_processes()
        work(*args)

    running = [get_context("fork").Process(target=run, args=(rank,)) for rank in range(ranks)]
    try:
        for each in running:
            each.start()
        for each in running:
            each.join(timeout=600)
    finally:
        for each in running:
            each.kill()
    assert [each.exitcode for each in running] == [0] * ranks, "its standard error says why"
