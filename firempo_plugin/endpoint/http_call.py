"""One HTTP call: to the address that is written down and to no other, bounded in time and in size.

No redirect is followed, no cookie kept, no password file read. A proxy of the environment is used for https alone,
through a tunnel into which it cannot look; what goes over plain http, and to this machine, goes there directly.
"""

import base64
import io
import math
import os
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import UserError

LONGEST_CONNECT = 10.0
"""Seconds in which a server takes a connection, or is not there."""
SLOWEST = 100_000
"""Bytes a second; a file may take the call's time, and a second more for so many bytes."""
_PIECE = 2**16
_LONGEST_WAIT = 86_400.0


class NothingSentError(ConnectionError):
    """There is no connection: the request was not sent."""


class TooLargeError(ConnectionError):
    """The answer is larger than its limit."""


@dataclass(frozen=True)
class HttpAnswer:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: By their names in lower case.
        content: Unpacked; empty where it went into a file.
        trouble: Why the content may not be whole: no time left, too large, broken off; None: it is whole.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    trouble: Exception | None = None


def is_address(url: str) -> bool:
    """Whether a call can go there: http or https, a host, no user, ASCII without spaces."""
    try:
        parts = urlsplit(url)
        placed = bool(parts.hostname) and parts.port != 0
    except ValueError:  # an odd port, or odd brackets
        return False
    written = url.isascii() and url.isprintable() and " " not in url
    return placed and written and parts.scheme in ("http", "https") and "@" not in parts.netloc


def key_of(variable: str | None) -> str | None:
    """The key that an environment variable holds; None where none is named, or it is not set or blank.

    Raises:
        UserError: It holds what no header can; does not show it.
    """
    key = os.environ.get(variable or "", "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError("the environment variable that key_env names holds no key: it is not plain ASCII")
    return key or None


class _Clock:
    """The time of one call."""

    def __init__(self, timeout: float, slowest: float) -> None:
        self._end = time.monotonic() + min(timeout, _LONGEST_WAIT)
        self._slowest = slowest

    def left(self) -> float:
        """Seconds; raises TimeoutError where there are none."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the call's time is up")
        return seconds

    def moved(self, count: int) -> int:
        """Gives time for bytes that were moved."""
        self._end += count / self._slowest
        return count


class _Reader(io.RawIOBase):
    """Reads from a connection as long as the call has time, of which `most` bytes give more."""

    def __init__(self, connected: socket.socket, clock: _Clock, most: int) -> None:
        self._socket, self._clock, self._most = connected, clock, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._clock.left())
        count = self._socket.recv_into(buffer)
        self._most -= self._clock.moved(min(count, self._most))
        return count


class _Line:
    """What `http.client` needs of a socket. Its timeouts are those of the call, not those of a single byte."""

    def __init__(self, connected: socket.socket, clock: _Clock, most: int = 0) -> None:
        self._socket, self._clock, self._most = connected, clock, most

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self._clock.left())
            rest = rest[self._clock.moved(self._socket.send(rest[:_PIECE])) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._socket, self._clock, self._most))

    def close(self) -> None:
        """Left to `call`, which still reads from the connection."""


def call(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] = b"",
    *,
    timeout: float,
    limit: int,
    slowest: float = math.inf,
    into: IO[bytes] | None = None,
) -> HttpAnswer:
    """Sends a request and reads the answer.

    Args:
        method: "GET" or "POST".
        url: http or https.
        headers: Of the request; with a body in pieces, Content-Length among them.
        body: Of the request.
        timeout: Seconds for everything: connection, request and answer.
        limit: Most bytes of the content, unpacked; what comes after them is not read.
        slowest: Bytes a second for which a call may take longer; see `SLOWEST`.
        into: Where the content goes; None: into the answer.

    Raises:
        NothingSentError: There is no connection.
        TimeoutError: No status came in time.
        OSError, HTTPException: The connection broke before there was a status.
    """
    clock = _Clock(timeout, slowest)
    address = urlsplit(url)
    with closing(_connected(address, clock)) as connected:
        connection = HTTPConnection(address.hostname or "", address.port)
        connection.sock = _Line(connected, clock, limit)
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        own = {"Host": address.netloc, "Accept-Encoding": "identity", "Connection": "close"}
        try:
            connection.request(method, target, body or None, {**own, "User-Agent": "firempo-plugin", **headers})
        except TimeoutError:
            raise
        except OSError:
            pass  # a server that refuses early, as over a large body, has said why
        with closing(connection.getresponse()) as response:
            content = into or io.BytesIO()
            trouble = _read(response, content, limit)
            found = {name.lower(): value for name, value in response.getheaders()}
            text = b"" if into else content.getvalue()  # type: ignore[attr-defined]
            return HttpAnswer(response.status, found, text, trouble)


def _read(response: HTTPResponse, content: IO[bytes], limit: int) -> Exception | None:
    """Reads the content; says what kept it from being read to its end."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("", "identity", "gzip", "x-gzip", "deflate"):
        return HTTPException(f"the answer is packed as {packing[:20]}, which was not asked for")
    size = 0
    try:
        for piece in _plain(response, packed=packing not in ("", "identity"), most=limit + 1):
            size += len(piece)
            content.write(piece[: len(piece) - max(size - limit, 0)])
            if size > limit:
                return TooLargeError(f"the answer is larger than {limit / 2**20:g} MB")
    except TimeoutError:
        return TimeoutError("the call's time is up")
    except (OSError, HTTPException, zlib.error) as error:
        return error
    return None


def _plain(response: HTTPResponse, *, packed: bool, most: int) -> Iterator[bytes]:
    """The content in pieces of so many bytes at most; what is packed may be several files, one behind the other."""
    unpacker = zlib.decompressobj(wbits=47)
    sent = 0
    while piece := response.read1(_PIECE):
        sent += len(piece)
        if not packed:
            yield piece
        while packed and piece:
            unpacker = zlib.decompressobj(wbits=47) if unpacker.eof else unpacker
            yield unpacker.decompress(piece, most)
            piece = unpacker.unused_data
        if sent > most:
            raise TooLargeError("the answer is larger packed than it may be unpacked")
    if response.length or (packed and sent and not unpacker.eof):
        raise HTTPException("the answer broke off")


def _connected(address: SplitResult, clock: _Clock) -> socket.socket:
    """A connection to a server, encrypted where the address says so."""
    secure = address.scheme == "https"
    host = address.hostname or ""
    port = address.port or (443 if secure else 80)
    try:
        proxy = _proxy(host) if secure else None
        place = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        connected = socket.create_connection(place, min(clock.left(), LONGEST_CONNECT))
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                _tunnel(connected, clock, f"{host}:{port}", proxy)
            if secure:
                connected.settimeout(clock.left())
                return _certificates().wrap_socket(connected, server_hostname=host)
        except BaseException:
            connected.close()
            raise
    except (OSError, HTTPException, ValueError) as error:
        raise NothingSentError(str(error) or type(error).__name__) from error
    return connected


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust: the machine's authorities, and the usual ones, for machines that have none."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _proxy(host: str) -> SplitResult | None:
    """The environment's proxy for https; None for this machine, and where there is none.

    Raises:
        UserError: It is none that is asked in plain HTTP; another would be told its password in the clear.
    """
    from urllib.request import getproxies, proxy_bypass

    proxy = getproxies().get("https")
    if not proxy or host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    try:
        address = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        fine = address.scheme == "http" and address.hostname and address.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise UserError("the proxy in the environment variable https_proxy is not http://host:port")
    return address


def _tunnel(connected: socket.socket, clock: _Clock, place: str, proxy: SplitResult) -> None:
    """Has a proxy lead the connection to a place."""
    line = _Line(connected, clock)
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.username:
        name = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(name.encode()).decode()}")
    line.sendall("\r\n".join([*lines, "", ""]).encode())
    response = HTTPResponse(line, method="CONNECT")  # type: ignore[arg-type]
    response.begin()
    if response.status != 200:
        raise HTTPException(f"the proxy answered {response.status}")
