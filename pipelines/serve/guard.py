"""Who may ask, and what the browser is told: the same before every answer of the page's server.

A page on the web can send requests to a server on loopback, and by a name that it turns to 127.0.0.1 read the answers
(DNS rebinding). So the Host must be one of ours, and what changes something needs a header that no page of another site
can send without asking first.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request, Response
from starlette.responses import PlainTextResponse, RedirectResponse

COOKIE = "xmodal-token"
OWN_HEADER = "x-xmodal"
"""Of every request that changes something."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Guard:
    """`hosts`: names by which the server may be asked; empty: any, which a token allows. `token`: empty = none."""

    hosts: tuple[str, ...]
    token: str

    async def __call__(self, request: Request, answer: Next) -> Response:
        response = self._refused(request) or self._entered(request) or await answer(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    def _refused(self, request: Request) -> Response | None:
        if self.hosts and (request.url.hostname or "") not in self.hosts:
            return PlainTextResponse("this server is not asked by that name", 421)
        if self.token and not self._knows(request):
            return PlainTextResponse("open the address with its token, as `xmodal serve` printed it", 401)
        if request.method not in ("GET", "HEAD") and OWN_HEADER not in request.headers:
            return PlainTextResponse(f"needs the header {OWN_HEADER}", 403)
        return None

    def _knows(self, request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = (request.query_params.get("token", ""), request.cookies.get(COOKIE, ""), bearer)
        return any(secrets.compare_digest(one.encode(), self.token.encode()) for one in given)

    def _entered(self, request: Request) -> Response | None:
        """The token leaves the address at once: it would stay in the history and be shown on shared screens."""
        if not self.token or "token" not in request.query_params:
            return None
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        response = RedirectResponse(f"{request.url.path}?{urlencode(rest)}" if rest else request.url.path, 303)
        response.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response
