"""The card of a run that was not started or failed: what it says, and where it leads."""

import json
import os
import subprocess
import sys

import pytest
from llamafactory.webui.locales import ALERTS

from firempo_plugin.host.board import runner
from firempo_plugin.host.board.failure import ROWS, Failure, alerted, of_run, target_of
from firempo_plugin.host.board.texts import LANGUAGES, say
from firempo_plugin.host.sentences import ENDED_FILE

ELEMENTS = {
    *("top.template", "top.model_path", "top.checkpoint_path", "train.training_stage", "train.dataset"),
    *("train.dataset_dir", "train.compute_type", "train.cutoff_len", "train.neftune_alpha", "train.extra_args"),
    *("train.fire_alpha", "train.fire_beta", "train.fire_pass_tokens", "train.batch_size"),
}
RAISE = """
import sys
from firempo_plugin.errors import UserError
from firempo_plugin.host import sentences
from firempo_plugin.host.data.admission import UnusableRowsError
class OutOfMemoryError(RuntimeError): pass
sentences.install()
raise {}
"""


def ended(tmp_path, error="", *, returncode=1, text="Failed.", language="en", extra="{}"):
    """What is made of a process that ended with an error, as it does beside a board; without one, of its end alone."""
    for words in filter(None, error.split("; then ")):
        environment = os.environ | {"LLAMABOARD_WORKDIR": str(tmp_path), "FIREMPO_DISABLE": "1"}
        subprocess.run([sys.executable, "-c", RAISE.format(words)], env=environment, capture_output=True, check=False)
    assert (tmp_path / ENDED_FILE).is_file() == bool(error)
    return of_run(tmp_path, returncode, text, language, ELEMENTS, extra)


def test_our_sentence_is_the_cards_and_leads_to_its_field(tmp_path):
    found = ended(
        tmp_path, "UserError('cutoff_len is 4.\\nWrite `cutoff_len: 2048`.'); then UserError('of another rank')"
    )
    assert found == Failure(
        "ended", "cutoff_len is 4.\nWrite `cutoff_len: 2048`.", "train.cutoff_len", "Failed.", "Failed."
    )


def test_rows_lead_to_the_window_of_pairs(tmp_path):
    found = ended(
        tmp_path, "UnusableRowsError('2 of 3 rows cannot be used: template: x, or `fire_skip_invalid: true`')"
    )
    assert found.target == ROWS


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_gpu_that_is_too_small_says_what_to_turn(language, tmp_path):
    found = ended(tmp_path, "OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')", language=language)
    assert found.sentence == say(
        "out_of_memory", language, error="OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    )
    assert found.target == "train.fire_pass_tokens"


def test_a_fault_that_is_not_ours_is_told_by_its_last_line(tmp_path):
    assert ended(tmp_path, "KeyError('bf16')").sentence == "KeyError: 'bf16'"
    trace = "Failed. Exit code: 1\n\n```\nTraceback\n  raise x\nImportError: no torch\nresource_tracker: leaked\n```\n"
    (tmp_path / ENDED_FILE).unlink()
    assert ended(tmp_path, text=trace).sentence == "ImportError: no torch"
    assert ended(tmp_path, text="Failed. Exit code: 3\n\n```\n\n```\n").sentence == "Failed. Exit code: 3"


@pytest.mark.parametrize(
    ("error", "returncode", "text"),
    [("", -9, "Failed."), ("__import__('subprocess').CalledProcessError(1, 'torchrun')", 1, "Signal 9 (SIGKILL)")],
)
def test_a_process_that_was_killed_says_so(error, returncode, text, tmp_path):
    found = ended(tmp_path, error, returncode=returncode, text=text)
    assert (found.sentence, found.target) == (say("killed", "en"), None)


@pytest.mark.parametrize(
    ("sentence", "target"),
    [
        ("pref_beta must be a number above 0", "train.fire_beta"),
        ("stage: fire_mpo does not support neftune_noise_alpha. Remove it", "train.neftune_alpha"),
        ("stage: fire_mpo does not support torch_compile. Remove it", "train.extra_args"),
        ("the template of the model lies elsewhere", None),
        ("template: nothing is unknown", "top.template"),
        ("ValueError: Your setup doesn't support bf16/gpu.", "train.compute_type"),
        ("fire_alpha_2 and xfire_alpha are no keys", None),
        ("no entry in dataset_info.json", "train.dataset_dir"),
        ("fire_margin is out of range", None),
        ("cutoff_len cuts the images: raise it, or write `template: llava`, fire_pass_tokens", "train.cutoff_len"),
    ],
)
def test_a_sentence_leads_to_the_field_of_the_key_that_it_names_first(sentence, target):
    assert target_of(sentence, ELEMENTS, json.dumps({"torch_compile": True})) == target


def test_hostile_text_stays_text():
    words = "<img src=x onerror=alert(1)> & \u202eleft"
    card = Failure("ended", words, ROWS, "Failed.", "</pre><script>x</script>").card("en", '"x', "b")
    assert not {mark for mark in ("<img", "<script", "\u202e") if mark in card}
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; [U+202E]left" in card
    assert "&lt;script" in card
    assert 'data-field="&quot;x"' in card
    assert "<pre>" not in Failure("refused", words, None, words).card("en", None, "b"), "nothing has written a log"


def test_what_the_host_refuses_leads_to_its_field():
    for language in LANGUAGES:
        assert alerted(ALERTS["err_no_dataset"][language], language) == "train.dataset"
    assert alerted("something else", "en") is None


@pytest.mark.parametrize(
    ("chosen", "extra", "cuda", "lacks"),
    [
        ("bf16", {}, False, True),
        ("bf16", {"use_cpu": True}, False, False),
        ("pure_bf16", {"use_cpu": True}, False, True),
        ("fp16", {"use_cpu": True}, True, True),
        ("fp16", {}, False, True),
        ("fp32", {}, False, False),
        ("bf16", {}, True, False),
    ],
)
def test_half_precision_is_refused_where_the_host_would_fail_on_it(chosen, extra, cuda, lacks, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    assert runner.lacks_precision(chosen, extra) == lacks
