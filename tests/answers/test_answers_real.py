"""The judge made of rules on real questions and responses."""

import json

from samples import SHARED, SMALL

from firempo_plugin.answers.protocol import Abstain
from firempo_plugin.pairs.config import EditConfig
from firempo_plugin.pairs.judges.rules import RuleJudge
from firempo_plugin.records import Record

JUDGE = RuleJudge(EditConfig())


def questions(folder):
    """Every question with a different answer in the samples: (question, truth, language)."""
    found = set()
    for name in ("SLAKE", "VQA_RAD"):
        for line in (folder / "med-vlm-dpo" / f"{name}_train_llavamed_format.jsonl").read_text().splitlines():
            row = json.loads(line)
            found.add((row["text"].replace("\n<image>", ""), str(row["gpt4_answer"]).strip(), "en"))
    for row in json.loads((folder / "slake" / "train.json").read_text()):
        found.add((row["question"], row["answer"], row["q_lang"]))
    for row in json.loads((folder / "vqa-rad" / "VQA_RAD Dataset Public.json").read_text()):
        found.add((row["question"], str(row["answer"]).strip(), "en"))
    return sorted(found)


WRONG = {"yes": "no", "no": "yes", "left": "right", "right": "left", "ct": "MRI", "mri": "CT", "lung": "heart"}


def test_real_questions_with_plain_answers_are_never_decided_wrongly(real):
    decided = {"polar": [0, 0], "other": [0, 0]}
    for question, truth, language in questions(real.folder):
        record = Record(f"{question}|{truth}", (), question, truth, language=language)
        key = truth.lower().rstrip(".")
        frames = ("{}", "The answer is {}.", "Answer: {}") if language == "en" else ("{}", "答案是{}。")
        cases = [(frame.format(answer), correct) for frame in frames
                 for answer, correct in ((truth, True), (WRONG.get(key), False)) if answer]  # fmt: skip
        if key in ("yes", "no"):
            cases += [("Yes, it is.", key == "yes"), ("No, it is not.", key == "no")]
        count = decided["polar" if key in ("yes", "no") else "other"]
        for response, correct in cases:
            edit = JUDGE.judge(record, response)
            count[1] += 1
            if isinstance(edit, Abstain):
                continue
            count[0] += 1
            assert edit.was_correct is correct, (question, truth, response, edit)
            assert edit.chosen != edit.rejected
    assert decided["polar"][0] > 0.99 * decided["polar"][1]
    assert decided["other"][0] > 0.6 * decided["other"][1]


def test_real_yes_no_responses_are_decided(real):
    decided = total = 0
    for row in json.loads((real.folder / "mmedpo" / "vqa-rad_dpo_weighted.json").read_text()):
        question = row["conversations"][0]["value"].replace("<image>\n", "")
        response = row["rejected_conversations"][1]["value"].strip()
        if not response.lower().startswith(("yes,", "no,")):
            continue
        total += 1
        edit = JUDGE.judge(Record(str(row["id"]), (), question, "yes"), response)
        decided += not isinstance(edit, Abstain)
        says = response.lower().startswith("yes")
        assert isinstance(edit, Abstain) or edit.was_correct is says, (question, response)
    assert total == {SMALL: 30, SHARED: 847}[real.name]
    assert decided > 0.6 * total
