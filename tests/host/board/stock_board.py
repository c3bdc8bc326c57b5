"""What a LLaMA-Board is made of and what it writes; as a script, printed as JSON."""

import json
import os
import re
from pathlib import Path
from unittest import mock

from llamafactory.webui import common, interface, locales
from llamafactory.webui.engine import Engine

VALUES = {
    "top.lang": "en",
    "top.model_name": "Qwen3-VL-4B-Instruct",
    "top.model_path": "somewhere",
    "top.template": "qwen3_vl_nothink",
    "top.checkpoint_path": [],
    "train.dataset": ["pairs"],
    "train.reward_model": ["reward"],
    "train.output_dir": "out",
    "train.config_path": "saved.yaml",
    "eval.dataset": ["pairs"],
    "eval.output_dir": "out",
}
STAGES = ("Supervised Fine-Tuning", "Reward Modeling", "PPO", "DPO", "KTO", "Pre-Training")


def components(block, depth=0):
    """Type, words and state of every element in the order of the page."""
    for child in block.children:
        config = child.get_config()
        props = {key: value for key, value in config.items() if key not in ("name", "_selectable", "key")}
        yield [
            depth,
            type(child).__name__,
            child.elem_id,
            json.loads(re.sub(" at 0x[0-9a-f]+", "", json.dumps(props, default=str))),
        ]
        if "children" in vars(child):
            yield from components(child, depth + 1)


def events(demo):
    """Name and triggers of every reaction."""
    ids = {id: type(block).__name__ for id, block in demo.blocks.items()}
    return [[fn.name, [[ids.get(target), event] for target, event in fn.targets]] for fn in demo.fns.values()]


def look():
    """What the board of this process is made of, and what it writes; below the working directory."""
    engines = []
    with mock.patch.object(interface, "Engine", lambda **keys: engines.append(Engine(**keys)) or engines[-1]):
        demo = interface.create_ui()
    manager, runner = engines[0].manager, engines[0].runner
    found = {"elements": list(components(demo)), "events": events(demo), "commands": {}, "saved": {}}
    shared = manager.get_base_elems()
    inputs = next(fn.inputs for fn in demo.fns.values() if fn.name == "preview_train")
    for stage in STAGES:
        data = {elem: VALUES.get(manager.get_id_by_elem(elem), elem.value) for elem in {*inputs, *shared}}
        data[manager.get_elem_by_id("train.training_stage")] = stage
        assert runner._initialize(data, do_train=True, from_preview=True) == ""
        args = runner._parse_train_args(data)
        found["commands"][stage] = common.gen_cmd(args)
        runner.save_args(data)
        path = os.path.join(common.DEFAULT_CONFIG_DIR, "saved.yaml")
        found["saved"][stage] = Path(path).read_text(encoding="utf-8")
        found["commands"][f"{stage}, written"] = Path(common.save_cmd(args)).read_text(encoding="utf-8")
    inputs = next(fn.inputs for fn in demo.fns.values() if fn.name == "preview_eval")
    data = {elem: VALUES.get(manager.get_id_by_elem(elem), elem.value) for elem in inputs}
    found["commands"]["evaluation"] = common.gen_cmd(runner._parse_eval_args(data))
    found["words"] = locales.LOCALES
    return json.loads(json.dumps(found))


if __name__ == "__main__":
    print("JSON:" + json.dumps(look()))
