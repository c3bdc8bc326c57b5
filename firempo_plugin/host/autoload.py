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
        "extras.ploting",
        "hparams.model_args",
        "hparams.finetuning_args",
        "data.parser",
        "data.converter",
        "data.loader",
        "model.loader",
        "train.tuner",
        "webui.common",
        "webui.locales",
        "webui.control",
        "webui.runner",
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
            from .touchpoints import extend, require_supported_host

            require_supported_host()
            try:
                run_body(module)
            except Exception as error:
                from ..torch_releases import explain

                explain(error)
                raise
            extend(module)

        loader.exec_module = exec_module


def install() -> None:
    """Registers the hook once; does nothing where `FIREMPO_DISABLE` is set to anything but 0 or ''."""
    from os import environ

    if environ.get("FIREMPO_DISABLE", "0") not in ("", "0"):
        return
    if not any(type(finder) is HostFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, HostFinder())
