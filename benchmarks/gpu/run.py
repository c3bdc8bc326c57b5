"""Runs every stage on a machine with one NVIDIA GPU, without a network, and prints what was found.

    python3 benchmarks/gpu/run.py --out gpu-results                # with the wheels of pack.py
    python3 benchmarks/gpu/run.py --out gpu-results --rehearse     # tiny shapes on the CPU, for the sake of the code

It makes a virtual environment over the packages of the Python that runs it, installs the wheels and this package
there, and runs each stage in a process of its own with a time limit of its own. results.json, results.md and log.txt
are complete up to the last finding at any moment; a stage that fails, hangs or is killed stops no other.
"""

import argparse
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.packages import PYTHON
from gpu.stages import STAGES, Stage
from gpu.tables import goals_table, printed, stage_text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GRACE = 5.0
"""Seconds between a stage's limit, at which it is to stop by itself, and its being killed."""
REHEARSAL_SECONDS = 600.0
"""Limit of a stage that is only rehearsed, on however slow a CPU."""
LEAST_SECONDS = 5.0
"""Left of the whole, below which no stage is begun."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the stages; returns 0 if all of them ended as wanted, else 1."""
    options = parse(arguments)
    started = time.monotonic()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out, options.rehearse)
    with tempfile.TemporaryDirectory(prefix="gpu-run-", dir=options.work) as work, open(out / "log.txt", "w") as log:
        python = options.python or make_environment(Path(work), options.wheels, log)
        report.say(f"environment: {time.monotonic() - started:.0f} s")
        ends = started + options.seconds if not options.rehearse else float("inf")
        stages = [stage for stage in STAGES if stage.name in options.stages]
        run_stages(stages, python, Path(work), ends, report, log, options.rehearse)
    report.end(time.monotonic() - started)
    return 0 if all(status == "done" for status in report.statuses.values()) else 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.name for stage in STAGES]
    add = parser.add_argument
    add("--out", type=Path, default=Path("gpu-results"), help="folder for the results (default: %(default)s)")
    add("--stages", nargs="+", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}")
    add("--rehearse", action="store_true", help="tiny shapes on the CPU")
    add("--seconds", type=float, default=480.0, help="for everything together (default: %(default)s)")
    add("--wheels", type=Path, default=HERE / "wheels", help="of pack.py (default: %(default)s)")
    add("--python", help="of an environment that has everything; none is made then")
    add("--work", type=Path, help="folder on a disk with 30 GB free (default: the system's for temporary files)")
    return parser.parse_args(arguments)


class Report:
    """The results of all stages, on disk at any moment, and printed as they come.

    Args:
        out: Folder of results.json and results.md.
        rehearsed: Whether the figures mean nothing.
    """

    def __init__(self, out: Path, rehearsed: bool) -> None:
        self._out = out
        self._parts: list[str] = []
        self._contents: dict[str, Mapping[str, Any]] = {}
        self.statuses: dict[str, str] = {}
        if rehearsed:
            self.say("# A rehearsal on the CPU with tiny shapes: the figures say nothing about the project")

    def say(self, text: str) -> None:
        """Prints, and adds to results.md."""
        print(printed(text), flush=True)
        self._parts.append(text)
        (self._out / "results.md").write_text("\n\n".join(self._parts) + "\n")

    def update(self, stage: Stage, status: str, content: Mapping[str, Any]) -> None:
        """Keeps what is known of a stage in results.json."""
        self.statuses[stage.name], self._contents[stage.name] = status, content
        data = {name: {"status": self.statuses[name], **found} for name, found in self._contents.items()}
        partial = self._out / "results.partial"
        partial.write_text(json.dumps(data, indent=1))
        partial.replace(self._out / "results.json")

    def tell(self, stage: Stage, seconds: float) -> None:
        """Prints a stage that has ended."""
        status = f"{self.statuses[stage.name]}, {seconds:.0f} s"
        self.say(stage_text(stage.name, stage.title, status, self._contents[stage.name]))

    def end(self, seconds: float) -> None:
        """Prints the figures to reach."""
        values = {name: value for found in self._contents.values() for name, value in found.get("values", {}).items()}
        problems = [f"{name} ({status})" for name, status in self.statuses.items() if status != "done"]
        self.say(f"## the figures to reach\n{goals_table(values)}")
        self.say(f"{seconds:.0f} s in all. Ended otherwise than wanted: {', '.join(problems) or 'no stage'}")


def make_environment(work: Path, wheels: Path, log: TextIO) -> str:
    """Makes the virtual environment; returns its Python.

    Raises:
        SystemExit: The Python is another than the wheels are for, there are no wheels, or they cannot be installed.
    """
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"The wheels are for Python {'.'.join(map(str, PYTHON))}, and this is {sys.version}")
    found = sorted(map(str, wheels.glob("*.whl")))
    if not found:
        raise SystemExit(f"{wheels} has no wheels: run benchmarks/gpu/pack.py where there is a network, and bring it")
    folder = work / "environment"
    python = str(folder / "bin" / "python")
    _must([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(folder)], log)
    # The packages of a virtual environment, if it is one that runs this, are not among the system's.
    outer = "".join(f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages())
    inside = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    (Path(inside.strip()) / "zz_outer.pth").write_text(outer)
    # Files that are installed without their compiled form are compiled when they are first imported.
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
    install += ["--ignore-installed", "--disable-pip-version-check"]
    _must([*install, *found], log)
    _must([*install, "--no-build-isolation", str(ROOT)], log)
    return python


def _must(command: Sequence[str], log: TextIO) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    log.write(done.stdout)
    log.flush()
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")


def run_stages(
    stages: Sequence[Stage],
    python: str,
    work: Path,
    ends: float,
    report: Report,
    log: TextIO,
    rehearse: bool,
    grace: float = GRACE,
) -> None:
    """Runs stages one after the other, whatever becomes of each, until the time is up.

    Args:
        stages: In their order.
        python: Of the environment.
        work: Folder for what they write, each in one of its own.
        ends: `time.monotonic` at which all of them are to have ended.
        report: Is told of every finding.
        log: Gets everything that they print.
        rehearse: Whether they are only rehearsed.
        grace: Seconds that a stage is given beyond its limit.
    """
    for stage in stages:
        left = ends - time.monotonic() - grace
        limit = REHEARSAL_SECONDS if rehearse else min(stage.seconds, left)
        if left < LEAST_SECONDS:
            report.update(stage, "not begun: the time was up", {})
            report.tell(stage, 0.0)
            continue
        started = time.monotonic()
        run_stage(stage, python, work, limit, report, log, rehearse, grace)
        shutil.rmtree(work / stage.name, ignore_errors=True)  # weights, which the next stage needs the room for
        report.tell(stage, time.monotonic() - started)


def run_stage(
    stage: Stage, python: str, work: Path, limit: float, report: Report, log: TextIO, rehearse: bool, grace: float
) -> None:
    """Runs one stage in a process group of its own and kills that at its limit; see `run_stages`."""
    folder, result = work / stage.name, work / f"{stage.name}.json"
    folder.mkdir()
    command = [python, "-m", "gpu.stage", stage.module, stage.function, "--result", str(result)]
    command += ["--folder", str(folder), "--seconds", str(limit), *(["--rehearse"] if rehearse else [])]
    log.write(f"\n===== {stage.name}\n")
    log.flush()
    process = subprocess.Popen(
        command, env=environment(work, rehearse), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    kill_at = time.monotonic() + limit + grace
    seen = 0
    late = False
    try:
        while process.poll() is None and not late:
            time.sleep(0.2)
            late = time.monotonic() > kill_at
            if result.exists() and result.stat().st_mtime_ns != seen:
                seen = result.stat().st_mtime_ns
                report.update(stage, "running", json.loads(result.read_text()))
    finally:
        _kill_group(process)
    content = json.loads(result.read_text()) if result.exists() else {}
    report.update(stage, status_of(process.returncode, late, limit, content), content)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a stage and everything that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def status_of(code: int, late: bool, limit: float, content: Mapping[str, Any]) -> str:
    """How a stage ended, in words; "done" where nothing is missing."""
    if late:
        return f"killed at its limit of {limit:.0f} s"
    if content.get("error"):
        return f"failed: {content['error'][:200]}"
    if code != 0 or not content.get("done"):
        return f"killed by signal {-code}" if code < 0 else f"failed with status {code}: see log.txt"
    return "time was up" if content["left_out"] else "done"


def environment(work: Path, rehearse: bool) -> dict[str, str]:
    """The environment variables of a stage: offline, one GPU or none, every cache in the work folder."""
    return {
        **os.environ,
        "PYTHONPATH": str(HERE.parent),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "" if rehearse else "0",
        "HF_HOME": str(work / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LLAMAFACTORY_VERBOSITY": "WARN",
        "TRANSFORMERS_VERBOSITY": "error",
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "TRITON_CACHE_DIR": str(work / "triton"),
        "MPLCONFIGDIR": str(work / "matplotlib"),
    }


if __name__ == "__main__":
    sys.exit(main())
