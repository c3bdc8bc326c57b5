"""SAM 3 from transformers, prompted with the phrase; a LoRA adapter makes it a medical one."""

import shlex
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from ...errors import UserError
from ...images.masks import Found, joined
from ...images.pixels import Pixels
from ...records import Region, RejectedError
from ...settings import config_key
from .segmenter import Answer, Request, Segmenter

MAX_TOKENS = 32
"""Length of the text encoder's window, to which `Sam3Processor` pads every prompt."""
DTYPES = ("float32", "bfloat16", "float16")

PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
LONGEST_REASON = 300


@dataclass(frozen=True)
class Sam3Segmenter(Segmenter):
    """Joins all detections of a phrase.

    An image is encoded once for all phrases that are asked of it one after the other.
    """

    name: ClassVar[str] = "sam3"
    cached: ClassVar[bool] = True
    portable: ClassVar[bool] = True

    checkpoint: str = config_key(MISSING, "folder of a Sam3Model with its Sam3Processor")
    adapter: str = config_key(
        "",
        "folder of a LoRA adapter in PEFT's format, merged into the model; `firempo convert` makes one of MedSAM3's",
    )
    device: str = config_key("auto", "cpu, cuda, cuda:1, ..., or auto: a GPU where there is one")
    dtype: str = config_key("float32", f"of: {', '.join(DTYPES)}", choices=DTYPES)
    batch: int = config_key(4, "images and phrases at a time; bounds memory", least=1)
    threshold: float = config_key(0.5, "detections with a lower score are left out", least=0, most=1)
    mask_threshold: float = config_key(0.5, "probability above which a pixel belongs to a detection", least=0, most=1)
    nms: float = config_key(
        0.5, "of two detections whose boxes overlap by more (over their union), the better one stays", least=0, most=1
    )

    def __post_init__(self) -> None:
        """Raises UserError where an option is out of range or a folder is absent; loads nothing."""
        if self.adapter:
            _require_peft(Path(self.adapter))
        for option, folder in (("checkpoint", self.checkpoint), ("adapter", self.adapter)):
            if folder and not Path(folder).is_dir():
                raise UserError(f"{option}: {folder} is no folder; write the path of a local {option}")

    @property
    def at_once(self) -> int:
        """The batch size."""
        return self.batch

    def settings(self) -> dict[str, Any]:
        """What decides the masks: the files of the weights, by size and time, and the thresholds."""
        return {
            "checkpoint": _files(self.checkpoint),
            "adapter": _files(self.adapter) if self.adapter else [],
            "dtype": self.dtype,
            "threshold": self.threshold,
            "mask_threshold": self.mask_threshold,
            "nms": self.nms,
        }

    def segment(self, image_path: str, image: Pixels, phrase: str, regions: tuple[Region, ...] = ()) -> Found:
        """Finds one target on one image; the regions of the record are left aside."""
        answer = self.segment_many([Request(image_path, image, phrase)])[0]
        if not isinstance(answer, Found):
            raise answer
        return answer

    def segment_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Runs the model over the requests, `batch` at a time; those of one image side by side."""
        answers: dict[int, Answer] = {}
        fitting = []
        for index, request in enumerate(requests):
            length = len(self._loaded[1].tokenizer(request.phrase).input_ids)
            if length > MAX_TOKENS:
                answers[index] = RejectedError(f"target is too long for SAM 3: {length} tokens of {MAX_TOKENS}")
            else:
                fitting.append(index)
        fitting.sort(key=lambda index: requests[index].image_id)
        for start in range(0, len(fitting), self.batch):
            part = fitting[start : start + self.batch]
            answers |= zip(part, self._run([requests[index] for index in part]), strict=True)
        return [answers[index] for index in range(len(requests))]

    @cached_property
    def _loaded(self) -> tuple[Any, Any, "_Encoder"]:
        """The model, on its device, its processor, and both as an encoder of images."""
        import torch
        from transformers import Sam3Model, Sam3Processor

        model = Sam3Model.from_pretrained(
            self.checkpoint, dtype=vars(torch)[self.dtype], local_files_only=True, use_safetensors=True
        )
        processor = Sam3Processor.from_pretrained(self.checkpoint, local_files_only=True)
        if self.adapter:
            model = _merged(model, self.checkpoint, self.adapter)
        found = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.to(found if self.device == "auto" else self.device).eval()
        return model, processor, _Encoder(model, processor, self.batch)

    def _run(self, requests: Sequence[Request]) -> list[Found]:
        """One forward pass."""
        import torch

        model, processor, encoder = self._loaded
        text = processor(text=[request.phrase for request in requests], return_tensors="pt").to(model.device)
        with torch.inference_mode():
            outputs = model(vision_embeds=encoder.rows(requests), **text)
            logits = (outputs.pred_logits.float(), outputs.presence_logits.float())
            scores = logits[0].sigmoid() * logits[1].sigmoid()
            parts = zip(requests, scores, outputs.pred_boxes.float(), outputs.pred_masks, strict=True)
            return [self._join(request.image.shape[:2], *part) for request, *part in parts]

    def _join(self, shape: tuple[int, ...], scores: Any, boxes: Any, masks: Any) -> Found:
        """Joins the detections of one request but weak ones and doubles; one mask at a time has the image's size.

        Args:
            shape: Height and width of the image.
            scores: [N].
            boxes: [N, 4], corners as shares of width and height.
            masks: Logits at the model's size, [N, h, w].
        """
        from torch.nn.functional import interpolate
        from torchvision.ops import nms

        height, width = shape
        boxes = boxes * boxes.new_tensor([width, height, width, height])
        found = (scores > self.threshold).nonzero()[:, 0]
        kept = found[nms(boxes[found], scores[found], self.nms)].tolist()

        def mask(place: int) -> Any:
            sized = interpolate(masks[place][None, None].float().sigmoid(), (height, width), mode="bilinear")
            return (sized[0, 0] > self.mask_threshold).cpu().numpy()

        corners = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes[kept].tolist()]
        return joined((mask(place) for place in kept), scores[kept].tolist(), corners)


class _Encoder:
    """The vision encoder of a Sam3Model. What it made of the last images is kept, of `batch` of them at most."""

    def __init__(self, model: Any, processor: Any, batch: int) -> None:
        self._model, self._processor, self._batch = model, processor, batch
        self._maps: dict[str, list[Any]] = {}
        self._positions: list[Any] = []

    def rows(self, requests: Sequence[Request]) -> Any:
        """The encoder's output with a row for each of `batch` requests at most."""
        import torch
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        images = {request.image_id: request.image for request in requests}
        new = {name: image for name, image in images.items() if name not in self._maps}
        idle = [name for name in self._maps if name not in images]
        for name in idle[: max(0, len(self._maps) + len(new) - self._batch)]:
            del self._maps[name]
        if new:
            self._encode(new)
        levels = zip(*(self._maps[request.image_id] for request in requests), strict=True)
        self._maps |= {name: self._maps.pop(name) for name in images}  # to the end, where what goes last is
        return Sam3VisionEncoderOutput(
            fpn_hidden_states=tuple(torch.cat(level) for level in levels),
            fpn_position_encoding=tuple(level.expand(len(requests), -1, -1, -1) for level in self._positions),
        )

    def _encode(self, images: dict[str, Pixels]) -> None:
        pictures = [Image.fromarray(image).convert("RGB") for image in images.values()]
        pixels = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
        vision = self._model.get_vision_features(pixels.to(self._model.device, self._model.dtype))
        for row, name in enumerate(images):  # copies: a view would hold all images of the pass
            self._maps[name] = [level[row : row + 1].clone() for level in vision.fpn_hidden_states]
        self._positions = [level[:1].clone() for level in vision.fpn_position_encoding]  # the same for all images


def _merged(model: Any, checkpoint: str, adapter: str) -> Any:
    """The model with the adapter merged into its weights.

    Raises:
        UserError: It is not of this model. PEFT itself would leave out what it cannot place.
    """
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(model, adapter, local_files_only=True)
        read = adapted.load_adapter(adapter, "default", local_files_only=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise UserError(f"adapter: {adapter} does not fit the model in {checkpoint}: {reason}") from error
    lost = [*read.missing_keys, *read.unexpected_keys]
    if lost:
        told = f"{len(lost)} too many or too few of its tensors, such as {lost[0]}"
        raise UserError(f"adapter: {adapter} does not fit the model in {checkpoint}: {told}")
    return adapted.merge_and_unload()


def _require_peft(adapter: Path) -> None:
    """Raises UserError where weights lie at a place of an adapter, but not in PEFT's format; loads none."""
    found = [adapter] if adapter.is_file() else sorted(adapter.iterdir()) if adapter.is_dir() else []
    if not found or all((adapter / name).is_file() for name in PEFT_FILES):
        return
    weights = [path for path in found if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".safetensors")]
    held = (
        f"the raw weights {', '.join(path.name for path in weights)}" if weights else f"no {' and '.join(PEFT_FILES)}"
    )
    verb = "is" if adapter.is_file() and weights else "holds"
    source = shlex.quote(str(weights[0] if weights else adapter / "best_lora_weights.pt"))
    raise UserError(
        f"adapter: {adapter} {verb} {held}, not a LoRA adapter in PEFT's format. MedSAM3's released file "
        f"(best_lora_weights.pt) becomes one with `firempo convert {source} FOLDER`; then write that folder. Without "
        "`adapter` plain SAM 3 segments"
    )


def _files(folder: str) -> list[list[Any]]:
    """Name, size and time of every file; reading gigabytes of weights would take longer than it is worth."""
    files = [(path, path.stat()) for path in sorted(Path(folder).iterdir()) if path.is_file()]
    return [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in files]
