"""Choose the devices that the later stages train on."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence

from edgetl._lib.extras import tensorflow
from edgetl_device.errors import OptionError
from edgetl_device.machine.cores import cpu_name

AUTO = "auto"
_NAME = re.compile(r"(?:/?device:|/)?((?:CPU|GPU):\d+)", re.IGNORECASE)


def check_devices(requested: str) -> None:
    """Refuse requests that are invalid on any machine.

    Args:
        requested: ``auto``, a number, or TensorFlow's device names, separated by commas.

    Raises:
        OptionError: The request is none of these, or names a device twice or devices of two kinds.
    """
    if requested == AUTO or (requested.isdecimal() and int(requested) > 0):
        return
    names = _names(requested)
    if not names:
        raise OptionError(
            "{devices=}: must be auto, a number from 1 on, or names such as GPU:0,GPU:1", devices=requested
        )
    if len(set(names)) < len(names):
        raise OptionError("{devices=}: names a device twice", devices=requested)
    if len({name[:3] for name in names}) > 1:
        raise OptionError(
            "{devices=}: a step would wait for the CPU", hint="Name devices of one kind.", devices=requested
        )


def training_devices(requested: str, *, step_photos: int) -> tuple[str, ...]:
    """Return the devices of this machine that share each step: :func:`choose_devices` on TensorFlow's devices."""
    return choose_devices(requested, gpus=_present("GPU"), cpus=_present("CPU"), step_photos=step_photos)


def choose_devices(
    requested: str, *, gpus: tuple[str, ...], cpus: tuple[str, ...], step_photos: int
) -> tuple[str, ...]:
    """Return the devices that share each step, by TensorFlow's names (``GPU:0``); the first one sums the gradients.

    Args:
        requested: A request that :func:`check_devices` accepted: ``auto`` takes every GPU, a number the first N;
            without a GPU there is one device, the CPU. Names are used as given.
        gpus: The available GPUs.
        cpus: The available CPUs: one, unless TensorFlow was configured with several logical ones.
        step_photos: Photos per step. Every device needs at least one, so ``auto`` takes at most this many devices.

    Raises:
        OptionError: A device does not exist, or there are more devices than photos per step.
    """
    usual = gpus or cpus[:1]
    if requested == AUTO:
        return usual[:step_photos]
    wanted = int(requested) if requested.isdecimal() else 0
    names = usual[:wanted] if wanted else _names(requested)
    if len(names) < wanted or not {*gpus, *cpus}.issuperset(names):
        raise OptionError(
            "{devices=}: not all of them exist",
            why=f"TensorFlow sees {', '.join((*gpus, *cpus))}",
            hint="Leave {devices} out to use every GPU.",
            devices=requested,
        )
    if len(names) > step_photos:
        raise OptionError(
            f"{{devices=}}: {len(names)} devices share {step_photos} photos per step",
            why="every device needs at least one",
            hint="Use fewer devices, or a larger {batch_size}.",
            devices=requested,
        )
    return names


def hardware_of(devices: Sequence[str]) -> tuple[str, ...]:
    """Return devices with their model, ``GPU:0 (NVIDIA H100)``: other hardware sums in another order."""
    config = tensorflow().config
    gpus = {
        device.name.rpartition("physical_device:")[2]: config.experimental.get_device_details(device)
        for device in config.list_physical_devices("GPU")
    }
    try:
        cpu = cpu_name()
    except LookupError:
        cpu = platform.machine()
    return tuple(f"{device} ({gpus.get(device, {}).get('device_name', cpu)})" for device in devices)


def is_usual(devices: tuple[str, ...]) -> bool:
    """Whether this is the single device that TensorFlow uses by default."""
    return devices == (_present("GPU") or _present("CPU"))[:1]


def _names(text: str) -> tuple[str, ...]:
    """Return the names in capitals, without prefixes; empty if one is malformed."""
    found = [_NAME.fullmatch(name.strip()) for name in text.split(",")]
    return tuple(name[1].upper() for name in found if name) if all(found) else ()


def _present(kind: str) -> tuple[str, ...]:
    return tuple(device.name.removeprefix("/device:") for device in tensorflow().config.list_logical_devices(kind))
