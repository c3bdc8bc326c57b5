"""One call over HTTP: bounded in time, size and memory whatever the server sends, and whole or known not to be."""

import gzip
import io
import itertools
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import pytest

from firempo_plugin.endpoint.http_call import NothingSentError, TooLargeError, call, is_address, key_of

OK = b"HTTP/1.1 200 OK\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n"
TEXT = b"there is an opacity in the left lung; " * 50


@contextmanager
def sending(*pieces: bytes, then: Iterable[bytes] = ()) -> Iterator[str]:
    """A server that sends these bytes to whoever connects, and then as many of the others as are taken."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            connected, _ = server.accept()
            with connected:
                connected.recv(65536)
                for piece in itertools.chain(pieces, then):
                    connected.sendall(piece)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    finally:
        server.close()
        thread.join(5)


def sized(head: bytes, body: bytes) -> bytes:
    return head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("member", [1, 7, 1000, 10**6])
def test_what_is_packed_in_several_pieces_is_read_to_its_end(member: int) -> None:
    """Reading only the first would lose the lines of a batch behind it, and pay for them again."""
    packed = b"".join(gzip.compress(TEXT[start : start + member]) for start in range(0, len(TEXT), member))
    with sending(sized(GZIP, packed)) as url:
        answer = call("GET", url, {}, timeout=60, limit=10**6)
    assert (answer.content, answer.trouble) == (TEXT, None)


@pytest.mark.parametrize(
    "packed", [gzip.compress(TEXT)[:-9], gzip.compress(b"") + gzip.compress(TEXT)[:-1]], ids=["one", "the second"]
)
def test_what_is_packed_and_has_no_end_is_not_whole(packed: bytes) -> None:
    into = io.BytesIO()
    with sending(sized(GZIP, packed)) as url:
        answer = call("GET", url, {}, timeout=60, limit=10**6, into=into)
    assert "broke off" in str(answer.trouble)
    assert TEXT.startswith(into.getvalue())


@pytest.mark.parametrize("rest", [bytes(65536), gzip.compress(b"") * 3000], ids=["zeros", "empty files"])
def test_what_swells_to_nothing_is_too_large_as_well(rest: bytes) -> None:
    """Behind the end of what is packed a server could send for ever, and all of it was kept."""
    tracemalloc.start()
    with sending(GZIP + b"\r\n" + gzip.compress(TEXT), then=itertools.repeat(rest)) as url:
        answer = call("GET", url, {}, timeout=60, limit=10**6)
    assert isinstance(answer.trouble, TooLargeError | zlib.error)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_bomb_is_not_unpacked_beyond_its_limit() -> None:
    """One piece off the wire holds 64 MB of zeros."""
    bomb = gzip.compress(bytes(2**26))
    tracemalloc.start()
    with sending(sized(GZIP, bomb)) as url:
        answer = call("GET", url, {}, timeout=60, limit=10**6)
    assert isinstance(answer.trouble, TooLargeError)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"0\r\n", b"X-More: and more\r\n"),
    ],
    ids=["continue", "trailers"],
)
def test_bytes_that_give_time_end(start: bytes, rest: bytes) -> None:
    """A file takes longer the larger it is; what is no part of it gives no time beyond that of the largest."""
    began = time.monotonic()
    with sending(start, then=itertools.repeat(rest * 1000)) as url, suppress(TimeoutError):
        assert call("GET", url, {}, timeout=0.3, limit=10_000, slowest=100_000).trouble
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("proxy", ["socks5://", "https://", "http://[", ""])
def test_a_proxy_of_another_kind_is_told_nothing(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    taken: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    port = server.getsockname()[1]
    place = f"me:secret@127.0.0.1:{port}" if proxy else "127.0.0.1:none"
    monkeypatch.setenv("https_proxy", f"{proxy}{place}")
    with pytest.raises(NothingSentError, match="https_proxy") as refused:
        call("GET", "https://far.example/", {}, timeout=2, limit=100)
    assert "secret" not in str(refused.value)
    with server, pytest.raises(TimeoutError):
        taken.append(server.accept()[0].recv(100))
    assert taken == []


def test_what_goes_over_plain_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to another machine, as which this one counts under the name 0.0.0.0: a proxy would read it."""
    with sending(sized(OK, b"direct")) as url, sending() as proxy:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert call("GET", url.replace("127.0.0.1", "0.0.0.0"), {}, timeout=5, limit=100).content == b"direct"


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://host/v1", True),
        ("HTTPS://host:8443/v1?x=1", True),
        ("http://[::1]:8000/v1", True),
        ("http://xn--rntgen-wxa.example/", True),
        ("http://r\u00f6ntgen.example/", False),
        ("http://host:0/", False),
        ("http://host:65536/", False),
        ("http://host:v1/", False),
        ("http://[::1/", False),
        ("http://me@host/", False),
        ("http://@host/", False),
        ("http://host/a b", False),
        ("http://host/a\n", False),
        ("http:///v1", False),
        ("host/v1", False),
        ("file:///etc/hostname", False),
    ],
)
def test_where_a_call_can_go(url: str, fine: bool) -> None:
    assert is_address(url) is fine


def test_a_key_is_what_a_header_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_HERE", "\tabc-123\n")
    assert key_of("KEY_HERE") == "abc-123"
    monkeypatch.setenv("KEY_HERE", " ")
    assert [key_of("KEY_HERE"), key_of("NOT_SET_ANYWHERE"), key_of(""), key_of(None)] == [None] * 4
    for wrong in ("abc 123", "abc\r\nX: 1", "abc\u20ac"):
        monkeypatch.setenv("KEY_HERE", wrong)
        with pytest.raises(ValueError, match="key_env") as refused:
            key_of("KEY_HERE")
        assert "abc" not in str(refused.value)
