"""The comparison of launchers: what it reads of a log, and the rows that fill no last batch."""

import json
import sys

from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from launchers import COMMON, ROWS, UNEVEN, _unknown, write_uneven

from firempo_plugin.host.train.caches import Caches


class Both:
    """A cache that says its size."""

    bytes, is_full = 0, False


def test_a_cache_that_did_not_know_all_is_told_from_the_log():
    caches = Caches(Both(), Both())
    caches.counts["passes"].update(known=3)
    caches.counts["images"].update(known=22)
    assert _unknown(caches.report()) == ""
    caches.counts["images"].update(run=1)
    assert _unknown(caches.report()) == "fire_vision_cache: 22 of 23 images skipped"
    assert "does not say" in _unknown(caches.report()[1:])


def test_the_first_rows_are_those_that_come_again(demo_data, tmp_path):
    for name in ("dataset_info.json", "pairs.json"):
        (tmp_path / name).write_bytes((demo_data / name).read_bytes())
    write_uneven(tmp_path)
    write_uneven(tmp_path)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    all_rows, some, first = (
        json.loads((tmp_path / info[name]["file_name"]).read_text())
        for name in (COMMON["dataset"], "uneven", "uneven_first")
    )
    assert (some, first) == (all_rows[:UNEVEN], all_rows[: ROWS - UNEVEN])
