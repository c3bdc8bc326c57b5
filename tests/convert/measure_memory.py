"""Converts the small model of a folder, then the large ones, and says by how much their peak memory is larger."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from originals import HUATUO, kind_of
from transformers import Qwen2Tokenizer

from firempo_plugin.convert import commands
from firempo_plugin.convert.kinds import KINDS


def memory(name):
    """In bytes, as Linux tells it of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


folder, grown = Path(sys.argv[1]), {}
KINDS[HUATUO] = kind_of(HUATUO, Qwen2Tokenizer.from_pretrained(folder / "small"))
commands.convert(folder / "small", folder / "small_llava", None)
for form in ("safetensors", "bin"):
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    commands.convert(folder / form, folder / f"{form}_llava", None)
    grown[form] = memory("VmHWM") - before
print(json.dumps(grown))
