"""The HTTP segmenter against servers that answer well, late, wrongly or not at all, and the reference server."""

import base64
import gzip
import importlib.util
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from places import EXAMPLES_DIR

from firempo_plugin.images.masks import MaskCache, box_mask
from firempo_plugin.pairs.segmenters.segmenter import Request, find, make
from firempo_plugin.records import RejectedError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
BOX = (10.0, 5.0, 30.0, 25.0)
MASK = box_mask([BOX], (40, 60))


def png(array: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@contextmanager
def serving(server):
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/segment"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def scripted(*replies):
    """A server that gives these replies in turn, (status, body, headers), and the last one from then on."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((json.loads(body), dict(self.headers)))
            status, content, headers = replies[min(len(seen), len(replies)) - 1]
            if status == 0:
                self.close_connection = True
                return
            if status == 1:
                time.sleep(10)
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            drip = float(headers.get("Drip", 0))
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for start in range(0, len(data), 1 if drip else len(data)):
                time.sleep(drip)
                self.wfile.write(data[start : start + 1] if drip else data)

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url, seen


def encoded(mask: np.ndarray) -> str:
    return base64.b64encode(png(mask.astype(np.uint8) * 255)).decode()


GOOD = (200, {"masks": [encoded(MASK)], "scores": [0.9], "boxes": [[10, 5, 30, 25]]}, {})
QUICK = {"wait": 0.01, "timeout": 1.0, "retries": 2}


@pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0]], ids=["colour", "grey"])
def test_http_sends_the_very_pixels_and_reads_the_masks(image):
    with scripted(GOOD) as (url, seen):
        found = make("http", {"url": url}).segment("a.png", image, "left lung")
    assert np.array_equal(found.mask, MASK)
    assert (found.scores, found.boxes) == ((0.9,), (BOX,))
    ((body, _),) = seen
    assert sorted(body) == ["image", "target"]
    assert body["target"] == "left lung"
    sent = np.array(Image.open(BytesIO(base64.b64decode(body["image"]))))
    assert np.array_equal(sent, image)


def test_http_fills_in_scores_and_boxes_and_accepts_nothing():
    replies = [(200, {"masks": [encoded(MASK), encoded(~MASK)]}, {}), (200, {"masks": []}, {})]
    with scripted(*replies) as (url, _):
        segmenter = make("http", {"url": url})
        found = segmenter.segment("a.png", IMAGE, "lung")
        assert found.mask.all()
        assert (found.scores, found.boxes) == ((1.0, 1.0), (BOX, (0.0, 0.0, 60.0, 40.0)))
        assert segmenter.segment("a.png", IMAGE, "lung").mask is None


@pytest.mark.parametrize("failure", [500, 503, 429, 0, 1], ids=["500", "503", "429", "hangs up", "too slow"])
def test_http_asks_again_after_a_failure_that_may_pass(failure):
    headers = {"Retry-After": "0"} if failure in (429, 503) else {}
    with scripted((failure, b"busy", headers), GOOD) as (url, seen):
        assert make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung").mask is not None
    assert len(seen) == 2


@pytest.mark.parametrize("asked", ["1", "Sun, 29 Nov 2026 10:00:01 GMT"])
def test_http_waits_as_long_as_the_server_asks(asked):
    headers = {"Retry-After": asked, "Date": "Sun, 29 Nov 2026 10:00:00 GMT"}
    with scripted((429, b"", headers), GOOD) as (url, _):
        start = time.monotonic()
        make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
    assert 1 <= time.monotonic() - start < 30


def test_http_gives_up_on_a_server_that_is_down_without_blaming_the_record():
    with scripted((500, b"broken", {})) as (url, seen):
        with pytest.raises(ConnectionError, match="in 3 attempts: status 500: broken"):
            make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
        assert len(seen) == 3
    (answer,) = make("http", {"url": url, **QUICK}).segment_many([Request("a.png", IMAGE, "lung")])
    assert isinstance(answer, ConnectionError)


def test_what_a_dying_server_did_answer_is_not_asked_again(tmp_path):
    requests = [Request("a.png", IMAGE, phrase) for phrase in ("lung", "heart", "spleen")]
    with scripted(GOOD, (404, b"gone", {})) as (url, seen):
        segmenter = make("http", {"url": url, "concurrency": 1})
        with pytest.raises(ConnectionError, match="status 404: gone"):
            find(segmenter, MaskCache(tmp_path), requests)
        assert len(seen) == 3
        assert find(segmenter, MaskCache(tmp_path), requests[:1])[0].mask
        assert len(seen) == 3


@pytest.mark.parametrize(("status", "kind"), [(400, RejectedError), (422, RejectedError), (404, ConnectionError)])
def test_http_does_not_repeat_what_cannot_succeed(status, kind):
    with scripted((status, b"unknown target", {})) as (url, seen):
        with pytest.raises(kind, match=f"status {status}: unknown target"):
            make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
        assert len(seen) == 1


def test_http_keeps_the_key_to_the_server_and_out_of_messages(monkeypatch):
    monkeypatch.setenv("SEGMENTER_KEY", "sesame-123")
    with scripted((401, b"wrong key sesame-123", {}), (307, b"", {"Location": "http://127.0.0.1:9/"})) as (url, seen):
        segmenter = make("http", {"url": url, "key_env": "SEGMENTER_KEY", **QUICK})
        with pytest.raises(ConnectionError) as refused:
            segmenter.segment("a.png", IMAGE, "lung")
        with pytest.raises(ConnectionError, match="status 307"):
            segmenter.segment("a.png", IMAGE, "lung")
    assert "sesame" not in str(refused.value)
    assert "sesame" not in json.dumps(segmenter.settings())
    assert seen[0][1]["Authorization"] == "Bearer sesame-123"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"<html>", "sent no JSON"),
        (b"[" * 100_000, "sent no JSON"),
        ([], "no list of masks"),
        ({"mask": encoded(MASK)}, "no list of masks"),
        ({"masks": ["?"]}, "mask 0 that is not base64"),
        ({"masks": [5]}, "number 0 of the segmenter's reply"),
        ({"masks": ["QUJD"]}, "number 0 of the segmenter's reply: it is none of PNG"),
        ({"masks": [encoded(MASK[:-1])]}, "60 x 39, the image 60 x 40"),
        ({"masks": [encoded(MASK)], "scores": []}, "1 masks, but scores"),
        ({"masks": [encoded(MASK)], "scores": [1.5]}, r"outside \[0, 1\]"),
        ({"masks": [encoded(MASK)], "scores": ["high"]}, r"outside \[0, 1\]"),
        ({"masks": [encoded(MASK)], "scores": [10**400]}, r"outside \[0, 1\]"),
        ({"masks": [encoded(MASK)], "boxes": [[0, 1, 2, -(10**400)]]}, "not x0, y0, x1, y1"),
        ({"masks": [encoded(MASK)], "boxes": [[1, 2, 3]]}, "not x0, y0, x1, y1"),
        (b'{"masks": ["%s"], "boxes": [[NaN, 1, 2, 3]]}' % encoded(MASK).encode(), "not x0, y0, x1, y1"),
    ],
)
def test_http_rejects_the_record_over_a_reply_that_breaks_the_protocol(reply, message):
    with scripted((200, reply, {})) as (url, seen):
        with pytest.raises(RejectedError, match=message):
            make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
        assert len(seen) == 1


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/", "file:///etc/hostname", "//x/"])
def test_http_follows_no_redirection(place):
    with scripted((302, b"", {"Location": place})) as (url, seen):
        with pytest.raises(ConnectionError, match=r"status 302.*write the final address"):
            make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
        assert len(seen) == 1


def test_http_goes_through_no_proxy(monkeypatch):
    with scripted(GOOD) as (proxy, stolen), scripted(GOOD) as (url, seen):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
    assert (len(stolen), len(seen)) == (0, 1)


def test_http_has_a_time_for_the_whole_attempt():
    """A byte every now and then is not silence, and held the run for ever."""
    with scripted((200, GOOD[1], {"Drip": "0.5"}), GOOD) as (url, seen):
        start = time.monotonic()
        assert make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung").mask is not None
        assert time.monotonic() - start < 30
    assert len(seen) == 2


def test_http_refuses_a_reply_that_swells(monkeypatch):
    monkeypatch.setattr("firempo_plugin.pairs.segmenters.http.MAX_REPLY", 10_000)
    bomb = json.dumps({**GOOD[1], "more": "x" * 20_000}).encode()
    for content, headers in ((bomb, {}), (gzip.compress(bomb), {"Content-Encoding": "gzip"})):
        with scripted((200, content, headers)) as (url, seen):
            with pytest.raises(RejectedError, match="sent more than 10000 bytes"):
                make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
            assert len(seen) == 1


def test_http_takes_so_many_masks_and_decodes_none_of_more():
    many = [encoded(MASK)] * 256
    with scripted((200, {"masks": many}, {}), (200, {"masks": [*many, "?"]}, {})) as (url, _):
        segmenter = make("http", {"url": url, "timeout": 5})
        assert len(segmenter.segment("a.png", IMAGE, "lung").boxes) == 256
        with pytest.raises(RejectedError, match="sent 257 masks; 256 are the most"):
            segmenter.segment("a.png", IMAGE, "lung")


def test_http_leaves_out_empty_masks_with_their_boxes_and_scores():
    masks = [encoded(np.zeros_like(MASK)), encoded(MASK)]
    reply = {"masks": masks, "scores": [0.2, 0.7], "boxes": [[0, 0, 1, 1], [10, 5, 30, 25]]}
    with scripted((200, reply, {})) as (url, _):
        found = make("http", {"url": url, **QUICK}).segment("a.png", IMAGE, "lung")
    assert (found.scores, found.boxes, np.array_equal(found.mask, MASK)) == ((0.7,), (BOX,), True)


SESAME = "sesame-0123456789-street"


@pytest.mark.parametrize("part", [SESAME, SESAME[:-4], SESAME[::-1]], ids=["whole", "beginning", "backwards"])
@pytest.mark.parametrize("status", [200, 400, 401, 429])
def test_http_tells_no_part_of_the_key(monkeypatch, part, status):
    monkeypatch.setenv("SEGMENTER_KEY", SESAME)
    told = ""
    for content in (part.encode(), {"masks": [part]}, {"masks": [], "scores": [part]}, {"masks": [1], "boxes": [part]}):
        with scripted((status, content, {})) as (url, _):
            segmenter = make("http", {"url": url, "key_env": "SEGMENTER_KEY", **QUICK})
            with pytest.raises((ConnectionError, RejectedError)) as refused:
                segmenter.segment("a.png", IMAGE, "lung")
        told += str(refused.value)
    assert "***" in told
    assert not [n for n in range(len(part) - 7) if part[n : n + 8] in told]


def test_http_sends_a_key_without_its_line_end_and_refuses_what_is_none_unsaid(monkeypatch):
    monkeypatch.setenv("SEGMENTER_KEY", f" {SESAME}\n")
    with scripted(GOOD) as (url, seen):
        make("http", {"url": url, "key_env": "SEGMENTER_KEY", **QUICK}).segment("a.png", IMAGE, "lung")
    assert seen[0][1]["Authorization"] == f"Bearer {SESAME}"
    for key in (f"{SESAME}\r\nX: 1", f"{SESAME}\u20ac", "\n"):
        monkeypatch.setenv("SEGMENTER_KEY", key)
        with pytest.raises(ValueError, match="key_env") as refused:
            make("http", {"url": url, "key_env": "SEGMENTER_KEY"})
        assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("options", [{"timeout": float("nan")}, {"wait": float("nan")}, {"timeout": 0}])
def test_http_takes_no_time_that_is_none(options):
    with pytest.raises(ValueError, match=r"(timeout|wait) must be a number \((above|at least) 0\)"):
        make("http", {"url": "http://127.0.0.1:9/", **options})


def test_http_takes_no_address_with_a_key():
    with pytest.raises(ValueError, match="looks like a key"):
        make("http", {"url": "http://127.0.0.1:9/segment?key=AIzaSyA1234567890abcdefghij"})


def test_http_asks_for_several_at_a_time():
    with scripted((500, b"", {}), GOOD) as (url, _):
        segmenter = make("http", {"url": url, "concurrency": 3, **QUICK})
        answers = segmenter.segment_many([Request("a.png", IMAGE, str(number)) for number in range(7)])
    assert segmenter.at_once == 3
    assert all(np.array_equal(answer.mask, MASK) for answer in answers)


def test_the_reference_server_speaks_the_protocol(monkeypatch):
    path = EXAMPLES_DIR / "segmenter_server" / "server.py"
    spec = importlib.util.spec_from_file_location("segmenter_server", path)
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    monkeypatch.setattr(server.Handler, "log_message", lambda *_: None)
    image = np.where(MASK, 20, 200).astype(np.uint8)
    monkeypatch.setenv("SEGMENTER_KEY", "sesame")
    with serving(server.serve("127.0.0.1", 0, key="sesame")) as url:
        segmenter = make("http", {"url": url, "key_env": "SEGMENTER_KEY", **QUICK})
        found = segmenter.segment("a.png", image, "left lung")
        assert np.array_equal(found.mask, MASK)
        assert found.boxes == (BOX,)
        assert found.scores[0] == pytest.approx(1, abs=1e-6)
        assert np.array_equal(segmenter.segment("a.png", np.dstack([image] * 3), "bones").mask, ~MASK)
        assert segmenter.segment("a.png", image, "prostate").mask is None
        assert segmenter.segment("a.png", np.full_like(image, 7), "rib").mask is None
        with pytest.raises(ConnectionError, match="status 404"):
            make("http", {"url": f"{url}s", "key_env": "SEGMENTER_KEY"}).segment("a.png", image, "lung")
        with pytest.raises(ConnectionError, match="status 401"):
            make("http", {"url": url}).segment("a.png", image, "lung")
    with pytest.raises(ValueError, match="the body must be"):
        server.answer(b"{}")
    with pytest.raises(ValueError, match="no PNG file"):
        server.answer(b'{"image": "QUJD", "target": "lung"}')
