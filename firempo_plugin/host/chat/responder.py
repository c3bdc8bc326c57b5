"""The host's chat engine as the model that answers the questions of `firempo build`, in this process."""

from typing import Any

from ...chat_templates import IMAGE, lead
from ...endpoint.failures import ReplyTruncatedError
from ..sentences import refused_by_the_host
from ..validate import quiet_host

BY_ONE_ID = ("huggingface", "sglang")
"""Engines of the host that call "length" what ends by another stop word than the one they know."""


class ChatEngine:
    """A model loaded by LLaMA-Factory's own inference arguments.

    Args:
        arguments: As for `llamafactory-cli chat`: model_name_or_path, template, adapter_name_or_path, ...
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        from llamafactory.chat import ChatModel

        arguments = {"infer_backend": "huggingface", **arguments}
        self._template = str(arguments.get("template", ""))
        self._tells_the_end = arguments["infer_backend"] not in BY_ONE_ID
        with quiet_host(), refused_by_the_host():
            self._model = ChatModel(arguments)

    def respond(self, question: str, images: tuple[str, ...], system: str, temperature: float, max_tokens: int) -> str:
        """The model's answer; greedy at temperature 0.

        Raises:
            ReplyTruncatedError: The answer ended at `max_tokens`.
        """
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        if images and IMAGE not in question:
            question = lead(len(images), self._template) + question
        (response,) = self._model.chat(
            [{"role": "user", "content": question}],
            system=system or None,
            images=list(images) or None,
            max_new_tokens=max_tokens,
            **sampling,
        )
        if response.finish_reason == "length" and (self._tells_the_end or response.response_length >= max_tokens):
            message = f"the reply was cut off: raise respond.endpoint.max_tokens ({max_tokens})"
            raise ReplyTruncatedError(message, str(response.response_text))
        return str(response.response_text)
