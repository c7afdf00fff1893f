"""Downloads of the public data sets: only when asked for, checked, and whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from equipoise.errors import EquipoiseError

_TIMEOUT = 30.0  # seconds without an answer
_CHUNK = 1 << 20


def wanted() -> bool:
    """Whether the environment allows downloads: ``EQUIPOISE_DOWNLOAD=1``."""
    return os.environ.get("EQUIPOISE_DOWNLOAD", "") not in ("", "0")


def cache() -> Path:
    """The folder of downloads where no data directory is given: ``$XDG_CACHE_HOME/equipoise`` or ``~/.cache``'s."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "equipoise"


def fetch(urls: Sequence[str], md5: str, destination: Path) -> Path:
    """``destination``, downloaded from the first of ``urls`` whose content has this MD5; kept as it is if it is there.

    The file appears only once it is complete and checked. Raises EquipoiseError where no source answers with the right
    content, or the folder cannot be written.
    """
    if destination.is_file():
        return destination
    part = destination.with_name(f"{destination.name}.{os.getpid()}.part")
    failures = []
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                got = _download(url, part)
            except (OSError, http.client.HTTPException, ValueError) as e:
                if isinstance(e, OSError) and e.filename == str(part):  # the disk, not the network
                    raise
                failures.append(f"{url}: {getattr(e, 'reason', None) or e or type(e).__name__}")
                continue
            if got == md5:
                os.replace(part, destination)
                return destination
            failures.append(f"{url}: md5 {got}, expected {md5}")
    except OSError as e:
        raise EquipoiseError(f"cannot write {destination}: {e.strerror}; choose another data directory") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    tried = " ".join("; ".join(failures).split())
    raise EquipoiseError(f"cannot download {destination.name} ({tried}); put the file into {destination.parent}")


def _download(url: str, part: Path) -> str:
    """Writes the content of ``url``; returns its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as source, part.open("wb") as out:
        while block := source.read(_CHUNK):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
