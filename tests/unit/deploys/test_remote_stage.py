"""Staging: what comes over the network is checked before anything is touched, and a fault leaves nothing.

The server is real and answers on the loopback interface; the release is small, its runsc a stand-in.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import socket
import stat
import tarfile
import threading

import pytest

from deploys.host.remote import prelude, stage
from deploys.model import paths
from deploys.model.versions import TOOLKIT_PACKAGES

# As 20260224: it takes video and no rdma, and checks the flag before it does anything.
RUNSC = b"""#!/bin/sh
case "$*" in
    'nvproxy list-supported-drivers') printf '550.90.12\\n570.124.06\\n' ;;
    flags|--nvproxy-allowed-driver-capabilities=video' 'flags)
        echo '  -nvproxy-allowed-driver-capabilities string' >&2 ;;
    *) exit 128 ;;
esac
"""
SOURCE = paths.APT_SOURCE.rsplit("/", 1)[-1]
NAME = "/20260905/x86_64/gvisor.tar.bz2"


def tarball(*members: tuple[str, bytes | None] | tarfile.TarInfo, runsc: bytes | None = RUNSC) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as tar:
        first = [] if runsc is None else [("runsc", runsc)]
        for member in (*first, *members):
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.mode, info.uid, info.gid = 0o4777, 1000, 1000
            if member[1] is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


class Mirror:
    """What the server answers: a body whole, a status, or bytes as they are."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.raw: bytes | None = None
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if mirror.raw is not None:
                    self.wfile.write(mirror.raw)
                    return
                self.send_response(mirror.status if self.path == NAME else 404)
                self.send_header("Content-Length", str(len(mirror.body)))
                self.end_headers()
                self.wfile.write(mirror.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{NAME}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def mirror():
    made = Mirror()
    yield made
    made.close()


@pytest.fixture
def staging(tmp_path):
    return tmp_path / "state" / "staging"


def task(staging, mirror, **changes):
    gvisor = {
        "release": "20260905",
        "url": mirror.url,
        "sha512": hashlib.sha512(mirror.body).hexdigest(),
        "capabilities": ["video", "rdma"],
    }
    return {"staging": str(staging), "toolkit": None, "gvisor": {**gvisor, **changes}}


def fault(staging, mirror, **changes) -> str:
    error = stage.main(task(staging, mirror, **changes))["error"]
    assert not staging.exists(), "a fault leaves nothing behind"
    assert "Traceback" not in error
    return error


def test_a_release_is_fetched_checked_unpacked_and_asked_what_it_serves(staging, mirror):
    mirror.body = tarball(("gvisor-bin/", None), ("gvisor-bin/sidecar", b"x"), ("./README", b""))
    assert stage.main(task(staging, mirror)) == {
        "release": {
            "drivers": ["550.90.12", "570.124.06"],
            "capabilities": {"video": True, "rdma": False},
            "directory": str(staging / "gvisor"),
        }
    }
    assert (staging / "gvisor" / "gvisor-bin" / "sidecar").read_bytes() == b"x"
    assert not (staging / "gvisor.tar.bz2").exists()


def test_what_is_unpacked_is_roots_and_nobody_elses_to_write(staging, mirror):
    mirror.body = tarball(("gvisor-bin/sidecar", b"x"))
    stage.main(task(staging, mirror))
    for path in (staging / "gvisor").rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
        assert stat.S_IMODE(path.stat().st_mode) & 0o7022 == 0


def test_what_an_earlier_run_has_left_is_cleared_away(staging, mirror):
    (staging / "gvisor").mkdir(parents=True)
    (staging / "gvisor" / "stray").touch()
    mirror.body = tarball()
    assert "release" in stage.main(task(staging, mirror))
    assert not (staging / "gvisor" / "stray").exists()


def test_another_hash_than_the_pinned_one_stops_it_and_both_are_told(staging, mirror):
    mirror.body = tarball()
    error = fault(staging, mirror, sha512="0" * 128)
    assert hashlib.sha512(mirror.body).hexdigest() in error
    assert "0" * 128 in error
    assert mirror.url in error
    assert "set gvisor_sha512 to the published one" in error


def test_a_release_that_the_mirror_does_not_have_is_told_with_its_address(staging, mirror):
    error = fault(staging, mirror, url=mirror.url.replace("20260905", "20991231"), release="20991231")
    assert error.startswith("gVisor 20991231: http://127.0.0.1:")
    assert "the server answered 404 Not Found. Set gvisor_release to a release that is there" in error


def test_a_server_that_fails_is_told(staging, mirror):
    mirror.status = 503
    assert "the server answered 503 Service Unavailable" in fault(staging, mirror)


def test_a_download_that_breaks_off_is_told(staging, mirror):
    mirror.body = tarball()
    wanted = hashlib.sha512(mirror.body).hexdigest()
    mirror.raw = b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n" + mirror.body[:100]
    error = fault(staging, mirror, sha512=wanted)
    assert "has the sha512" in error or "cannot be downloaded" in error


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://elsewhere/x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[broken/x\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["another protocol", "nothing", "half a chunk", "a long header", "to ftp", "to nowhere"],
)
def test_a_server_that_talks_nonsense_is_told(staging, mirror, raw):
    mirror.raw = raw
    error = fault(staging, mirror)
    assert error.startswith(f"gVisor 20260905: {mirror.url}")


def test_a_refused_connection_is_told(staging, mirror):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    error = fault(staging, mirror, url=f"http://127.0.0.1:{port}{NAME}")
    assert "cannot be downloaded: [Errno 111] Connection refused" in error
    assert "gvisor_url to a mirror that this host reaches" in error


def test_a_download_that_never_ends_is_stopped_before_the_disk_is_full(staging, mirror, monkeypatch):
    monkeypatch.setattr(stage, "DOWNLOAD_LIMIT", 1 << 20)
    mirror.body = b"x" * (5 << 20)
    assert "is larger than 1 MiB, which no release is" in fault(staging, mirror)


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped", b"x"),
        ("a/../../escaped", b"x"),
        ("/tmp/escaped", b"x"),
        ("..", b"x"),
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "runsc"),
        special("fifo", tarfile.FIFOTYPE),
        special("device", tarfile.CHRTYPE),
    ],
    ids=["up", "down and up", "absolute", "parent", "symlink", "hard link", "fifo", "device"],
)
def test_a_member_that_is_not_a_plain_file_below_the_archive_is_refused(staging, mirror, member):
    mirror.body = tarball(member)
    before = sorted(staging.parent.parent.rglob("*"))
    name = member.name if isinstance(member, tarfile.TarInfo) else member[0]
    error = fault(staging, mirror)
    assert f"holds {name!r}, which is neither a plain file nor below the archive" in error
    assert sorted(staging.parent.parent.rglob("*")) in (before, [*before, staging.parent])


@pytest.mark.parametrize("body", [b"", b"not a tarball", tarball()[:-20]], ids=["empty", "text", "truncated"])
def test_an_archive_that_cannot_be_unpacked_is_told(staging, mirror, body):
    mirror.body = body
    assert f"{mirror.url} cannot be unpacked: " in fault(staging, mirror)


@pytest.mark.parametrize(
    ("runsc", "sentence"),
    [
        (b"#!/bin/sh\necho 'unknown command nvproxy' >&2\nexit 128\n", "unknown command nvproxy"),
        (b"\x7fELF of another machine", "Exec format error"),
        (None, "No such file or directory"),
        (b"#!/bin/sh\necho WARNING: something\n", "which is no list of versions"),
    ],
    ids=["too old", "another machine", "none in it", "talks"],
)
def test_a_release_whose_runsc_cannot_be_asked_is_refused(staging, mirror, runsc, sentence):
    mirror.body = tarball(("README", b""), runsc=runsc)
    error = fault(staging, mirror)
    assert sentence in error
    assert "et gvisor_release to" in error


def test_a_staging_directory_that_cannot_be_made_is_told(tmp_path, mirror):
    (tmp_path / "state").write_text("a file")
    mirror.body = tarball()
    assert "cannot be filled" in stage.main(task(tmp_path / "state" / "staging", mirror))["error"]


class TestToolkit:
    """The packages, fetched through apt; apt-get is a stand-in."""

    def stage(self, staging, disabled=()):
        toolkit = {
            "url": "https://mirror.example/stable",
            "version": "1.20.0-1",
            "packages": list(TOOLKIT_PACKAGES),
            "source": f"deb [signed-by={paths.APT_KEYRING}] https://mirror.example/stable/deb/$(ARCH) /\n",
            "source_path": paths.APT_SOURCE,
            "key": "the key",
            "key_path": paths.APT_KEYRING,
            "disabled": list(disabled),
        }
        return stage.main({"staging": str(staging), "toolkit": toolkit, "gvisor": None})

    @pytest.fixture(autouse=True)
    def _host(self, tmp_path, monkeypatch, programs):
        parts = tmp_path / "sources.list.d"
        parts.mkdir()
        (parts / "docker.list").write_text("deb https://docker.example /")
        (parts / SOURCE).write_text("deb [signed-by=/old] https://mirror.example /")
        monkeypatch.setattr(stage, "APT_PARTS", str(parts))
        self.programs, self.parts = programs, parts

    def test_it_is_fetched_by_the_key_that_will_be_installed_and_installed_nowhere(self, staging):
        self.programs.add("apt-get", "")
        assert self.stage(staging) == {"release": None}
        apt = staging / "apt"
        parts = {path.name: path.read_text() for path in (apt / "parts").iterdir()}
        assert parts["docker.list"] == "deb https://docker.example /"
        assert parts[SOURCE] == (
            f"deb [signed-by={apt}/key.asc] https://mirror.example/stable/deb/$(ARCH) /\n"
        ), "the host's own entry of that name would be a conflict"
        assert (apt / "key.asc").read_text() == "the key"
        update, download = self.programs.calls
        assert f"Dir::Etc::SourceList={apt}/parts/{SOURCE}" in update
        assert "Dir::Etc::SourceParts=-" in update
        for call in (update, download):
            assert f"Dir::State::Lists={apt}/lists" in call
            assert f"Dir::Cache={apt}" in call
        assert "--download-only" in download
        assert download.endswith(" ".join(f"{name}=1.20.0-1" for name in TOOLKIT_PACKAGES))

    def test_sources_that_will_be_disabled_are_not_read_any_more(self, staging):
        self.programs.add("apt-get", "")
        (self.parts / "nvidia-docker.list").write_text("<!DOCTYPE html>")
        assert self.stage(staging, [str(self.parts / "nvidia-docker.list")]) == {"release": None}
        assert {path.name for path in (staging / "apt" / "parts").iterdir()} == {"docker.list", SOURCE}

    def test_the_user_of_apt_may_read_what_it_checks_by(self, staging):
        before = os.umask(0o022)
        try:
            self.programs.add("apt-get", "")
            self.stage(staging)
        finally:
            os.umask(before)
        for path in (staging, *staging.rglob("*")):
            wanted = 0o005 if path.is_dir() else 0o004
            assert path.stat().st_mode & wanted == wanted, path

    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            ("W: GPG error: NO_PUBKEY DDCAE\nE: not signed.", "GPG error: NO_PUBKEY DDCAE not signed. Set"),
            ("E: Failed to fetch https://x  404", "Failed to fetch https://x  404. Set"),
            ("", "apt-get said nothing. Set"),
        ],
    )
    def test_a_repository_that_cannot_be_used_is_told_in_apts_own_words(self, staging, said, sentence):
        self.programs.add("apt-get", f"cat >&2 <<'EOT'\n{said}\nEOT\nexit 100")
        error = self.stage(staging)["error"]
        assert error.startswith("the repository https://mirror.example/stable cannot be used: ")
        assert sentence in error
        assert not staging.exists()

    def test_a_version_that_the_repository_does_not_have_is_told(self, staging):
        said = "E: Version '1.20.0-1' for 'libnvidia-container1' was not found"
        self.programs.add("apt-get", f'case $* in *install*) echo "{said}" >&2; exit 100 ;; esac')
        error = self.stage(staging)["error"]
        assert f"{said[3:]}. Set toolkit_version to one" in error
        assert not staging.exists()


def test_the_programs_of_a_host_are_not_called_from_a_place_of_the_archives(staging, mirror):
    mirror.body = tarball(("apt-get", b"#!/bin/sh\n"))
    stage.main(task(staging, mirror))
    assert str(staging) not in prelude.environment()["PATH"]
