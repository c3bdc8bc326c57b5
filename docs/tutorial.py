"""Runs docs/tutorial.txt, and writes it with what its commands really print into docs/tutorial.md.

    python -m docs.tutorial

A block whose language is followed by a name is a file; a block of bash is run. What a command says on
standard error, progress and the host's log, is left out.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

TEXT = Path(__file__).with_name("tutorial.txt")
PAGE = Path(__file__).with_name("tutorial.md")
BLOCK = re.compile(r"^```(\w+) ?([\w.]*)\n(.*?)^```$", re.S | re.M)
NOISE = re.compile(r"^\[(?:INFO|WARNING)\||it/s|s/it|^\s*$")


def shown(output: str, folder: str) -> str:
    """What of an output is shown."""
    lines = [line.rpartition("\r")[2].replace(f"{folder}/", "") for line in output.splitlines()]
    return "\n".join(line.rstrip() for line in lines if not NOISE.search(line))


def main() -> None:
    """Writes the page."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": search, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with TemporaryDirectory() as folder:

        def written(block: re.Match[str]) -> str:
            language, name, content = block.groups()
            if name:
                Path(folder, name).write_text(content, encoding="utf-8")
                return f"`{name}`:\n\n```{language}\n{content}```"
            command = ["bash", "-c", content]
            run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
            print(content.strip()[:100], file=sys.stderr)
            return f"```bash\n{content}```\n\n```text\n{shown(run.stdout, folder)}\n```"

        PAGE.write_text(BLOCK.sub(written, TEXT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
