"""The page behind a meeting's link: static, starts the program, says what to do without it. The loop's thread.

One page for all codes: it reads the code from its own address. A chair link's secret is in the fragment, which browsers keep
to themselves; the page's script hands it on to the program's link and nobody else.
"""

from __future__ import annotations

from aiohttp import web

from vidconf.resources import resource
from vidconf.server.schedule import clean_code

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {"link.html": "text/html", "link.js": "text/javascript", "link.css": "text/css", "icon.svg": "image/svg+xml"}


class LinkPage:
    """Its files are read once."""

    def __init__(self) -> None:
        self._files = {name: resource("web", name).read_bytes() for name in _FILES}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/m/{code}", self.page),
            web.get("/web/{name}", self.file),
            web.get("/", self.home),
            web.get("/robots.txt", self.robots),
        ]

    def _answer(self, name: str, status: int = 200, age_s: int = 3600) -> web.Response:
        headers = {
            "Content-Security-Policy": _POLICY,
            "Cache-Control": f"public, max-age={age_s}",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
        }
        return web.Response(body=self._files[name], content_type=_FILES[name], charset="utf-8", headers=headers, status=status)

    async def page(self, request: web.Request) -> web.Response:
        known_shape = clean_code(request.match_info["code"]) is not None
        return self._answer("link.html", 200 if known_shape else 404)

    async def home(self, request: web.Request) -> web.Response:
        return self._answer("link.html")

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._files or name == "link.html":
            raise web.HTTPNotFound()
        return self._answer(name)

    async def robots(self, request: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /\n")
