"""The tables of what can be chosen: each drives configuration, help and step, and everything in it is there."""

import json
import subprocess
import sys
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import yaml
from PIL import Image

from firempo_plugin import cli
from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.errors import UserError
from firempo_plugin.evaluate import config as evaluation
from firempo_plugin.evaluate.commands import evaluate
from firempo_plugin.evaluate.measure import Column, Measure, Work
from firempo_plugin.evaluate.registry import JUDGES as ANSWER_JUDGES
from firempo_plugin.evaluate.registry import MEASURES
from firempo_plugin.evaluate.sensitivity import Options
from firempo_plugin.evaluate.store import Measured, Stored
from firempo_plugin.evaluate.verdict import AnswerJudge, Judges, Verdict
from firempo_plugin.host.evidence import RUNNERS
from firempo_plugin.images.corruptions import CORRUPTIONS, Filter
from firempo_plugin.images.masks import joined
from firempo_plugin.pairs import config as configuration
from firempo_plugin.pairs.build import run
from firempo_plugin.pairs.commands import build
from firempo_plugin.pairs.exporters.common import ExportResult, Format
from firempo_plugin.pairs.exporters.registry import FORMATS
from firempo_plugin.pairs.judges.judge import EditJudge
from firempo_plugin.pairs.judges.registry import JUDGES
from firempo_plugin.pairs.judges.reply import VqaReply
from firempo_plugin.pairs.segmenters.registry import SEGMENTERS
from firempo_plugin.pairs.segmenters.segmenter import Segmenter
from firempo_plugin.records import Record
from firempo_plugin.settings import checked, config_key
from firempo_plugin.sources.common import Source
from firempo_plugin.sources.registry import SOURCES
from firempo_plugin.store.workspace import Workspace

TABLES = {
    "source.name": SOURCES,
    "edit.judge": JUDGES,
    "segment.by": SEGMENTERS,
    "noise.corruption": CORRUPTIONS,
    "export.format": FORMATS,
    "judge.by": ANSWER_JUDGES,
    "measures": MEASURES,
}
NAMES = [(key, name) for key, table in TABLES.items() for name in table if table[name][0]]


@pytest.mark.parametrize(("key", "name"), NAMES)
def test_everything_in_a_table_is_there_and_names_itself(key, name):
    thing = TABLES[key].load(name)
    assert callable(thing) or isinstance(thing, (Source, Format, Measure, Filter))
    if key in ("source.name", "segment.by", "measures") or name == "rules":
        assert thing.name == name


@dataclass(frozen=True)
class TwoRows:
    folder: str = config_key(MISSING, "folder of the images")


@dataclass(frozen=True)
class Sure(Segmenter):
    name: ClassVar[str] = "fake"
    cached: ClassVar[bool] = False

    def settings(self):
        return {}

    def segment(self, image_path, image, phrase, regions=()):
        return joined([np.ones(image.shape[:2], dtype=np.bool_)], [1.0], [(0.0, 0.0, 40.0, 40.0)])


class Opposite(EditJudge):
    """Says of every response that it is wrong, and puts the ground truth in its place."""

    name = "opposite"

    def identity(self, record):
        return {"opposite": 1}

    def judge(self, record, response, sample=0):
        if record.truth not in ("yes", "no"):
            return Abstain("it knows yes and no alone")
        return self.contract.accept(record, response, VqaReply(response, response, False, record.truth), self.name)


class Yes(AnswerJudge):
    name = "yes-man"

    def judge(self, record, response, sample=0):
        return Verdict(True, self.name, "it always is")


def rows(options):
    return [("0", "no"), ("1", "nothing")]


def record(record_id, row, options):
    return Record(record_id, (f"{options.folder}/x.png",), "Is there an effusion?", row, response="yes")


def white(image, mask, how, seed):
    return np.full_like(image, 255)


def export(pairs, folder, name, root, images, options):
    folder.mkdir(parents=True)
    (folder / f"{name}.txt").write_text(" ".join(pair.rejected for pair in pairs))
    return ExportResult((folder / f"{name}.txt",), len(pairs))


@dataclass(frozen=True)
class Least:
    words: int = config_key(1, "fewer are none", least=1)


class Lengths(Work):
    """Counts the words of answers."""

    def __init__(self, config, workspace, budget, halt):
        self.protocol = {"least": MEASURE.read(config.options("fake")).words}

    def measure(self, answers):
        counts = {each.record.id: len(each.text.split()) for each in answers}
        detail = '{"samples": [], "no_answer": []}'
        return Stored(items=[Measured(name, "", {"words": count}, detail=detail) for name, count in counts.items()])


MEASURE = Measure("fake", 1, (Column("Words", "words"),), options=Least, of_answers=Lengths)


@pytest.fixture
def one_more(monkeypatch):
    """Each table with one more entry, of the things above: nothing else is touched."""
    module = ModuleType("one_more_module")
    source = Source("fake", TwoRows, rows, record)
    monkeypatch.setitem(sys.modules, "one_more_module", module)
    things = (source, Opposite, Sure, Filter(white), Format(TwoRows, export), Yes, MEASURE)
    for key, thing in zip(TABLES, things, strict=True):
        vars(module)[key] = thing
        monkeypatch.setitem(TABLES[key], "fake", (f"one_more_module:{key}", "one more"))


def written(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((40, 40), dtype=np.uint8)).save(tmp_path / "x.png")
    sections: dict[str, dict[str, object]] = {"edit": {"rules_first": False}}
    for key in list(TABLES)[:5]:
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = "fake"
    for section in ("source", "export"):
        sections[section]["options"] = {"folder": str(tmp_path)}
    path = tmp_path / "build.yaml"
    path.write_text(yaml.safe_dump({"workspace": str(tmp_path / "work"), **sections}))
    return path


def test_one_more_entry_is_all_that_configuration_and_steps_need(one_more, tmp_path):
    path = written(tmp_path)
    assert build(path, []) == 0
    config = configuration.load(path, [])
    workspace = Workspace(Path(config.workspace), look=True)
    progress = run(config, workspace, make=False)
    (pair,) = progress.pairs
    workspace.close()
    assert (pair.id, pair.judge, pair.chosen, pair.rejected) == ("fake:0", "opposite", "no", "yes")
    assert pair.noise_path == "ablation"
    assert (np.asarray(Image.open(pair.rejected_images[0])) == 255).all()
    assert progress.steps["edit"].rejected.first == {"fake:1": "it knows yes and no alone"}
    assert (tmp_path / "work" / "export" / "fire_mpo_pairs.txt").read_text() == "yes"


def test_one_more_entry_is_in_the_help_and_in_what_is_refused(one_more, tmp_path, capsys):
    for command, keys in (("build", list(TABLES)[:5]), ("evaluate", ["source.name", "judge.by", "measures"])):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
        assert all("fake (one more)" in lines[key] for key in keys)
        assert {"fake.folder", "fake.words" if command == "evaluate" else "trl.overwrite"} <= set(lines)
    for key in list(TABLES)[:5]:
        with pytest.raises(ValueError, match=f"{key} must be one of .*fake, found 'absent'"):
            configuration.load(written(tmp_path), [f"{key}=absent"])


def test_one_more_judge_of_answers_is_asked_behind_the_rules(one_more):
    judges = Judges(evaluation.JudgeConfig(by="fake"), None)
    asked = Record("r", (), "Is there an effusion?", "no")
    assert asdict(judges.judge(asked, "Bananas.")) == {"correct": True, "by": "yes-man", "reason": "it always is"}
    assert judges.judge(asked, "Yes.").by == "rules"


def test_one_more_measure_is_run_and_in_the_table(one_more, tmp_path):
    path = written(tmp_path)
    given = {"workspace": str(tmp_path / "work"), "source": yaml.safe_load(path.read_text())["source"]}
    given |= {"model": {"model_name_or_path": "m"}, "models": {"base": None}, "measures": ["fake"]}
    path.write_text(yaml.safe_dump(given))
    engine = SimpleNamespace(respond=lambda *about: "one or two")
    assert evaluate(path, ["fake.words=2"], engine=lambda arguments: engine) == 0
    table = json.loads((tmp_path / "work" / "tables" / "table.json").read_text())
    assert [(cell["column"], cell["mean"]["value"]) for cell in table["cells"]] == [("Words", 3)]
    assert table["protocol"]["fake"]["least"] == 2
    with pytest.raises(UserError, match=r"fake\.words must be a whole number \(at least 1\), found 0"):
        evaluation.load(path, ["fake.words=0"])


def test_what_looks_into_a_model_has_a_runner():
    assert set(RUNNERS) == {name for name in MEASURES if not MEASURES.load(name).of_answers}


def test_one_more_corruption_is_measured_too(one_more):
    assert checked(Options, {"dataset": "pairs", "corruption": "fake"}).how.name == "fake"
    with pytest.raises(ValueError, match=r"one of noise, crop, black, .*, fake, found 'absent'"):
        checked(Options, {"dataset": "pairs", "corruption": "absent"})


def test_the_tables_alone_load_no_library():
    code = (
        "import sys, firempo_plugin.evaluate.config as c, firempo_plugin.settings as s; s.describe(c.EvaluateConfig);"
    )
    heavy = ("numpy", "cv2", "PIL", "torch", "pyarrow", "sqlite3")
    code += f"print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
