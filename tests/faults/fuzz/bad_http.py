"""Requests that are wrong as HTTP, or right and odd: framing, headers, request lines, paths, and what is smuggled."""

import json
from collections.abc import Callable

from tests.faults.fuzz import sentinels
from tests.faults.fuzz.exchange import Shot
from tests.faults.fuzz.good import HOST, JSON, Good, pipelined, post, request

POST_HEAD = f"POST /api/v1/ HTTP/1.1\r\n{HOST}{JSON}"
READ_MAX = 60_000
"""Of a body that it has no use for, the server reads about so much; then it closes, and its reply may be lost."""
CHUNKED = "Transfer-Encoding: chunked\r\n"


def _sentinel(good: Good) -> str:
    return good.chance.choice([*sentinels.JIDS, sentinels.DELETED])


def _theft(good: Good) -> bytes:
    """Return what must never be carried out, because it is inside of something else."""
    jid = _sentinel(good)
    body = json.dumps(sentinels.body(f"stolen-{good.chance.getrandbits(32):x}")).encode()
    return good.chance.choice([request("DELETE", f"/api/v1/{jid}/"), post(body)])


def good_chunks(good: Good) -> Shot:
    """Return a body in chunks as they should be, with an odd size, extension or trailer here and there."""
    raw, chunks = good.raw_body(), b""
    while raw:
        size = good.chance.choice([1, 7, 100, 10_000])
        piece, raw = raw[:size], raw[size:]
        chunks += f"{len(piece):{good.chance.choice(['x', 'X', '04x'])}}\r\n".encode() + piece + b"\r\n"
    raw = (
        f"{POST_HEAD}{CHUNKED}\r\n".encode() + chunks + b"0\r\n" + good.chance.choice([b"", b"", b"X: y\r\n"]) + b"\r\n"
    )
    return Shot("chunked", raw, method="POST", may_create=True)


BROKEN_CHUNKS = [
    b"ZZ\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"2 \r\n{}\r\n0\r\n\r\n",
    b"2\n{}\n0\n\n", b"2\r\n{}0\r\n\r\n", b"2\r\n{}\r\n", b"ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    b"2;\0\r\n{}\r\n0\r\n\r\n", b"\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\nX\r\n\r\n", b"1_0\r\n{}\r\n",
    b"+2\r\n{}\r\n0\r\n\r\n", b"\xb2\r\n{}\r\n0\r\n\r\n", b"f" * 5000,
    b"2\r\n{}\r\n00000000000000000000000000000000000\r\n\r\n",
]  # fmt: skip


def broken_chunks(good: Good) -> Shot:
    """Return chunks that are none, in front of a request that must then not be believed."""
    method, target = good.chance.choice([("POST", "/api/v1/"), ("GET", "/health/"), ("PUT", "/jobs/"), ("GET", "/x")])
    head = f"{method} {target} HTTP/1.1\r\n{HOST}{good.chance.choice([JSON, ''])}{CHUNKED}\r\n"
    return Shot("broken chunks", head.encode() + good.chance.choice(BROKEN_CHUNKS), at_least=0, method=method)


def wrong_length(good: Good) -> Shot:
    """Return a body that is not as long as it is said to be, or whose length is no number."""
    raw = good.raw_body()
    length = len(raw)
    said = good.chance.choice([
        length + 1, length * 2, 10**20, -1, f"+{length}", f"{length}.0", "0x10", "", "x", "\uff11",
        f"{length}, {length}", f"{length}\r\nContent-Length: {length + 1}", f"{length}\r\nContent-Length: {length}",
    ])  # fmt: skip
    return Shot(
        "wrong Content-Length", f"{POST_HEAD}Content-Length: {said}\r\n\r\n".encode() + raw, at_least=0, method="POST"
    )


def short_length(good: Good) -> Shot:
    """Return a body that is longer than it is said to be: the rest is the next request, and no HTTP."""
    raw = good.raw_body()
    head = f"{POST_HEAD}Content-Length: {good.chance.randrange(len(raw))}\r\n\r\n"
    return Shot("short Content-Length", head.encode() + raw, at_most=2, method="POST")


def cut_off(good: Good) -> Shot:
    """Return the beginning of a good POST; its body may be whole but for white space that was promised."""
    raw = good.chance.choice([post(good.raw_body()), post(good.raw_body() + b" " * 500), good_chunks(good).raw])
    return Shot("cut off", raw[: good.chance.randrange(1, len(raw))], at_least=0, method="POST")


HEADERS = [
    "X: " + "y" * 9_000, "X: " + "y" * 70_000, "\r\n".join(f"X-{n}: y" for n in range(150)), "a b: c", ": c", "X",
    "X\0: y", "X: \0", "X: a\rb", "X: a\nb", " X: folded", "X: y\r\n folded", "X : y", "Host: other",
    "Expect: 100-continue", "Expect: fun", "Connection: close",
    "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "Upgrade: websocket",
    "X-Request-ID: ../../etc/passwd", "X-Request-ID: " + "a" * 200, "X-Forwarded-For: \xff",
    "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Script-Name: /api", "SCRIPT_NAME: /api",
    "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "Range: bytes=0-1", "If-None-Match: *",
    "Accept: nonsense", "Accept: text/html;q=nan", "Cookie: session=" + "x" * 4000, "Authorization: Basic !!!",
    "Accept-Encoding: gzip;q=\xb2", "If-Modified-Since: x", "Forwarded: for=;by=", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2",
    "Content-Type: \xff", "Trailer: Content-Length", "TE: trailers", "Via: " + "a," * 3000,
]  # fmt: skip


def header(good: Good) -> Shot:
    """Return a GET of a sentinel with one to three odd headers."""
    head = "".join(f"{line}\r\n" for line in good.chance.sample(HEADERS, good.chance.randint(1, 3)))
    method = good.chance.choice(["GET", "POST"])
    target = "/api/v1/" if method == "POST" else f"/api/v1/{_sentinel(good)}/"
    return Shot("odd headers", request(method, target, head), at_least=0, method=method)


REQUEST_LINES = [
    "GET", "GET /", "GET  /health/ HTTP/1.1", "GET /health/ HTTP/1.1 x", "get /health/ HTTP/1.1",
    "GET /health/ HTTP/0.9", "GET /health/ HTTP/1.0", "GET /health/ HTTP/1.2", "GET /health/ HTTP/2",
    "GET /health/ HTTP/11", "GET /health/ http/1.1", "GET /health/ ICY/1.1", "\0", "\x16\x03\x01\x02\0\x01",
    "GET\t/health/\tHTTP/1.1", "GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET http://x/health/ HTTP/1.1",
    "GET http:///health/ HTTP/1.1", "GET http://[ HTTP/1.1", "GET //x/health/ HTTP/1.1", "CONNECT x:1 HTTP/1.1",
    "TRACE / HTTP/1.1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET health HTTP/1.1", "GET ?limit=1 HTTP/1.1",
    "GET # HTTP/1.1", "GET /" + "a" * 4_080 + " HTTP/1.1", "GET /" + "a" * 70_000 + " HTTP/1.1", "G\xc9T / HTTP/1.1",
    "M-SEARCH /health/ HTTP/1.1", "PROPFIND /api/v1/ HTTP/1.1", "A" * 30 + " / HTTP/1.1", "{} /health/ HTTP/1.1",
    "GET /%ff%fe HTTP/1.1", "GET /\xff HTTP/1.1", "GET /%zz HTTP/1.1", "GET /% HTTP/1.1",
    "GET /health/?%zz=%ff&&=&a HTTP/1.1", "DELETE /api/v1/ HTTP/1.1", "PATCH /jobs/ HTTP/1.1", "GET /jobs HTTP/1.1",
]  # fmt: skip


def request_line(good: Good) -> Shot:
    line = good.chance.choice(REQUEST_LINES)
    return Shot("odd request lines", f"{line}\r\n{HOST}\r\n".encode("latin-1"), at_least=0, method=line.split(" ")[0])


PATHS = [
    "/api/v1/{}%2F..", "/api/v1/x/../{}", "/api/v1/./{}", "/api/v1/..%2f{}", "/api/v1/%2e%2e/{}", "/api/v1/{};x",
    "/api/v1/{}%00", "/api/v1/{}%00.txt", "/api/v1/{}.", "/api/v1/{}%20", "/api/v1/%20{}", "/api/v1/{}%0a",
    "/api/v1/{}%0d%0aX:y", "/api/v1/{}\\", "/api/v1/..\\{}", "/api/v1/{}%5c..", "/api/v1/%c0%ae%c0%ae/{}",
    "/api/v1/{}%c0%af", "/api/v1/%ef%bc%8f{}", "/api/v1/{}%ff", "/api/v1/x%2f{}", "/api/v1/*", "/api/v1/{}*",
    "/api/v1/sentinel-*", "/api/v1/{}/{}x", "/api/v1/%252F{}", "/api/v1/{}%252F..", "/api/v1/{},x",
    "/api/v1/{}%3fx=1", "/api/v1/{}%23", "/api/v2/{}x", "/API/V1/{}x", "/api/v1//x//{}y", "/api/v1/job:{}",
    "/api/v1/pman:pman:job:{}", "/jobs/{}x", "/api/v1/" + "a" * 300, "/api/v1/...", "/api/v1/%2e", "/api/v1/..",
    "/api/v1/~", "/api/v1/{}/logs", "/api/v1/{}/cancel", "/api/v1/__proto__", "/health/../api/v1/x",
    "/openapi.json/..", "/static/x", "/favicon.ico",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "DELETE", "DELETE", "OPTIONS", "TRACE", "FOO"]


def path(good: Good) -> Shot:
    """Return any method on a path that nearly names a sentinel. If it does name it, the method does no harm."""
    target = good.chance.choice(PATHS).replace("{}", _sentinel(good))
    target = target.replace("sentinel", "SENTINEL", 1) if good.chance.random() < 0.1 else target
    method = good.chance.choice(METHODS)
    if method == "DELETE" and sentinels.is_named_by(target):
        method = "PUT"
    head = JSON if method in {"POST", "PUT", "PATCH"} else ""
    return Shot("odd paths", request(method, target, head), at_least=0, method=method)


QUERIES = [
    "limit=0", "limit=-1", "limit=1001", "limit=1e3", "limit=%00", "limit=1&limit=2", "limit[]=1",
    "limit=" + "9" * 3000, "limit=%EF%BC%91", "cursor=x", "cursor=%00", "cursor=%FF", "cursor=(", "cursor=%2B",
    "cursor=-", "cursor=" + "0" * 26 + "%20a", "cursor=" + "0" * 26 + "%20a%20b", "cursor=&limit=1",
    "cursor=" + "z" * 26 + "%20" + "a" * 253, "cursor[]=x", "&&&", "=", "%", "limit=1;cursor=x",
    "cursor=" + "z" * 3500, "x" * 3000,
]  # fmt: skip


def query(good: Good) -> Shot:
    return Shot("odd queries", request("GET", f"/jobs/?{good.chance.choice(QUERIES)}"))


def smuggled(good: Good) -> Shot:
    """Return a request whose body, which nobody asked for or can be told the end of, is another request."""
    theft = _theft(good) * good.chance.choice([1, 1, 50, 3000])
    chunk = f"{len(theft):x}\r\n".encode() + theft + b"\r\n0\r\n\r\n"
    length = f"Content-Length: {len(theft)}\r\n"
    method, target = good.chance.choice(
        [("GET", "/health/"), ("GET", "/x"), ("PUT", "/api/v1/"), ("POST", "/api/v1/"), ("DELETE", "/api/v1/smuggler/")]
    )
    framing, body, is_clear = good.chance.choice(
        [
            (length, theft, True),
            (CHUNKED, chunk, True),
            (length + CHUNKED, theft, False),
            (f"Content-Length: 0\r\n{CHUNKED}", chunk, False),
            (f"Content-Length: 4\r\n{CHUNKED}", b"0\r\n\r\n" + theft, False),
            (f"{CHUNKED}{length}", b"0\r\n\r\n" + theft, False),
            (f"Transfer-Encoding: xchunked\r\n{length}", theft, False),
            (f"Transfer-Encoding: chunked, identity\r\n{length}", theft, False),
            (f"Transfer-Encoding : chunked\r\n{length}", theft, False),
            (f"Transfer-Encoding: \x0bchunked\r\n{length}", theft, False),
            (f"Transfer-Encoding:\r\n chunked\r\n{length}", theft, False),
            (f"Content-Length: 0\r\n{length}", theft, False),
            (f"Content-Length : 0\r\n{length}", theft, False),
            (f"X: y\rContent-Length: 0\r\n{length}", theft, False),
            (CHUNKED, b"ZZ\r\n" + theft, False),
        ]
    )
    raw = f"{method} {target} HTTP/1.1\r\n{HOST}{framing}\r\n".encode() + body
    return Shot("smuggled", raw, at_least=int(is_clear and len(raw) < READ_MAX), method=method)


def pipeline(good: Good) -> Shot:
    """Return several good requests in one breath."""
    shots = [shot for shot in (good.shot() for _ in range(good.chance.randint(2, 12))) if shot.method != "HEAD"]
    return pipelined(shots or [Shot("GET", request("GET", "/health/"))])


MUTATIONS: dict[Callable[[Good], Shot], int] = {
    good_chunks: 4, broken_chunks: 6, wrong_length: 5, short_length: 3, cut_off: 5, header: 10, request_line: 6,
    path: 14, query: 5, smuggled: 8, pipeline: 2,
}  # fmt: skip
"""Each with its share."""
