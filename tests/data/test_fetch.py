"""Downloads from a server of our own: whole and checked or not there at all, and never without being asked for."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from equipoise.data import Data, fetch, named
from equipoise.errors import EquipoiseError

CONTENT = bytes(range(256)) * 5000
MD5 = hashlib.md5(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9/none"  # the discard port: nobody listens


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path):
    """(folder, address) of what is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EQUIPOISE_DATA", "")
    monkeypatch.delenv("EQUIPOISE_DOWNLOAD", raising=False)
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)


def failure(urls: list[str], destination: Path) -> str:
    with pytest.raises(EquipoiseError) as caught:
        fetch.fetch(urls, MD5, destination)
    assert "\n" not in str(caught.value)
    assert not destination.exists() and (not destination.parent.exists() or not list(destination.parent.iterdir()))
    return str(caught.value)


def test_a_file_comes_from_the_first_source_that_has_it(server, tmp_path):
    folder, address = server
    (folder / "file").write_bytes(CONTENT)
    (folder / "wrong").write_bytes(CONTENT[1:])
    destination = tmp_path / "new" / "deep" / "file"
    urls = [NOWHERE, f"{address}/missing", f"{address}/wrong", f"{address}/file"]
    assert fetch.fetch(urls, MD5, destination) == destination
    assert destination.read_bytes() == CONTENT and [p.name for p in destination.parent.iterdir()] == ["file"]
    (folder / "file").unlink()
    assert fetch.fetch(urls, MD5, destination).read_bytes() == CONTENT  # cached: no source is asked


def test_failures_leave_nothing_and_say_why(server, tmp_path):
    folder, address = server
    destination = tmp_path / "new" / "file"
    (folder / "wrong").write_bytes(CONTENT[1:])
    wrong = hashlib.md5(CONTENT[1:]).hexdigest()
    assert f"md5 {wrong}, expected {MD5}" in failure([f"{address}/wrong"], destination)
    assert "File not found" in failure([f"{address}/missing"], destination)
    offline = failure([NOWHERE, "gopher://x/y"], destination)
    assert "cannot download file" in offline and "refused" in offline and str(destination.parent) in offline


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(EquipoiseError, match=r"cannot write .*choose another data directory"):
        fetch.fetch([NOWHERE], MD5, tmp_path / "blocked" / "file")


def test_nothing_is_downloaded_unless_asked_for(monkeypatch):
    monkeypatch.setattr(named, "fetch", lambda *_: pytest.fail("downloaded without being asked"))
    for name in ("mnist", "fashion-mnist", "cifar10"):
        for value in (None, "", "0"):
            if value is not None:
                monkeypatch.setenv("EQUIPOISE_DOWNLOAD", value)
            with pytest.raises(EquipoiseError, match="EQUIPOISE_DOWNLOAD=1 downloads them"):
                Data.load(name)


def cifar_archive(path: Path) -> str:
    """An archive in CIFAR-10's form, with a member that would like to land elsewhere; returns its MD5."""
    records = np.zeros((10, 3073), np.uint8)
    records[:, 0] = np.arange(10)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    with tarfile.open(path, "w:gz") as tar:
        for name in [*(f"cifar-10-batches-bin/{n}" for n in names), "../escaped.bin"]:
            info = tarfile.TarInfo(name)
            info.size = records.nbytes
            tar.addfile(info, io.BytesIO(records.tobytes()))
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar10_is_downloaded_and_unpacked_when_asked_for(server, tmp_path, monkeypatch):
    folder, address = server
    monkeypatch.setenv("EQUIPOISE_DOWNLOAD", "1")
    monkeypatch.setattr(named, "_CIFAR10_FROM", (f"{address}/cifar.tar.gz",))
    monkeypatch.setattr(named, "_CIFAR10_MD5", cifar_archive(folder / "cifar.tar.gz"))
    data = Data.load("cifar10", data_dir=tmp_path / "data")
    assert data.n == 60 and len(data.rows["test"]) == 10
    written = sorted(str(p.relative_to(tmp_path / "data")) for p in (tmp_path / "data").rglob("*") if p.is_file())
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    assert written == [f"cifar-10-batches-bin{os.sep}{n}" for n in names]
    assert not list(tmp_path.rglob("escaped.bin"))


def test_an_archive_without_the_batches_is_told(server, tmp_path, monkeypatch):
    folder, address = server
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar-10-batches-bin/readme.html"))
    monkeypatch.setenv("EQUIPOISE_DOWNLOAD", "1")
    monkeypatch.setattr(named, "_CIFAR10_FROM", (f"{address}/cifar.tar.gz",))
    monkeypatch.setattr(named, "_CIFAR10_MD5", hashlib.md5((folder / "cifar.tar.gz").read_bytes()).hexdigest())
    with pytest.raises(EquipoiseError, match="does not hold cifar-10-batches-bin"):
        Data.load("cifar10", data_dir=tmp_path / "data")


def test_mnist_lands_in_the_cache_where_no_folder_is_given(tmp_path, monkeypatch):
    asked = []

    def note(urls, md5, destination):
        asked.append((urls, md5, destination))
        raise EquipoiseError("offline")

    monkeypatch.setattr(named, "fetch", note)
    monkeypatch.setenv("EQUIPOISE_DOWNLOAD", "1")
    with pytest.raises(EquipoiseError, match="offline"):
        Data.load("mnist")
    urls, md5, destination = asked[0]
    assert destination == tmp_path / "cache" / "equipoise" / "mnist" / "train-images-idx3-ubyte.gz"
    assert all(u.endswith("/train-images-idx3-ubyte.gz") for u in urls) and md5 == "f68b3c2dcbeaaa9fbdd348bbdeb94873"
