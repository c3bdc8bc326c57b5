"""Lets every Python process find the stage: a lazy import hook, registered at interpreter start.

A start-up file in the wheel (`firempo_plugin_autoload.pth`; from Python 3.15 on its `.start` twin) calls
`install()`. That puts one finder in front of `sys.meta_path`, which leaves every import alone except the
LLaMA-Factory modules in `HOOKED`; right after the body of one of those has run, our addition to it runs.
So the CLI, torchrun and Ray workers, the web UI's child and dataset workers all meet the same host.

This module is imported by every Python process of the environment, hence it imports nothing that start-up has not.
`FIREMPO_DISABLE=1` switches the hook off.
"""

import sys

HOOKED = frozenset(
    f"llamafactory.{name}"
    for name in (
        "chat.hf_engine",
        "extras.constants",
        "hparams.model_args",
        "hparams.finetuning_args",
        "hparams.parser",
        "launcher",
        "data.parser",
        "data.converter",
        "data.loader",
        "data.template",
        "model.loader",
        "train.tuner",
        "webui.common",
        "webui.locales",
        "webui.control",
        "webui.runner",
        "webui.engine",
        "webui.components.train",
    )
)


class HostFinder:
    """A meta-path finder that finds nothing itself: it extends the loaders of the hooked modules."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Asks the finders behind this one, and wraps the loader instance that they return."""
        if name not in HOOKED:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                self._extend(spec.loader)  # type: ignore[no-untyped-call]
                return spec
        return None

    @staticmethod
    def _extend(loader):  # type: ignore[no-untyped-def]
        run_body = loader.exec_module

        def exec_module(module):  # type: ignore[no-untyped-def]
            from . import sentences
            from .touchpoints import extend, require_supported_host

            sentences.install()
            require_supported_host()
            try:
                run_body(module)
            except Exception as error:
                from ..torch_releases import explain

                explain(error)
                raise
            extend(module)

        loader.exec_module = exec_module


def switched_off() -> str | None:
    """Why the stage is not there in this environment: the variable that takes it away, and what to do."""
    from os import environ

    if environ.get("FIREMPO_DISABLE", "0") not in ("", "0"):
        return "FIREMPO_DISABLE is set, which switches the stage fire_mpo off; unset FIREMPO_DISABLE"
    if environ.get("USE_V1", "0").lower() in ("true", "y", "1"):
        return "USE_V1 is set, and LLaMA-Factory's v1 has no stage fire_mpo; unset USE_V1"
    return None


def install() -> None:
    """Registers the hook once; does nothing where `FIREMPO_DISABLE` is set to anything but 0 or ''."""
    cause = switched_off()
    if cause:
        _name_the_cause(cause)  # type: ignore[no-untyped-call]
        if cause.startswith("FIREMPO_DISABLE"):
            return
    if not any(type(finder) is HostFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, HostFinder())


def _name_the_cause(cause):  # type: ignore[no-untyped-def]
    """Behind an error about the stage or its keys, which the host then does not know, says why."""
    before = sys.excepthook

    def show(kind, error, trace):  # type: ignore[no-untyped-def]
        before(kind, error, trace)
        if "fire_" in str(error) or "'stage'" in str(error):
            print("firempo:", cause, file=sys.stderr)

    sys.excepthook = show
