"""The stages, in the order of their worth. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of the run, in a process of its own.

    Attributes:
        name: On the command line and in the results.
        module, function: What runs it, with a `stage.Context`.
        seconds: After which it is to have ended.
        title: What it answers.
    """

    name: str
    module: str
    function: str
    seconds: float
    title: str


STAGES = (
    Stage("machine", "gpu.machine", "run", 20, "the machine: versions, matrix rate, bandwidths"),
    Stage("step", "gpu.steps", "run_step", 125, "a step of Qwen3-VL-4B shapes, each saving in turn"),
    Stage("train", "gpu.train", "run", 145, "llamafactory-cli train itself, and the caches in it"),
    Stage("parity", "gpu.parity", "run", 45, "loss, terms and gradients against eight plain float32 forwards"),
    Stage("profile", "gpu.kernels", "run", 30, "where the time of the default step goes"),
    Stage("attention", "gpu.attention", "run", 30, "ways to attend in trees, one layer forward and backward"),
    Stage("seven", "gpu.steps", "run_seven", 60, "a step of Qwen2.5-VL-7B shapes, and what fits into 24 GB"),
    Stage("sweep", "gpu.steps", "run_sweep", 40, "how the cost of a step grows with its image tokens"),
)
