"""Write ``model.keras`` reproducibly, and read it, also with another Keras than the one that wrote it."""

from __future__ import annotations

import inspect
import json
import zipfile
from pathlib import Path
from typing import Any

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl_device.errors import Unavailable

_CONFIG, _METADATA, _SHARED = "config.json", "metadata.json", "shared_object_id"
# Settings that have an effect only if another one, of the same object, is set.
_DEPENDENT = {"renorm_momentum": "renorm", "renorm_clipping": "renorm"}


@uninterrupted()
def write_model(model: Any, path: Path) -> None:
    """Write a keras.Model as a ``.keras`` file; equal models of one version of Keras give equal bytes.

    Keras itself writes the time, and addresses in memory as the ids of objects that layers share.
    """
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(contents[_METADATA])
    contents[_METADATA] = json.dumps({key: metadata[key] for key in metadata if key != "date_saved"}).encode()
    contents[_CONFIG] = json.dumps(_with_small_ids(json.loads(contents[_CONFIG]), {})).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in contents.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980


def _with_small_ids(value: Any, ids: dict[int, int]) -> Any:
    """Return a part of a configuration whose shared objects are numbered in the order of their appearance."""
    if isinstance(value, dict):
        return {
            key: ids.setdefault(one, len(ids) + 1) if key == _SHARED and one is not None else _with_small_ids(one, ids)
            for key, one in value.items()
        }
    return [_with_small_ids(one, ids) for one in value] if isinstance(value, list) else value


@uninterrupted()
def read_model(path: Path, *, made_with: str) -> Any:
    """Return the keras.Model of a file that edgetl wrote.

    Keras reads files of earlier versions. A file of a later one may have settings that the installed Keras does not
    know; where they are all unset, the network is the same without them, and is rebuilt with the weights of the file.

    Args:
        path: The file.
        made_with: The version of Keras that wrote it; empty if unknown.

    Raises:
        Unavailable: The installed Keras is of another version and cannot build the network.
    """
    library = keras()
    try:
        return library.saving.load_model(path, compile=False)
    except Exception as error:
        if made_with == library.__version__ or isinstance(error, MemoryError):
            raise
        try:
            return _rebuilt(path)
        except Exception as reason:
            raise Unavailable(
                f"{path}: was made with Keras {made_with or 'of an unknown version'}, which is not installed here",
                why=f"Keras {library.__version__} is, and cannot build the network ({_first_line(reason)})",
                hint=f"pip install keras=={made_with}" if made_with else "Install the Keras that trained the run.",
            ) from error


def _rebuilt(path: Path) -> Any:
    """Return the network of a file without the settings that are unset in it and unknown here."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(_CONFIG))
    model = keras().saving.deserialize_keras_object(_known(config), safe_mode=True)
    model.load_weights(path)
    return model


def _known(value: Any) -> Any:
    """Return a part of a configuration in which every object has only what its class takes.

    Raises:
        ValueError: Something else is set.
    """
    if isinstance(value, list):
        return [_known(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _known(one) for key, one in value.items()}
    kind = _class_of(value)
    if kind is not None and isinstance(value.get("config"), dict):
        settings = value["config"]
        for key in sorted(settings.keys() - _parameters(kind)):
            deciding = settings.get(_DEPENDENT.get(key, key))
            if deciding is not None and deciding is not False:
                raise ValueError(f"{value['class_name']} has {key}={settings[key]!r}")
            del found["config"][key]
    return found


def _class_of(value: dict[str, Any]) -> Any:
    """Return the class of Keras that an object in a configuration is of; None for any other part."""
    spaces = ("layers", "initializers", "regularizers", "constraints")
    module, name = value.get("module"), value.get("class_name")
    space = module.removeprefix("keras.") if isinstance(module, str) else ""
    return getattr(getattr(keras(), space), str(name), None) if space in spaces else None


def _parameters(kind: Any) -> set[str]:
    """Return the names that a class and those it is derived from take."""
    found: set[str] = set()
    for one in kind.__mro__:
        if "__init__" in vars(one):
            found |= set(inspect.signature(one.__init__).parameters)
    # Of every layer; Layer takes them among **kwargs.
    return found | {"batch_shape", "batch_input_shape", "input_shape"}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
