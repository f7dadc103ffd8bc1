"""Attacks on the server of the page, over a real socket."""

from __future__ import annotations

import http.client
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.app.running import QUICK, App, box_mask, path_of, png_of

HOSTILE = '<img src=x onerror="alert(1)">\'"&.png'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    photos = folder / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 48), "tan").save(photos / "a.png")
    (folder / "secret.png").write_bytes(png_of(Image.new("RGB", (8, 8), "red")))
    return folder


@pytest.fixture(scope="module")
def app(project: Path) -> Iterator[App]:
    running = App.start("photos", *QUICK, cwd=project)
    yield running
    status, errors = running.close()
    assert status == 0 and errors == "", errors


def test_without_the_token_nothing_is_answered(app: App) -> None:
    for path in ("/", "/api/state", "/api/events", "/static/index.html", "/api/photographs/a/mask"):
        answer = app.get(path, cookie=False)
        assert answer.status == 403 and "token is missing" in answer.json["error"], path
    wrong = app.get("/api/state", cookie=False, headers={"Cookie": f"editinfinity_{app.port}=no"})
    assert wrong.status == 403
    assert app.get("/?token=wrong", cookie=False).status == 403


def test_cookies_of_other_local_servers_do_not_hide_the_token(app: App) -> None:
    """Cookies of 127.0.0.1 are sent to every port, whatever they hold."""
    cookies = f'other={{"a": [1]}}; broken; editinfinity_{app.port}={app.token}; ='
    assert app.get("/api/state", cookie=False, headers={"Cookie": cookies}).status == 200


def test_a_report_that_others_wrote_runs_no_script_here(app: App, project: Path) -> None:
    results = project / "photos_project" / "results"
    results.mkdir(exist_ok=True)
    (results / "report.html").write_text("<script>fetch('/api/state')</script>")
    answer = app.get("/api/run/files/results/report.html")
    assert answer.status == 409 and "Run all" in answer.json["error"]
    from markupsafe import escape

    from editinfinity.results.report.page import policy

    (results / "report.html").write_text(f"{escape(policy())}<script>fetch('/api/state')</script>")
    answer = app.get("/api/run/files/results/report.html")
    assert policy() in answer.headers["content-security-policy"]
    assert "unsafe" not in policy() and "connect-src" not in policy()


def test_the_printed_address_sets_a_cookie_that_scripts_and_other_sites_cannot_use(
    app: App,
) -> None:
    answer = app.get(f"/?token={app.token}", cookie=False)
    assert answer.status == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:{port}"]
)
def test_another_host_name_is_refused_as_dns_rebinding_would_send_it(app: App, host: str) -> None:
    answer = app.get("/api/state", headers={"Host": host.format(port=app.port)})
    assert answer.status == 403 and "no other name" in answer.json["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
def test_another_origin_is_refused(app: App, origin: str) -> None:
    for method in ("GET", "POST"):
        answer = app.request(method, "/api/state", headers={"Origin": origin})
        assert answer.status == 403, (method, origin)


def test_a_change_needs_the_pages_origin_or_a_header_that_other_pages_cannot_send(
    app: App,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", app.port)
    cookie = {"Cookie": f"editinfinity_{app.port}={app.token}"}
    connection.request("POST", "/api/cancel", b"{}", cookie)
    assert connection.getresponse().status == 403
    connection.close()
    connection.request("POST", "/api/cancel", b"{}", {**cookie, "X-Requested-With": "a script"})
    assert connection.getresponse().status == 204
    connection.close()


def test_every_answer_forbids_foreign_content_sniffing_storing_and_framing(app: App) -> None:
    for path in ("/api/state", "/static/nothing.js", "/api/nothing"):
        headers = app.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2fetc%2fpasswd",
        "/static/.hidden",
        "/api/photographs/..%2f..%2fsecret/picture",
        "/api/photographs/../../secret.png/picture",
        "/api/run/files/secret.png",
        "/api/run/files/results/../../secret.png",
        "/api/run/files/results/..%2f..%2fsecret.png",
        "/api/run/files//etc/passwd",
        "/api/run/files/config.yaml",
        "/api/run/files/results/link.png",
    ],
)
def test_no_path_leads_out_of_the_folder(app: App, project: Path, path: str) -> None:
    results = project / "photos_project" / "results"
    results.mkdir(exist_ok=True)
    link = results / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(project / "secret.png")
    answer = app.get(path)
    assert answer.status == 404, answer.body[:200]


def test_a_case_that_links_out_of_the_project_is_not_shown(tmp_path: Path) -> None:
    image = tmp_path / "elsewhere" / "image"
    image.mkdir(parents=True)
    (image / "original_image.png").write_bytes(png_of(Image.new("RGB", (8, 8))))
    for folder in ("data", "page"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    (tmp_path / "project" / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    app = App.start("project", cwd=tmp_path)
    try:
        assert app.state()["photographs"] == []
    finally:
        app.close()


def chunk(kind: bytes, content: bytes) -> bytes:
    end = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + end


def test_a_decompression_bomb_is_refused_before_it_is_decoded(app: App) -> None:
    side = 60_000
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    bomb += chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    answer = app.upload(bomb)
    assert answer.status == 422 and "million pixels" in answer.json["error"]
    assert answer.json["error"].startswith("photo.png: ")
    id_ = app.photograph("a.png")["id"]
    answer = app.put(f"{path_of(id_)}/mask", bomb)
    assert answer.status == 422 and "mask" in answer.json["error"]


def test_an_upload_of_a_gigabyte_is_refused_at_once(app: App) -> None:
    """By its length before a byte of it is read, or when it exceeds the limit."""
    head = (
        f"POST /api/photographs HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\n"
        f"Origin: {app.origin}\r\nCookie: editinfinity_{app.port}={app.token}\r\n"
        "Content-Type: multipart/form-data; boundary=edge\r\n"
    )
    with socket.create_connection(("127.0.0.1", app.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {2**30}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(1000)
    with socket.create_connection(("127.0.0.1", app.port), timeout=30) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        start = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        part, sent = bytes(2**20), 0
        try:
            while sent < 2**30:
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                sent += len(part)
        except OSError:
            pass
        assert sent < 300 * 2**20
    assert app.get("/api/state").status == 200


def test_a_request_in_json_is_bounded_and_checked(app: App) -> None:
    path = path_of(app.photograph("a.png")["id"])
    assert app.put(path, b" " * (2**20 + 1)).status == 413
    for body in (b"[]", b"no JSON", b'"text"', b"[" * 100_000):
        assert app.put(path, body).status == 400, body[:10]
    assert app.put(path, {"source": 5, "prompt": "x"}).status == 400
    for settings in ({"seed": -1}, {"seed": "x"}, {"model_dir": "/etc"}, {"cfg": 1e400}, [1]):
        answer = app.put(path, {"source": "", "prompt": "x", "settings": settings})
        assert answer.status == 422, settings
        assert "\n" not in answer.json["error"]


def test_markup_in_names_and_prompts_stays_text(app: App) -> None:
    answer = app.upload(png_of(Image.new("RGB", (20, 10))), HOSTILE.replace('"', "%22"))
    assert answer.status == 201, answer.body
    prompt = '<script>alert(1)</script>\u2028{"a":1}'
    changed = app.put(path_of(answer.json["id"]), {"source": prompt, "prompt": prompt})
    assert changed.json["prompt"] == prompt
    state = app.get("/api/state")
    assert state.headers["content-type"] == "application/json"
    assert any("<img" in p["name"] for p in state.json["photographs"])
    assert app.put(path_of(answer.json["id"]), {"source": "\ud800", "prompt": ""}).status == 422


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..", "a\\..\\b.png", ""])
def test_the_name_of_an_upload_does_not_choose_its_place(
    app: App, project: Path, name: str
) -> None:
    before = {path for path in project.rglob("*") if "photos_project" not in path.parts}
    app.upload(png_of(Image.new("RGB", (20, 10), "blue")), name)
    assert {path for path in project.rglob("*") if "photos_project" not in path.parts} == before


def test_what_is_no_picture_is_refused_in_a_line(app: App, project: Path) -> None:
    for content in (b"", b"GIF89a", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n"):
        answer = app.upload(content, "p.png")
        assert answer.status == 422 and answer.json["error"].startswith("p.png: "), content
    assert not list(project.rglob(".upload-*"))


def test_a_mask_has_the_size_of_its_photograph(app: App) -> None:
    path = f"{path_of(app.photograph('a.png')['id'])}/mask"
    assert app.put(path, box_mask((65, 48), (0, 0, 5, 5))).status == 422
    assert app.put(path, b"no picture").status == 422
    assert app.put(path, box_mask((64, 48), (10, 10, 20, 20))).status == 204
    mask = app.get(path).picture()
    assert mask.getbbox() == (10, 10, 20, 20)
    assert app.put(path, box_mask((64, 48), (0, 0, 0, 0))).status == 204
    assert app.get(path).status == 404


@pytest.mark.slow
def test_slow_clients_are_disconnected(app: App) -> None:
    """One that never ends its headers, and one that never ends its body."""
    start = time.monotonic()
    slow_head = socket.create_connection(("127.0.0.1", app.port), timeout=60)
    slow_head.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    id_ = app.photograph("a.png")["id"]
    slow_body = socket.create_connection(("127.0.0.1", app.port), timeout=60)
    slow_body.sendall(
        f"PUT {path_of(id_)}/mask HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\n"
        f"Origin: {app.origin}\r\nCookie: editinfinity_{app.port}={app.token}\r\n"
        "Content-Length: 1000\r\n\r\nabc".encode()
    )
    assert slow_head.recv(1000) == b""
    assert time.monotonic() - start < 40
    assert b" 408 " in slow_body.recv(1000)
    assert app.get("/api/state").status == 200


def test_the_server_listens_on_this_machine_alone(app: App) -> None:
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == app.port
    ]
    assert listening == [f"0100007F:{app.port:04X}"]
