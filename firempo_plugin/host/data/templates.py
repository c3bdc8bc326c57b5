"""The templates of the models that `firempo convert` makes, which the host does not know."""

from typing import Any

from ...convert.kinds import IMAGE_TOKEN, KINDS


def extend_template(module: Any) -> None:
    """Registers a template for each of them; LLaMA-Board lists what is registered."""
    for kind in KINDS.values():
        module.register_template(
            name=kind.template,
            format_user=module.StringFormatter(slots=[kind.prompt]),
            format_assistant=module.StringFormatter(slots=["{{content}}", {"eos_token"}]),
            format_prefix=module.EmptyFormatter(slots=[{"bos_token"}]) if kind.bos else None,
            mm_plugin=module.get_mm_plugin(name="llava", image_token=IMAGE_TOKEN),
        )
