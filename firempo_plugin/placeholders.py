"""Where a prompt stands for its images."""

IMAGE = "<image>"
LINE_BREAK_AFTER_IMAGE = ("huatuo", "intern_vl", "llava")
"""How the templates begin whose models were trained with a line break between an image and the question."""


def lead(images: int, template: str) -> str:
    """The placeholders of images, as a prompt under a template of the host begins with them."""
    return (IMAGE + "\n" * template.startswith(LINE_BREAK_AFTER_IMAGE)) * images
