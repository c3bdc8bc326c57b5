"""`executor: ray`: the same pairs, whoever works and whoever dies; and nothing that actors need not know."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from firempo_plugin.cli import main
from firempo_plugin.endpoint.failures import StopRunError
from firempo_plugin.errors import UserError
from firempo_plugin.pairs import actors
from firempo_plugin.pairs.actors import Worker, executor_of, installed
from firempo_plugin.pairs.config import load
from firempo_plugin.pairs.decided import config_digest
from firempo_plugin.records import Record
from firempo_plugin.store.engine import Item
from firempo_plugin.store.workspace import Workspace

KEY = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "OTHER": "https://me:secret@proxy", "FIREMPO_OF_OURS": "hidden"}
STARTED = """
import os, sys
from firempo_plugin.pairs.actors import _cluster, _keys
from firempo_plugin.endpoint.settings import EndpointSettings
from firempo_plugin.pairs.config import BuildConfig
config = BuildConfig()
config.respond.endpoint = EndpointSettings(key_env="FIREMPO_OF_OURS")
with _cluster("local", _keys(config)) as ray:
    assert os.environ["OPENAI_API_KEY"], "the command itself keeps its keys"
    print(ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"], flush=True)
    sys.stdin.read()
"""
ROWS = [
    (f"Is there a {finding} in the {organ}?", truth, answer)
    for finding in ("fracture", "mass", "nodule", "cyst", "oedema")
    for organ in ("liver", "lung", "kidney")
    for truth, answer in (("Yes", "No."), ("No", "No, there is none."))
] + [("What does it show?", "Sarcoidosis", "Old age.")]
ACTORS = [f"ray.{step}.{key}" for step in ("read", "edit", "target", "noise") for key in ("actors=1", "num_cpus=0.5")]


@pytest.fixture(scope="module")
def cluster():
    """Ray as a build starts it, and the address at which others find it."""
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | KEY
    )
    address, token = process.stdout.readline().split()
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        yield ["executor=ray", f"ray.address={address}"]
    process.communicate()


def written(folder: Path, rows=ROWS, side=48) -> Path:
    """A build over images of which every fourth is no PNG and is written anew."""
    folder.mkdir(exist_ok=True)
    level = np.random.default_rng(0)
    for place in range(8):
        pixels = level.integers(0, 200, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.{'bmp' if place % 4 == 0 else 'png'}")
    lines = [
        {"id": place, "image": f"{place % 8}.{'bmp' if place % 4 == 0 else 'png'}", "q": q, "a": a, "r": r}
        for place, (q, a, r) in enumerate(rows)
    ]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    columns = {"id": "id", "image": "image", "question": "q", "truth": "a", "response": "r"}
    options = {"file": str(folder / "rows.jsonl"), "image_root": str(folder), "columns": columns}
    config = {"workspace": str(folder / "work"), "source": {"name": "table", "options": options}}
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    return folder / "build.yaml"


def exported(folder: Path) -> dict[str, bytes]:
    """All files of an export; rows and training name its own folder."""
    files = [path for path in (folder / "work" / "export").rglob("*") if path.is_file()]
    assert len(files) > 10
    return {path.name: path.read_bytes().replace(str(folder).encode(), b"") for path in files}


def test_a_build_made_half_here_and_half_by_actors_is_the_same(cluster, tmp_path, capsys):
    assert main(["build", str(written(tmp_path / "here"))]) == 0
    assert main(["build", str(written(tmp_path / "both", ROWS[:13]))]) == 0
    path = str(written(tmp_path / "both"))
    capsys.readouterr()
    assert main(["build", path, *cluster, *ACTORS, "ray.noise.batch=3"]) == 0
    assert re.search(r"edit +\d+ through, 18 made now, \d+ rejected", capsys.readouterr().out)
    assert exported(tmp_path / "both") == exported(tmp_path / "here")
    assert main(["build", path]) == 0
    assert "Nothing was left to do" in capsys.readouterr().out
    with closing(Workspace(tmp_path / "both" / "work", look=True)) as space:
        digests = {config_digest(load(Path(path), overrides), space) for overrides in ([], [*cluster, *ACTORS])}
    assert len(digests) == 1, "what one has finished, the other passes over"


def noising(folder: Path, cluster) -> tuple:
    """The context of an executor whose only actor noises, and an item for it."""
    config = load(written(folder), [*cluster, "ray.noise.actors=1"])
    image = str(folder / "1.png")
    return executor_of(config), Item(Record("table:1", (image,), "?", "No"), images=(image,), image_ids=("id",))


def work(executor, *items):
    from firempo_plugin.images.settings import NoiseConfig
    from firempo_plugin.pairs.steps.noise import NoiseStep
    from firempo_plugin.store.place import Parcel

    crew = executor(NoiseStep(NoiseConfig(), Parcel(Path()), located=False))
    return crew.work(items)


def actor_of(executor):
    (actor,) = executor.__self__._idle["noise"].queue
    return actor


def test_an_actor_that_dies_over_its_items_is_replaced_and_makes_them_anew(cluster, tmp_path, capsys):
    import ray

    def dies(worker):
        worker._step.run_many = lambda items: os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    context, item = noising(tmp_path, cluster)
    with context as executor:
        first = ray.get(actor_of(executor).__ray_call__.remote(dies))
        (made,) = work(executor, item)
        assert ray.get(actor_of(executor).__ray_call__.remote(lambda worker: os.getpid())) != first
    assert "ray.noise: an actor died over table:1" in capsys.readouterr().err
    assert (tmp_path / "work" / made["images"][0]["file"]).is_file()


def test_items_over_which_every_actor_dies_stop_the_run(cluster, tmp_path, monkeypatch):
    import ray

    def gone(self, *about):
        raise ray.exceptions.ActorUnavailableError("out of reach", None)

    context, item = noising(tmp_path, cluster)
    with context as executor:
        monkeypatch.setattr(type(executor.__self__), "_taken", gone)
        (made,) = work(executor, item)
    assert isinstance(made, StopRunError)
    assert re.search(r"an actor died over table:1 .*out of reach.*; 3 times in a row", str(made))


def test_an_image_that_only_the_command_sees_stops_the_run_and_rejects_nothing(cluster, tmp_path):
    import ray

    def blind(worker):
        os.access = lambda path, how: False

    context, item = noising(tmp_path, cluster)
    with context as executor:
        ray.get(actor_of(executor).__ray_call__.remote(blind))
        (made,) = work(executor, item)
    assert isinstance(made, StopRunError)
    assert f"ray.noise: an actor cannot read {item.images[0]}" in str(made)


def test_actors_see_no_keys_and_ray_listens_here_alone(cluster, tmp_path):
    import ray

    context, _ = noising(tmp_path, cluster)
    with context as executor:
        actor = actor_of(executor)
        theirs = ray.get(actor.__ray_call__.remote(lambda worker: dict(os.environ)))
        config = ray.get(actor.__ray_call__.remote(lambda worker: repr(worker._config)))
        assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
    assert not set(KEY) & set(theirs)
    assert theirs["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "rows.jsonl" not in config
    assert str(tmp_path) in config, "the workspace's"


def test_a_killed_command_loses_what_was_under_way_and_goes_on(cluster, tmp_path):
    rows = [(f"{number}: {question}", *rest) for number in range(12) for question, *rest in ROWS]
    assert main(["build", str(written(tmp_path / "here", rows, 200))]) == 0
    path = written(tmp_path / "killed", rows, 200)
    command = ["build", str(path), *cluster, "ray.noise.actors=2", "ray.noise.batch=2"]
    process = subprocess.Popen([sys.executable, "-m", "firempo_plugin.cli", *command], stderr=subprocess.PIPE)
    noised = path.parent / "work" / "images" / "noised"
    ends = time.monotonic() + 60
    while time.monotonic() < ends and not (noised.is_dir() and len(list(noised.iterdir())) > 20):
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert 20 < len(list(noised.iterdir())) < 330
    assert main(command) == 0
    assert exported(tmp_path / "killed") == exported(tmp_path / "here")


def test_actors_of_other_versions_are_refused(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(actors, "installed", lambda: ["firempo-plugin other", *installed()[1:]])
    context, _ = noising(tmp_path, cluster)
    told = r"ray.noise: \S+ has another firempo-plugin or what it needs \(firempo-plugin \w{8}, here .* other\)"
    with pytest.raises(UserError, match=told), context:
        pass


def test_more_actors_than_the_cluster_holds_are_refused(cluster, tmp_path, capsys):
    assert main(["build", str(written(tmp_path)), *cluster, "ray.noise.actors=1000"]) == 1
    assert "ray: the actors of noise need 1000 CPUs together, and the cluster has" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("address", "elsewhere", "absent", "told"),
    [
        ("local", "", True, r"Ray, which is not installed: pip install 'firempo-plugin\[ray\]'"),
        ("127.0.0.1:1", "", False, r"ray.address: 127.0.0.1:1: Ray cannot be reached or started: .*refused"),
        ("ray://head:10001", "", False, "expected local, auto or host:port"),
        ("auto", "127.0.0.1:1", False, r"ray.address: auto \(RAY_ADDRESS=127.0.0.1:1\): Ray cannot be .*refused"),
        ("auto", "ray://head:10001", False, "expected local, auto or host:port"),
    ],
)
def test_without_ray_nothing_is_begun(tmp_path, monkeypatch, address, elsewhere, absent, told):
    """Told at once: Ray itself tries for more than a minute."""
    monkeypatch.setenv("RAY_ADDRESS", elsewhere)
    if absent:
        monkeypatch.setitem(sys.modules, "ray", None)
    config = load(written(tmp_path), ["executor=ray", "ray.noise.actors=1", f"ray.address={address}"])
    before = dict(os.environ)
    with pytest.raises(UserError, match=told), executor_of(config):
        pass
    assert dict(os.environ) == before
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "executor: ray has nothing to do"),
        (["ray.edit.actors=1", "edit.judge=endpoint", "edit.endpoint.model=m"], "ray.edit.actors: it asks a model"),
        (["ray.target.actors=1", "target.by=judge", "edit.endpoint.model=m"], "ray.target.actors: it asks a model"),
        (["ray.segment.actors=1", "segment.by=http"], "ray.segment.actors: segment.by: http runs no model"),
        (["ray.segment.actors=1"], "ray.segment.actors: segment.by: none runs no model"),
        (["ray.noise.actors=1", "noise.by=similar"], "ray.noise.actors: noise.by: similar compares all images"),
    ],
)
def test_what_only_the_command_can_do_is_refused(tmp_path, overrides, told):
    path = written(tmp_path)
    with pytest.raises(UserError, match=told):
        load(path, ["executor=ray", *overrides])


def test_an_actor_hands_over_files_and_writes_none(tmp_path):
    config = load(written(tmp_path), [])
    image, gone = str(tmp_path / "0.bmp"), str(tmp_path / "gone.png")
    worker = Worker(config, "read", str(tmp_path / "work"), str(tmp_path))
    worker._working = "/nowhere"
    made, files, unseen = worker.make([Item(Record("a", (image,), "?", "No")), Item(Record("b", (gone,), "?", "No"))])
    assert made[0]["images"] == list(files)
    assert "image not found" in str(made[1])
    assert unseen == [gone]
    assert not (tmp_path / "work").exists()
