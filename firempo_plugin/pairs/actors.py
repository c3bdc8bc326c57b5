"""`executor: ray`: actors of a Ray cluster do the work of some steps. The store, the models that are asked, their keys
and the budget stay with the command: an actor gets items, and gives back JSON and files.

An actor that dies is started anew by Ray, which gives it once more what it was about.
"""

import os
import platform
import re
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
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
from .build import PORTABLE
from .config import ActorsConfig, BuildConfig, ExportConfig
from .decided import package_digest

REDONE = 2
"""How often Ray gives out anew what an actor died over."""
WITHIN = 300.0
"""Seconds that all actors have to start."""
REACHED_WITHIN = 5.0
"""Seconds in which a cluster's address must answer."""
LONGEST = 300
"""Characters of what Ray says."""
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
"""A Ray of this build alone listens on the loopback address, to those who know a token."""
_SECRET = re.compile(r"(?i)(?:^|_)(?:key|token|secret|passw(?:or)?d|credential)s?(?:_|$)")
"""Names of environment variables that an actor does not need to see."""


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

    def make(self, items: Sequence[Item]) -> tuple[list[Made], dict[str, bytes], list[str]]:
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
    import cv2
    import numpy
    import PIL

    return [package_digest(), *(f"{one.__name__} {one.__version__}" for one in (numpy, cv2, PIL))]


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
    own = _ALONE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if address == "local" else {}
    folder = TemporaryDirectory(prefix="firempo-ray-", ignore_cleanup_errors=True)
    with folder, _environment({"RAY_USAGE_STATS_ENABLED": "0", **own}):
        with _environment(dict.fromkeys(keys)):
            ray = _started(address, folder.name)
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
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "executor: ray needs Ray, which is not installed: pip install 'firempo-plugin[ray]', or write "
            "executor: local"
        ) from error
    where: dict[str, Any] = {"include_dashboard": False, "_temp_dir": folder} if address == "local" else {}
    try:
        if address not in ("local", "auto"):
            _reach(address)
        ray.init(address=address, logging_level="WARNING", log_to_driver=False, **where)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        told = " ".join(str(error).split())[:LONGEST]
        raise UserError(
            f"ray.address: {address}: Ray cannot be reached or started: {told}. Start it with `ray start` on this "
            "machine and name its address, or write ray.address: local, or executor: local"
        ) from error
    return ray


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
        self._place = place
        self._wanted = wanted
        self._idle: dict[str, Queue[Any]] = {name: Queue() for name in wanted}
        for name, one in wanted.items():
            kind = ray.remote(num_cpus=one.num_cpus, num_gpus=one.num_gpus, max_restarts=-1, max_task_retries=REDONE)(
                Worker
            )
            for _ in range(one.actors):
                self._idle[name].put(kind.remote(config, name, str(place.folder), os.getcwd()))
        self._try_all()

    def _try_all(self) -> None:
        """Raises UserError where an actor does not start, or is of another version than this process."""
        errors = self._ray.exceptions
        trials = {actor.ready.remote(): name for name, idle in self._idle.items() for actor in idle.queue}
        ready, late = self._ray.wait(list(trials), num_returns=len(trials), timeout=WITHIN)
        if late:
            raise UserError(
                f"ray.{trials[late[0]]}: {len(late)} of {len(trials)} actors did not start within {WITHIN:.0f} s; is "
                "what they need held by others (`ray status`)?"
            )
        for trial in ready:
            try:
                machine, found = self._ray.get(trial)
            except errors.RayTaskError as error:
                raise UserError(f"ray.{trials[trial]}: an actor cannot do the work: {error.cause}") from error
            except errors.RayError as error:
                told = " ".join(str(error).split())[-LONGEST:]
                raise UserError(
                    f"ray.{trials[trial]}: an actor ends at once; is firempo-plugin installed on every machine of the "
                    f"cluster? {told}"
                ) from error
            pairs = zip(found, installed(), strict=True)
            other = [f"{theirs}, here {mine}" for theirs, mine in pairs if theirs != mine]
            if other:
                raise UserError(
                    f"ray.{trials[trial]}: {machine} has another firempo-plugin or what it needs ({'; '.join(other)}); "
                    "install the same versions on every machine of the cluster"
                )

    def crew(self, step: Step) -> Crew:
        """The actors of a step; threads of this process where it has none."""
        one = self._wanted.get(step.name)
        if one is None:
            return local(step)
        return Crew(one.actors, one.batch or step.at_once, partial(self._work, step.name))

    def _work(self, name: str, items: Sequence[Item]) -> list[Made]:
        """Has an actor work, and writes its files before it goes on: it relies on those that it has made."""
        actor = self._idle[name].get()
        errors = self._ray.exceptions
        try:
            made, files, unseen = self._ray.get(actor.make.remote(items))
            lost = [path for path in unseen if os.access(path, os.R_OK)]
            if lost:
                raise StopRunError(
                    f"ray.{name}: an actor cannot read {lost[0]}; images and workspace must lie in a file system that "
                    "all machines of the cluster share, in the same place, and be readable for whom Ray runs as"
                )
            for file, content in files.items():
                self._place.put(self._place.path(file), [content])
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayActorError as error:
            among = f"{items[0].name} and {len(items) - 1} others" if len(items) > 1 else items[0].name
            told = " ".join(str(error).split())[:LONGEST]
            return [StopRunError(f"ray.{name}: an actor died {REDONE + 1} times over {among}: {told}")] * len(items)
        except StopRunError as stop:
            return [stop] * len(items)
        finally:
            self._idle[name].put(actor)
        return made
