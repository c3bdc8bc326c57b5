"""A segmenter behind HTTP, to start from: replace `segment` by a model of your own.

    python examples/segmenter_server/server.py --port 8010

and in the configuration of `firempo build`:

    segment:
      by: http
      options: {url: "http://127.0.0.1:8010/segment"}

The protocol: POST a JSON body {"image": "<PNG, base64>", "target": "left lung"}; the reply is
{"masks": ["<PNG, base64>", ...], "scores": [...], "boxes": [[x0, y0, x1, y1], ...]}, one entry per detection,
masks of the image's height and width, boxes in pixels with x1 and y1 exclusive. Status 400 tells that the request
cannot be answered, and why; 500 and above, that it may be tried again.

The segmenter here knows nothing of medicine: it splits the image at Otsu's threshold and returns the dark or the
bright side, as `TARGETS` has it. It shows the protocol and needs numpy and Pillow alone.
"""

import argparse
import base64
import binascii
import io
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image, UnidentifiedImageError

TARGETS = {"lung": "dark", "air": "dark", "bone": "bright", "rib": "bright", "heart": "bright", "mediastinum": "bright"}
"""Which side of the threshold a word of the target asks for; a target without such a word is not found."""
LONGEST_BODY = 64 * 2**20
"""Bytes."""


def segment(image: np.ndarray, target: str) -> list[tuple[np.ndarray, float]]:
    """Finds the target: replace this.

    Args:
        image: [H, W] in grey or [H, W, 3] in red-green-blue, 0-255.
        target: What to find, a short noun phrase.

    Returns:
        One mask, [H, W] of bool, and one score in [0, 1] per detection; none where there is nothing.
    """
    sides = {side for word, side in TARGETS.items() if word in target.lower()}
    if len(sides) != 1:
        return []
    grey = image if image.ndim == 2 else image.mean(axis=-1)
    threshold, separation = otsu(grey)
    if not separation:
        return []
    return [(grey < threshold if sides == {"dark"} else grey >= threshold, separation)]


def otsu(grey: np.ndarray) -> tuple[float, float]:
    """The threshold that best separates dark from bright, and the share of the variance that it explains."""
    counts = np.histogram(grey, bins=256, range=(0, 256))[0] / grey.size
    levels = np.arange(256) + 0.5
    below, mass = np.cumsum(counts), np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mass[-1] * below - mass) ** 2 / (below * (1 - below)), posinf=0.0)
    best = int(between.argmax())
    variance = float((counts * (levels - mass[-1]) ** 2).sum())
    return best + 1.0, min(1.0, float(between[best]) / variance) if variance else 0.0


def answer(body: bytes) -> dict[str, list]:
    """The reply to a request.

    Raises:
        ValueError: The request is not of the protocol; the message tells why.
    """
    request = json.loads(body)
    if not isinstance(request, dict) or not all(isinstance(request.get(key), str) for key in ("image", "target")):
        raise ValueError('the body must be {"image": "<PNG, base64>", "target": "..."}')
    try:
        with Image.open(io.BytesIO(base64.b64decode(request["image"], validate=True)), formats=["PNG"]) as file:
            image = np.asarray(file.convert("L" if file.mode == "L" else "RGB"))
    except (binascii.Error, UnidentifiedImageError, OSError) as error:
        raise ValueError(f"the image is no PNG file in base64: {error}") from error
    detections = [(mask, score) for mask, score in segment(image, request["target"]) if mask.any()]
    return {
        "masks": [encode(mask) for mask, _ in detections],
        "scores": [score for _, score in detections],
        "boxes": [box_around(mask) for mask, _ in detections],
    }


def encode(mask: np.ndarray) -> str:
    """A mask as PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def box_around(mask: np.ndarray) -> list[int]:
    """x0, y0, x1, y1 of the smallest box that holds a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


class Handler(BaseHTTPRequestHandler):
    """Reads a request, answers it, and tells what was wrong with it."""

    key: str = ""
    timeout = 60

    def do_POST(self) -> None:
        """Answers one request."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(min(length, LONGEST_BODY + 1))
        if self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self.reply(401, {"error": "the key is missing or wrong"})
        elif self.path != "/segment":
            self.reply(404, {"error": "the only address here is /segment"})
        elif length > LONGEST_BODY:
            self.reply(413, {"error": f"the body may have {LONGEST_BODY} bytes"})
        else:
            try:
                self.reply(200, answer(body))
            except ValueError as error:
                self.reply(400, {"error": str(error)})

    def reply(self, status: int, content: dict) -> None:
        """Sends a status and a JSON body."""
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serve(host: str, port: int, key: str = "") -> ThreadingHTTPServer:
    """A server that is ready to `serve_forever`; port 0 takes a free one."""
    return ThreadingHTTPServer((host, port), type("KeyedHandler", (Handler,), {"key": key}))


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(description="A segmenter behind HTTP, to start from.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8010)
    parser.add_argument("--key-env", default="", help="environment variable with the key that requests must carry")
    arguments = parser.parse_args()
    server = serve(arguments.host, arguments.port, os.environ[arguments.key_env] if arguments.key_env else "")
    print(f"listening on http://{arguments.host}:{server.server_port}/segment")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
