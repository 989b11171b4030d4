"""The page as a web application: it knows a token, shows photos, and takes decisions."""

from __future__ import annotations

import hmac
import io
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetl._lib import extras
from edgetl.reports.pictures import thumbnail
from edgetl_device._lib.documents import Json
from edgetl_device.errors import EdgetlError, from_os_error
from edgetl_device.preprocess import read_photo

from .decisions import Review
from .suggestions import Suggestions

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page"
_FILES = {"review.css": "text/css", "review.js": "text/javascript"}
_SIDE, _SMALL_SIDE = 640, 160
_MOST_SUGGESTED = 3
_MOST_BYTES = 4096
_HEADERS = {
    # Nothing is loaded from elsewhere, and no other page may frame this one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def application(
    review: Review, photos: tuple[str, ...], suggestions: Suggestions | None, *, token: str, done: Callable[[], None]
) -> Starlette:
    """Return the application.

    The first request brings the token in its address and gets it back as a cookie, which every other request must have.

    Args:
        review: Where decisions go.
        photos: All photos; their places are their addresses.
        suggestions: What is suggested for them; None for nothing.
        token: The secret.
        done: Called when the user is done.

    Raises:
        Unavailable: Starlette is not installed.
    """
    applications, routing = (
        extras.require("starlette.applications", extra="review"),
        extras.require("starlette.routing"),
    )
    responses, hosts = extras.require("starlette.responses"), extras.require("starlette.middleware.trustedhost")
    middleware, threads = extras.require("starlette.middleware"), extras.require("starlette.concurrency")
    # Browsers send a cookie to every port of a machine: each review has its own.
    cookie = f"edgetl-review-{secrets.token_hex(4)}"
    # One decision after the other, each written by a thread, while the page still gets its photos.
    lock = threading.Lock()
    places = {path: place for place, path in enumerate(photos)}

    def answer(content: Json | str | bytes, kind: str = "application/json", code: int = 200) -> Response:
        if kind == "application/json":
            made: Response = responses.JSONResponse(content, code, headers=_HEADERS)
        else:
            made = responses.Response(content, code, headers=_HEADERS, media_type=kind)
        return made

    def known(function: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Let requests without the cookie, and those that other pages send, get nowhere."""

        async def guarded(request: Request) -> Response:
            if not hmac.compare_digest(request.cookies.get(cookie, ""), token):
                return answer("Open the address that edgetl review has printed.\n", "text/plain", 403)
            if request.method == "POST" and request.headers.get("content-type") != "application/json":
                return answer({"error": "not JSON"}, code=415)
            found: Response = await function(request)
            return found

        return guarded

    async def page(request: Request) -> Response:
        if hmac.compare_digest(request.query_params.get("token", ""), token):
            # The address with the token does not stay in the history.
            moved: Response = responses.RedirectResponse("/", 303, headers=_HEADERS)
            moved.set_cookie(cookie, token, httponly=True, samesite="strict", path="/")
            return moved
        found: Response = await index(request)
        return found

    async def _index(_: Request) -> Response:
        return answer((_PAGE / "index.html").read_bytes(), "text/html")

    index = known(_index)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            return answer("no such file\n", "text/plain", 404)
        return answer((_PAGE / name).read_bytes(), _FILES[name])

    async def photo(request: Request) -> Response:
        place = request.path_params["place"]
        if place >= len(photos):
            return answer("no such photo\n", "text/plain", 404)
        return await picture(review.folder / photos[place], _SIDE)

    async def neighbour(request: Request) -> Response:
        place = request.path_params["place"]
        if suggestions is None or place >= len(suggestions.training):
            return answer("no such photo\n", "text/plain", 404)
        return await picture(suggestions.folder / suggestions.training[place].path, _SMALL_SIDE)

    async def picture(path: Path, side: int) -> Response:
        try:
            data = await threads.run_in_threadpool(_jpeg, path, side)
        except (EdgetlError, OSError):
            return answer("it cannot be read\n", "text/plain", 404)
        return answer(data, "image/jpeg")

    async def state(_: Request) -> Response:
        return await _after(lambda: None)

    async def decide(request: Request) -> Response:
        body = await request.body()
        try:
            if len(body) > _MOST_BYTES:
                raise ValueError
            asked = await request.json()
            path, what, label = photos[asked["photo"]], asked["what"], str(asked.get("label", ""))
            action = {"label": lambda: review.label(path, label), "reject": lambda: review.reject(path)}.get(
                what, lambda: review.skip(path)
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return answer({"error": "not a decision"}, code=400)
        return await _after(action)

    async def undo(_: Request) -> Response:
        return await _after(review.undo)

    async def _after(action: Callable[[], None]) -> Response:
        def state_after() -> Json:
            with lock:
                action()
                return _state(review, places, suggestions)

        try:
            found = await threads.run_in_threadpool(state_after)
        except EdgetlError as error:
            return answer({"error": _said(error)}, code=409)
        except OSError as error:
            return answer({"error": f"nothing was changed: {_said(from_os_error(error))}"}, code=507)
        return answer(found)

    async def finish(_: Request) -> Response:
        done()
        return answer({})

    route = routing.Route
    made: Starlette = applications.Starlette(
        routes=[
            route("/", page),
            route("/state", known(state)),
            route("/page/{name}", known(file)),
            route("/photos/{place:int}", known(photo)),
            route("/training/{place:int}", known(neighbour)),
            route("/decide", known(decide), methods=["POST"]),
            route("/undo", known(undo), methods=["POST"]),
            route("/done", known(finish), methods=["POST"]),
        ],
        # A page elsewhere whose name resolves to this machine is not served.
        middleware=[middleware.Middleware(hosts.TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )
    return made


def _jpeg(path: Path, side: int) -> bytes:
    data = io.BytesIO()
    thumbnail(read_photo(path), side=side).save(data, "JPEG", quality=85)
    return data.getvalue()


def _said(error: EdgetlError) -> str:
    return ". ".join(filter(None, (": ".join(filter(None, (error.what, error.why))), error.hint)))


def _state(review: Review, places: dict[str, int], suggestions: Suggestions | None) -> Json:
    current = review.current
    found: dict[str, Json] = {
        **review.counts,
        "labels": list(review.labels),
        "can_undo": review.can_undo,
        "table": review.out.name,
        "photo": None,
    }
    if current is None:
        return found
    place = places[current]
    found["photo"] = {"place": place, "path": current, "suggested": [], "neighbours": []}
    if suggestions is not None and np.isfinite(suggestions.probabilities[place]).all():
        shares = suggestions.probabilities[place]
        best = np.argsort(-shares, kind="stable")[:_MOST_SUGGESTED]
        found["photo"] |= {
            "suggested": [{"label": suggestions.labels[one], "probability": float(shares[one])} for one in best],
            "neighbours": [
                {"place": int(one), "label": suggestions.training[one].label} for one in suggestions.nearest[place]
            ],
        }
    return found
