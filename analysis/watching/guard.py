"""Who may see the page, and what a browser may do with it: the token, the host that was asked for, the headers."""

from __future__ import annotations

import hmac
import re

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HOST = re.compile(r"\[?([\w.:-]*?)\]?(?::\d+)?", re.ASCII)


class Guard:
    """Around an application.

    token: None where every process of this machine may look. Else the address that has it gives a cookie.
    """

    def __init__(self, application: ASGIApp, token: str | None, port: int) -> None:
        self.application, self.token, self.cookie = application, token, f"ekd-watch-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        answer = self._refuse(Request(scope)) or self.application
        await answer(scope, receive, send_with_headers)

    def _refuse(self, request: Request) -> Response | None:
        """What is answered instead of a page."""
        if self.token is None:
            host = _HOST.fullmatch(request.headers.get("host", ""))
            # A page from elsewhere whose name leads here must not read this one.
            known = host is not None and host[1].lower() in LOOPBACK
            return None if known else PlainTextResponse("this page is for this machine alone", 400)
        given = request.query_params.getlist("token")
        if given and self._fits(given[0]):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
            return answer
        if self._fits(request.cookies.get(self.cookie, "")):
            return None
        return PlainTextResponse("open the whole address that the command has printed, with its token", 403)

    def _fits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(errors="replace"), str(self.token).encode())
