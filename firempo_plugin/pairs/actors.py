"""`executor: ray`: actors of a Ray cluster do the work of some steps. The store, the models that are asked, their keys
and the budget stay with the command: an actor gets items, and gives back JSON and files.

Where an actor dies, another takes its place and makes its items. Ray itself would also give them anew to an actor that
lives and was out of reach for a while, which relies on files that have not come.
"""

import os
import platform
import re
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from typing import Any

from ..endpoint.failures import StopRunError
from ..endpoint.settings import EndpointSettings
from ..errors import UserError
from ..respond.settings import RespondConfig
from ..scrub import scrub
from ..store.engine import Crew, Executor, Item, Made, Step, local
from ..store.place import Parcel, Place
from ..terminal import say
from .build import PORTABLE
from .config import ActorsConfig, BuildConfig, ExportConfig
from .decided import package_digest

TRIES = 3
"""Actors that may die over the same items before the run stops."""
WITHIN = 300.0
"""Seconds that all actors have to start."""
REACHED_WITHIN = 5.0
"""Seconds in which a cluster's address must answer."""
LONGEST = 300
"""Characters of what Ray says."""
DECIDING = ("numpy", "opencv-python-headless", "pillow", "torch", "transformers")
"""Packages whose versions decide what is made."""
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
"""A Ray of this build alone listens on the loopback address, to those who know a token."""
_OTHERS = {"RAY_NUM_REDIS_GET_RETRIES": "2"}
"""Of a Ray that runs already: where something else answers at its address, that is told in minutes, not in a quarter of
an hour."""
_SECRET = re.compile(r"(?i)(?:^|_)(?:key|token|secret|passw(?:or)?d|credential)s?(?:_|$)")
"""Names of environment variables that an actor does not need to see."""


Files = dict[str, bytes]
"""By their place in the workspace."""


class Worker:
    """Does the work of one step, in a process of its own.

    Args:
        config: The build, without what only the command itself may know.
        name: The step.
        folder: The build's workspace, which is only read.
        working: The command's working folder, from which relative paths are seen.
    """

    def __init__(self, config: BuildConfig, name: str, folder: str, working: str) -> None:
        self._config = config
        self._name = name
        self._place = Parcel(Path(folder))
        self._working = working

    @cached_property
    def _step(self) -> Step:
        with suppress(OSError):  # without it, a relative path is refused by whoever reads it
            os.chdir(self._working)
        return PORTABLE[self._name](self._config, self._place, None)

    def ready(self) -> tuple[str, list[str]]:
        """The machine, and what is installed there.

        Raises:
            UserError: An option of the step cannot be used there.
        """
        assert self._step
        return platform.node(), installed()

    def make(self, items: Sequence[Item]) -> tuple[list[Made], Files, list[str]]:
        """What is made of items, the files that belong to it, and files of the items that cannot be read here."""
        made = self._step.run_many(items)
        return made, self._place.taken(), [path for path in _files(items) if not os.access(path, os.R_OK)]


def _files(items: Sequence[Item]) -> list[str]:
    files: dict[str | None, None] = {}
    for item in items:
        files |= dict.fromkeys([*item.record.images, *item.images])
        files |= dict.fromkeys(region.mask for region in item.record.regions)
        files |= dict.fromkeys(found.mask for found in item.segmentations)
    return [path for path in files if path is not None]


def installed() -> list[str]:
    """What decides, beside the settings, what an actor makes."""
    # What follows a plus is what a version was built for, such as the head's CPU.
    return [
        f"firempo-plugin {package_digest()[:8]}",
        *(f"{name} {version(name).partition('+')[0]}" for name in DECIDING),
    ]


@contextmanager
def executor_of(config: BuildConfig, only: str | None = None) -> Iterator[Executor]:
    """Who does the work of a build, or of one of its steps; actors are there, and tried, when this begins.

    Raises:
        UserError: Ray is not installed or out of reach, or an actor cannot do the work; nothing was done.
    """
    wanted = {name: one for name, one in config.ray.steps.items() if only in (None, name)}
    if config.executor == "local" or not wanted:
        yield local
        return
    with _cluster(config.ray.address, _keys(config)) as ray:
        _refuse_too_many(ray, wanted)
        place = Place(Path(config.workspace).absolute())
        yield _Actors(ray, _told(config), place, wanted).crew


def _told(config: BuildConfig) -> BuildConfig:
    """What an actor is told: nothing of who is asked, with what, and where pairs go."""
    source = replace(config.source, options={})
    edit = replace(config.edit, endpoint=EndpointSettings())
    return replace(config, source=source, respond=RespondConfig(), edit=edit, export=ExportConfig())


def _keys(config: BuildConfig) -> set[str]:
    """Environment variables that hold keys, or look as if they did."""
    named = {config.respond.endpoint.key_env, config.edit.endpoint.key_env} - {None}
    secret = {name for name, value in os.environ.items() if _SECRET.search(name) or scrub(value) != value}
    return {str(name) for name in named} | {name for name in secret if not name.startswith("RAY_")}


@contextmanager
def _cluster(address: str, keys: set[str]) -> Iterator[Any]:
    """Ray, connected to, or started on this machine for this time, without the environment variables of those names."""
    here = address == "local"
    own = _ALONE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if here else _OTHERS
    private = TemporaryDirectory(prefix="firempo-ray-", ignore_cleanup_errors=True) if here else nullcontext("")
    with private as folder, _environment({"RAY_USAGE_STATS_ENABLED": "0", **own}):
        with _environment(dict.fromkeys(keys)):
            ray = _started(address, folder)
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Sets environment variables for a while; None: takes one away."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _started(address: str, folder: str) -> Any:
    loaded = "ray" in sys.modules
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "executor: ray needs Ray, which is not installed: pip install 'firempo-plugin[ray]', or write "
            "executor: local"
        ) from error
    if loaded:  # by LLaMA-Factory, say; Ray reads who may come when it is imported, and keeps it
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
    where: dict[str, Any] = {"include_dashboard": False, "_temp_dir": folder} if folder else {}
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else None
    try:
        if address != "local":
            _reach(named or _found(address))
        ray.init(address=address, logging_level="WARNING", log_to_driver=False, **where)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        whose = f" (RAY_ADDRESS={named})" if named else ""
        raise UserError(
            f"ray.address: {address}{whose}: Ray cannot be reached or started: {_short(error)}. Start it with `ray "
            "start` on this machine and name its address, or write ray.address: local, or executor: local"
        ) from error
    return ray


def _found(address: str) -> str:
    """The address itself, or for auto that of the Ray that runs or was started last on this machine.

    Raises:
        ConnectionError: None was.
    """
    from ray._private.services import canonicalize_bootstrap_address

    return str(canonicalize_bootstrap_address(address)) if address == "auto" else address


def _reach(address: str) -> None:
    """Ray itself waits for minutes, and ends the process, where nobody is."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()) or "/" in host:
        raise ValueError("expected local, auto or host:port")
    socket.create_connection((host.strip("[]"), int(port)), REACHED_WITHIN).close()


def _refuse_too_many(ray: Any, wanted: dict[str, ActorsConfig]) -> None:
    there = ray.cluster_resources()
    for kind, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        needed = sum(one.actors * vars(one)[key] for one in wanted.values())
        if needed > there.get(kind, 0):
            raise UserError(
                f"ray: the actors of {', '.join(wanted)} need {needed:g} {kind}s together, and the cluster has "
                f"{there.get(kind, 0):g}; write fewer ray.STEP.actors, or less ray.STEP.{key}"
            )


class _Actors:
    """Starts the actors of all wanted steps, and hands them work; a model stays in its actor until the end."""

    def __init__(self, ray: Any, config: BuildConfig, place: Place, wanted: dict[str, ActorsConfig]) -> None:
        self._ray = ray
        self._config = config
        self._place = place
        self._wanted = wanted
        self._idle: dict[str, Queue[Any]] = {name: Queue() for name in wanted}
        for name, one in wanted.items():
            for _ in range(one.actors):
                self._idle[name].put(self._new(name))
        trials = {actor.ready.remote(): name for name, idle in self._idle.items() for actor in idle.queue}
        ready, late = ray.wait(list(trials), num_returns=len(trials), timeout=WITHIN)
        if late:
            raise UserError(
                f"ray.{trials[late[0]]}: {len(late)} of {len(trials)} actors did not start within {WITHIN:.0f} s; is "
                "what they need held by others (`ray status`)?"
            )
        for trial in ready:
            self._try(trials[trial], trial)

    def _new(self, name: str) -> Any:
        one = self._wanted[name]
        kind = self._ray.remote(num_cpus=one.num_cpus, num_gpus=one.num_gpus)(Worker)
        return kind.remote(self._config, name, str(self._place.folder), os.getcwd())

    def _try(self, name: str, trial: Any) -> None:
        """Raises UserError where an actor does not start, or is of another version than this process."""
        errors = self._ray.exceptions
        try:
            machine, found = self._ray.get(trial)
        except errors.RayTaskError as error:
            raise UserError(f"ray.{name}: an actor cannot do the work: {error.cause}") from error
        except errors.RayError as error:
            raise UserError(
                f"ray.{name}: an actor ends at once; is firempo-plugin installed on every machine of the cluster? "
                f"{_short(error)}"
            ) from error
        pairs = zip(found, installed(), strict=True)
        other = [f"{theirs}, here {mine}" for theirs, mine in pairs if theirs != mine]
        if other:
            raise UserError(
                f"ray.{name}: {machine} has another firempo-plugin or what it needs ({'; '.join(other)}); install the "
                "same versions on every machine of the cluster"
            )

    def crew(self, step: Step) -> Crew:
        """The actors of a step; threads of this process where it has none."""
        one = self._wanted.get(step.name)
        if one is None:
            return local(step)
        return Crew(one.actors, one.batch or step.at_once, partial(self._work, step.name))

    def _work(self, name: str, items: Sequence[Item]) -> list[Made]:
        """Has an actor work; it is given more when its files are written, since it relies on what it has made."""
        actor = self._idle[name].get()
        died = ""
        try:
            for _ in range(TRIES):
                try:
                    return self._taken(name, items, *self._ray.get(actor.make.remote(items)))
                except self._ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except self._ray.exceptions.RayError as error:
                    died = f"ray.{name}: an actor died over {items[0].name} and what came with it: {_short(error)}"
                    say(f"{died}; another takes its place", file=sys.stderr)
                    self._ray.kill(actor)  # one that is only out of reach relies on files that never came
                    actor = self._new(name)
                    self._try(name, actor.ready.remote())
            return [StopRunError(f"{died}; {TRIES} times in a row")] * len(items)
        finally:
            self._idle[name].put(actor)

    def _taken(self, name: str, items: Sequence[Item], made: list[Made], files: Files, unseen: list[str]) -> list[Made]:
        """What an actor has made, its files written; nothing of it where it could not read what this process can."""
        for file, content in files.items():
            self._place.put(self._place.path(file), [content])
        lost = [path for path in unseen if os.access(path, os.R_OK)]
        if not lost:
            return made
        stop = StopRunError(
            f"ray.{name}: an actor cannot read {lost[0]}; images and workspace must lie in a file system that all "
            "machines of the cluster share, in the same place, and be readable for whom Ray runs as"
        )
        return [stop] * len(items)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST]
