"""The server of the page: addresses, what they take, and what they answer."""

import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Literal

from fastapi import Body, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from pipelines.errors import DataRefused, NotFound
from pipelines.serve.desk import Desk
from pipelines.serve.guard import Guard
from pipelines.serve.review import Kind
from xmodal.settings import SettingsError

PAGE = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
LARGEST = 64 << 20
"""Bytes of an image that may be sent."""
MANY = 10_000
"""Images of one correction."""


class Asked(BaseModel):
    """A search: at most one of text, like and upload; the rest narrows it."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(default="", max_length=1000)
    like: int | None = None
    upload: str = ""
    sort: Literal["best", "unsure"] = "best"
    page: int = Field(default=0, ge=0)
    label: str = ""
    answer: str = ""
    survey: str = ""
    place: str = ""
    light: str = ""
    split: str = ""
    least: float | None = Field(default=None, ge=0, le=1)
    most: float | None = Field(default=None, ge=0, le=1)
    since: str = ""
    until: str = ""


class Images(BaseModel):
    """Some images of the index."""

    model_config = ConfigDict(extra="forbid")
    images: list[int] = Field(min_length=1, max_length=MANY)


class Label(Images):
    """What a person says of them."""

    type: Kind
    scientific_name: str = Field(default="", max_length=200)
    common_name: str = Field(default="", max_length=200)
    note: str = Field(default="", max_length=1000)


class Taken(BaseModel):
    """Images to take away: those named, else all that a search finds."""

    model_config = ConfigDict(extra="forbid")
    images: list[int] | None = None
    asked: Asked = Asked()
    form: Literal["csv", "camtrap-dp"]


def build(desk: Desk, guard: Guard) -> FastAPI:
    """The application, without FastAPI's documentation pages: they load scripts from afar."""
    app = FastAPI(openapi_url=None)
    app.middleware("http")(guard)
    for kind, code in ((SettingsError, 400), (DataRefused, 400), (NotFound, 404)):
        app.add_exception_handler(kind, _told(code))
    for name, (file, media) in PAGE.items():
        data = (files("pipelines.serve") / "page" / file).read_bytes()
        app.add_api_route(f"/{name}", _static(data, media), methods=["GET"])
    _look(app, desk)
    _say(app, desk)
    return app


def _look(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/about")
    def about() -> JSONResponse:
        return JSONResponse(desk.about())

    @app.get("/api/search")
    def search(asked: Annotated[Asked, Query()]) -> JSONResponse:
        return JSONResponse(desk.search(asked.model_dump()))

    @app.get("/api/images/{image}")
    def one(image: int) -> JSONResponse:
        return JSONResponse(desk.image(image))

    @app.get("/api/images/{image}/attention")
    def looks(image: int, text: Annotated[str, Query(min_length=1, max_length=1000)]) -> JSONResponse:
        return JSONResponse(desk.looks(image, text))

    @app.get("/images/{image}.jpg")
    def jpeg(image: int) -> Response:
        row = desk.index.row(desk.known(image))
        data = desk.pictures.jpeg(row["item"], row["row"])
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _say(app: FastAPI, desk: Desk) -> None:
    @app.post("/api/uploads")
    async def upload(request: Request) -> JSONResponse:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > LARGEST:
                raise SettingsError(f"this file is larger than {LARGEST >> 20} MiB")
        name = secrets.token_urlsafe(12)
        await run_in_threadpool(desk.upload, name, bytes(data))
        return JSONResponse({"upload": name})

    @app.post("/api/labels")
    def label(given: Annotated[Label, Body()]) -> JSONResponse:
        desk.say(given.images, given.type, given.scientific_name, given.common_name, given.note)
        return JSONResponse({"said": len(desk.review)})

    @app.post("/api/labels/undo")
    def unsay(given: Annotated[Images, Body()]) -> JSONResponse:
        return JSONResponse({"gone": desk.unsay(given.images), "said": len(desk.review)})

    @app.post("/api/selection")
    def selection(given: Annotated[Taken, Body()]) -> Response:
        images = desk.every(given.asked.model_dump()).tolist() if given.images is None else given.images
        images = [desk.known(image) for image in images]
        if given.form == "csv":
            return StreamingResponse(desk.selection.csv(images), media_type="text/csv", headers=_named("selection.csv"))
        data = desk.selection.camtrap_dp(images)
        return Response(data, media_type="application/zip", headers=_named("camtrap-dp.zip"))


def _static(data: bytes, media: str) -> Callable[[], Response]:
    def answer() -> Response:
        return Response(data, media_type=media)

    return answer


def _named(file: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file}"'}


def _told(code: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A mistake in one line."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, code)

    return answer
