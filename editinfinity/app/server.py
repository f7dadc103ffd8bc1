"""The HTTP server of the page: what each address answers."""

from __future__ import annotations

import json
import mimetypes
import os
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from editinfinity.app import settings_form
from editinfinity.app.edits import Edits
from editinfinity.app.events import Events
from editinfinity.app.project import Photograph, Project, size_of
from editinfinity.app.run import WorkflowRun
from editinfinity.app.security import RefusedError, refusal
from editinfinity.app.tries import DONE, Try
from editinfinity.errors import UserError
from editinfinity.names import printable

_SHARED_WITH_REPORT = frozenset({"dom.js", "theme.css"})
"""Files that the page shares with the report."""

_FOLDERS_OF_RESULTS = ("results", "data")
"""Folders of the project whose files the report links to."""

Handler = Callable[[Request], Any]


class Page:
    """Answers the requests of the page.

    Args:
        project: the project folder.
        edits: draws tries, and finds masks.
        run: runs the workflow.
        events: told to all open pages.
        shown: name of the folder, for display; None if a photograph or nothing was opened.
        notices: lines to show when the page is opened.
    """

    def __init__(
        self,
        project: Project,
        edits: Edits,
        run: WorkflowRun,
        events: Events,
        shown: str | None,
        notices: list[str],
    ) -> None:
        self.project, self.edits, self.run, self.events = project, edits, run, events
        self.shown, self.notices = shown and printable(shown), notices

    def app(self) -> Starlette:
        """Return the ASGI app, without the checks of ``security.Guard``."""
        photograph, one_try = "/api/photographs/{id}", "/api/photographs/{id}/tries/{number:int}"
        routes = [
            Route("/", self.index),
            Route("/favicon.ico", self.icon),  # browsers ask for it on the report
            Route("/static/{name}", self.static),
            Route("/api/state", self.state),
            Route("/api/events", self.stream),
            Route("/api/photographs", self.upload, methods=["POST"]),
            Route(photograph, self.change, methods=["PUT"]),
            Route(f"{photograph}/picture", self.picture),
            Route(f"{photograph}/mask", self.mask, methods=["GET"]),
            Route(f"{photograph}/mask", self.set_mask, methods=["PUT", "DELETE"]),
            Route(f"{photograph}/find_mask", self.find_mask, methods=["POST"]),
            Route(f"{photograph}/found", self.found),
            Route(f"{photograph}/tries", self.tries, methods=["GET"]),
            Route(f"{photograph}/tries", self.draw, methods=["POST"]),
            Route(f"{one_try}/picture", self.try_picture),
            Route(f"{one_try}/view", self.try_view),
            Route(f"{one_try}/mask", self.try_mask),
            Route(f"{one_try}/download", self.download),
            Route(f"{one_try}/continue", self.edit_further, methods=["POST"]),
            Route(f"{one_try}/case", self.save_as_case, methods=["POST"]),
            Route("/api/cancel", self.cancel, methods=["POST"]),
            Route("/api/run", self.start_run, methods=["POST"]),
            Route("/api/run/cancel", self.cancel_run, methods=["POST"]),
            Route("/api/run/report/", self.report),
            Route("/api/run/files/{path:path}", self.file_of_results),
        ]
        handlers: Mapping[Any, Any] = {
            RefusedError: lambda _, error: refusal(error.status, error.line),
            UserError: lambda _, error: refusal(422, str(error)),
            HTTPException: lambda _, error: refusal(error.status_code, error.detail),
            OSError: lambda _, error: refusal(507, _disk_line(error)),
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    async def index(self, request: Request) -> Response:
        return _file_of_package("editinfinity.app", "page/index.html")

    async def icon(self, request: Request) -> Response:
        return _file_of_package("editinfinity.app", "page/icon.svg")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name in _SHARED_WITH_REPORT:
            return _file_of_package("editinfinity.results.report", name)
        return _file_of_package("editinfinity.app", f"page/{name}")

    async def stream(self, request: Request) -> Response:
        return StreamingResponse(self.events.stream(), media_type="text/event-stream")

    def state(self, request: Request) -> Response:
        self.edits.model.preload()  # only now: the page was shown before the model takes the CPU
        photographs = list(self.project.photographs.values())
        return JSONResponse(
            {
                "photographs": [self._about(photograph) for photograph in photographs],
                "current": photographs[0].id if photographs else None,
                "model": self.edits.model_state(),
                "settings": settings_form.form(self.project.base),
                "run": self.run.state(),
                "folder": self.shown,
                "notices": self.notices,
            }
        )

    async def upload(self, request: Request) -> Response:
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise RefusedError(400, "there is no photograph in the request")
            photograph = await run_in_threadpool(self._add_upload, file)
        self._publish(photograph)
        return JSONResponse({"id": photograph.id}, 201)

    def _add_upload(self, file: UploadFile) -> Photograph:
        from editinfinity.app.pictures import ending_of_upload
        from editinfinity.files.opening import open_picture

        name = Path(file.filename or "photo").name or "photo"
        with tempfile.TemporaryDirectory(prefix=".upload-", dir=self.project.folder) as folder:
            path = Path(folder, "photo")
            try:
                with path.open("wb") as copy:
                    while part := file.file.read(2**20):
                        copy.write(part)
                path = path.rename(path.with_suffix(ending_of_upload(path, name)))
                open_picture(path)
                return self.project.add_upload(path, name)
            except UserError as error:
                raise UserError(str(error).replace(str(path), printable(name))) from None

    async def change(self, request: Request) -> Response:
        photograph, content = self._photograph(request), await _json(request)
        source, prompt = _text(content, "source"), _text(content, "prompt")
        settings = settings_form.checked(content.get("settings", {}), self.project.base)
        await run_in_threadpool(self.project.set_texts, photograph, source, prompt, settings)
        self._publish(photograph)
        return JSONResponse(self._about(photograph))

    def picture(self, request: Request) -> Response:
        return _picture(self._photograph(request).path, request)

    def mask(self, request: Request) -> Response:
        from editinfinity.app.pictures import mask_for_page

        path = self.project.require_mask(self._photograph(request))
        if path is None:
            raise RefusedError(404, "this photograph has no mask")
        return Response(mask_for_page(path), media_type="image/png")

    async def set_mask(self, request: Request) -> Response:
        photograph = self._photograph(request)
        body = await request.body() if request.method == "PUT" else None
        await run_in_threadpool(self._set_mask, photograph, body)
        self._publish(photograph)
        return Response(status_code=204)

    def _set_mask(self, photograph: Photograph, png: bytes | None) -> None:
        from editinfinity.app.pictures import mask_of_page

        mask = None if png is None else mask_of_page(png, size_of(photograph))
        self.project.set_mask(photograph, mask)

    async def find_mask(self, request: Request) -> Response:
        photograph, content = self._photograph(request), await _json(request)
        how, word = _text(content, "how"), _text(content, "word")
        return JSONResponse({"task": self.edits.find_mask(photograph, how, word)}, 202)

    def found(self, request: Request) -> Response:
        path = self.edits.found_path(self._photograph(request))
        if not path.is_file():
            raise RefusedError(404, "no mask has been found for this photograph")
        return Response(path.read_bytes(), media_type="image/png")

    def tries(self, request: Request) -> Response:
        tries = self._photograph(request).tries
        return JSONResponse([tries[number].as_json() for number in sorted(tries)])

    async def draw(self, request: Request) -> Response:
        photograph, content = self._photograph(request), await _json(request)
        settings = settings_form.checked(content.get("settings", {}), self.project.base)
        made = await run_in_threadpool(self.edits.draw, photograph, settings)
        return JSONResponse({"try": made.number}, 202)

    def try_picture(self, request: Request) -> Response:
        _, made = self._drawn(request)
        has_view = "size" in request.query_params and made.view_path.is_file()
        return _picture(made.view_path if has_view else made.picture_path, request)

    def try_view(self, request: Request) -> Response:
        _, made = self._try(request)
        if not made.view_path.is_file():
            raise RefusedError(404, "this try has no picture")
        return Response(made.view_path.read_bytes(), media_type="image/jpeg")

    def try_mask(self, request: Request) -> Response:
        from editinfinity.app.pictures import mask_for_page

        _, made = self._try(request)
        if not made.mask_path.is_file():
            raise RefusedError(404, "this try has no mask")
        return Response(mask_for_page(made.mask_path), media_type="image/png")

    def download(self, request: Request) -> Response:
        from editinfinity.app.pictures import download

        photograph, made = self._drawn(request)
        content, ending = download(made.picture_path, photograph.path)
        name = quote(f"{Path(photograph.name).stem}_edited_{made.number}{ending}", safe="")
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"content-disposition": f"attachment; filename*=UTF-8''{name}"},
        )

    def edit_further(self, request: Request) -> Response:
        photograph, made = self._drawn(request)
        copy = self.project.continue_from(photograph, made.picture_path, made.number)
        self._publish(copy)
        return JSONResponse({"id": copy.id}, 201)

    async def save_as_case(self, request: Request) -> Response:
        photograph, made = self._try(request)
        name = _text(await _json(request), "name").strip()
        copy = await run_in_threadpool(self.project.save_as_case, photograph, made, name)
        self._publish(copy)
        return JSONResponse({"id": copy.id}, 201)

    async def cancel(self, request: Request) -> Response:
        content = await _json(request)
        photograph, number = content.get("photograph"), content.get("try")
        await run_in_threadpool(self.edits.cancel, photograph, number)
        return Response(status_code=204)

    async def start_run(self, request: Request) -> Response:
        await run_in_threadpool(self.run.start)
        return JSONResponse(self.run.state(), 202)

    async def cancel_run(self, request: Request) -> Response:
        self.run.cancel()
        return Response(status_code=204)

    async def report(self, request: Request) -> Response:
        return RedirectResponse("/api/run/files/results/report.html", 303)

    def file_of_results(self, request: Request) -> Response:
        """Answer with the report, or with a picture that it links to."""
        path = self.project.folder / request.path_params["path"]
        real = Path(os.path.realpath(path))
        folders = [self.project.folder / name for name in _FOLDERS_OF_RESULTS]
        type_ = mimetypes.guess_type(real.name)[0] or ""
        is_shown = type_.startswith("image/") or real.name == "report.html"
        inside = any(real.is_relative_to(folder) for folder in folders)
        if not (inside and is_shown and real.is_file()):
            raise RefusedError(404, "there is no such picture or report")
        if real.name == "report.html":
            return _report(real)
        headers = {"content-security-policy": "default-src 'none'; sandbox"}
        return Response(real.read_bytes(), media_type=type_, headers=headers)

    def _photograph(self, request: Request) -> Photograph:
        photograph = self.project.photographs.get(request.path_params["id"])
        if photograph is None:
            raise RefusedError(404, "there is no such photograph")
        return photograph

    def _try(self, request: Request) -> tuple[Photograph, Try]:
        photograph = self._photograph(request)
        made = photograph.tries.get(request.path_params["number"])
        if made is None:
            raise RefusedError(404, "there is no such try")
        return photograph, made

    def _drawn(self, request: Request) -> tuple[Photograph, Try]:
        photograph, made = self._try(request)
        if made.state != DONE:
            raise RefusedError(404, "this try has no picture")
        return photograph, made

    def _about(self, photograph: Photograph) -> dict[str, Any]:
        try:
            (width, height), fault = size_of(photograph), None
        except UserError as error:
            width, height, fault = 0, 0, str(error)
        return {
            "id": photograph.id,
            "name": photograph.name,
            "width": width,
            "height": height,
            "source": photograph.source,
            "prompt": photograph.prompt,
            "settings": photograph.settings,
            "mask": photograph.has_mask or photograph.mask_beside is not None,
            "learned": self.edits.has_learned(photograph),
            "tries": len(photograph.tries),
            "error": fault,
        }

    def _publish(self, photograph: Photograph) -> None:
        self.events.publish("photograph", photograph=self._about(photograph))


def _file_of_package(package: str, name: str) -> Response:
    """Return a file of the page; files of other folders have no name here."""
    file = resources.files(package).joinpath(name)
    plain = name.removeprefix("page/")
    if plain != Path(plain).name or plain.startswith(".") or not file.is_file():
        raise RefusedError(404, "there is no such file")
    type_ = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(file.read_bytes(), media_type=type_)


def _report(path: Path) -> Response:
    """Return the report; scripts that someone else wrote into it do not run on this origin."""
    from markupsafe import escape

    from editinfinity.results.report.page import policy

    content = path.read_bytes()
    if escape(policy()).encode() not in content:
        raise RefusedError(409, "the report is of another version; choose Run all to make it again")
    headers = {"content-security-policy": f"{policy()}; frame-ancestors 'none'"}
    return Response(content, media_type="text/html", headers=headers)


def _picture(path: Path, request: Request) -> Response:
    from editinfinity.app.pictures import full_picture, thumbnail

    size = request.query_params.get("size", "")
    content, type_ = thumbnail(path, int(size)) if size.isdecimal() else full_picture(path)
    return Response(content, media_type=type_)


async def _json(request: Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        raise RefusedError(400, "the request is not JSON") from None
    except ClientDisconnect:
        raise RefusedError(400, "the request was not complete") from None
    if not isinstance(content, dict):
        raise RefusedError(400, "the request is not a JSON object")
    return content


def _text(content: Mapping[str, Any], key: str) -> str:
    text = content.get(key) or ""
    if not isinstance(text, str):
        raise RefusedError(400, f"{key}: must be text")
    return text


def _disk_line(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return printable(f"{where}{error.strerror or error}; make room or allow writing there")
