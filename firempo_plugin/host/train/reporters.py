"""The trackers that `report_to` may name, and whether they are installed. Imports none of them."""

from collections.abc import Iterable
from importlib.util import find_spec

MODULES: dict[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "mlflow": ("mlflow",),
    "swanlab": ("swanlab",),
    "neptune": ("neptune",),
    "comet_ml": ("comet_ml",),
    "clearml": ("clearml",),
    "codecarbon": ("codecarbon",),
    "dagshub": ("dagshub",),
    "dvclive": ("dvclive",),
    "azure_ml": ("azureml.core",),
    "flyte": ("flytekit",),
}
"""By the name that `report_to` takes, the packages of which one is enough (transformers' `is_..._available`)."""

BY_ITSELF = "kubeflow"  # transformers adds it inside a Kubeflow job; it needs no package


def installed() -> list[str]:
    """The names that `report_to` can take here."""
    return [name for name, modules in MODULES.items() if any(map(_is_there, modules))]


def _is_there(module: str) -> bool:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # the parent of a submodule
        return False
    return spec is not None and spec.origin is not None  # without: a mere folder, such as the ./wandb of earlier runs


def problem(report_to: str | Iterable[str] | None) -> tuple[str, str] | None:
    """What is wrong with a `report_to`, and what to do about it; None where every tracker is there."""
    names = [report_to] if isinstance(report_to, str) else list(report_to or ())
    if names in (["none"], ["all"]):
        return None
    there = installed()
    for name in names:
        if name in (*there, BY_ITSELF):
            continue
        instead = f"write `report_to: {there[0]}`" if there else "write `report_to: none`"
        if name not in MODULES:
            return f"report_to: {name} is unknown", f"write one of: none, all, {', '.join(MODULES)}"
        package = MODULES[name][0].replace(".", "-")
        return (
            f"report_to: {name} needs a package that is not installed",
            f"pip install {package}, or {instead} (plot_loss: true draws the curves in any case)",
        )
    return None
