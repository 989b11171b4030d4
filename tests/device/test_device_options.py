"""Options on the device: checks, flags, and errors worded for Python or the command line."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from edgetl_device.__main__ import main
from edgetl_device.bench.options import BenchOptions
from edgetl_device.errors import GateFailed, InputError, OptionError
from edgetl_device.options import (
    Options,
    add_arguments,
    arguments,
    command_text,
    from_arguments,
    markdown_table,
    option,
    options_of,
)


def test_every_field_is_an_option_with_bounds() -> None:
    found = {one.name: one for one in options_of(BenchOptions)}
    assert list(found) == [field.name for field in fields(BenchOptions)]
    assert found["threads"].bounds == "1 to 256"
    assert found["duration"].bounds == "over 0 and at most 3600"
    assert found["scenario"].bounds == "one of single-stream, offline"

    @dataclass(frozen=True)
    class Careless(Options):
        size: int = 3

    with pytest.raises(TypeError, match="size is not made with option"):
        Careless()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threads": [0]}, "threads=[0]: must be 1 to 256"),
        ({"threads": []}, "threads=[]: at least one is needed"),
        ({"threads": "1,two"}, "threads='1,two': must be whole numbers with commas"),
        ({"threads": [True]}, "threads=[True]: must be a whole number"),
        ({"variants": [8]}, "variants=[8]: must be text"),
        ({"data": ""}, "data='': must be text that is not empty"),
        ({"data": "a\0b"}, "text without NUL"),
        ({"quick": 1}, "quick=1: must be true or false"),
        ({"quick": None}, "quick=None: must be true or false"),
        ({"duration": float("inf")}, "duration=inf: must be over 0 and at most 3600"),
        ({"duration": 10**400}, "must be over 0 and at most 3600"),
        ({"thread": 1}, "there is no option 'thread'\nDid you mean threads?"),
        ({"zzz": 1}, "There are variants, threads"),
        ({"sustained": 1, "quick": True}, "sustained with duration or quick"),
        ({"batch": 2, "scenario": "offline"}, "batch=[2] with scenario='offline'"),
        ({"delegates": "none,gpu"}, "delegate 'gpu'"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_options_are_made(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        BenchOptions.of(**wrong)
    assert said in str(caught.value)


def test_flags_are_read_back_as_the_same_options() -> None:
    asked = BenchOptions.of(
        threads=[1, 2], delegates=["xnnpack", "/a/b.so:x=1,y=2"], duration=0.5, energy=True, data="-d"
    )
    parser = argparse.ArgumentParser()
    add_arguments(parser, BenchOptions)
    assert from_arguments(BenchOptions, parser.parse_args(arguments(asked))) == asked
    assert from_arguments(BenchOptions, parser.parse_args([])) == BenchOptions()
    assert asked.to_json()["threads"] == [1, 2]
    assert BenchOptions.of(delegates=["none, xnnpack", "/a/b.so:x=1,y=2"]).delegates == (
        "none",
        "xnnpack",
        "/a/b.so:x=1,y=2",
    )
    assert set(asked.changed()) == {"threads", "delegates", "duration", "energy", "data"}


def test_an_error_has_keywords_for_callers_and_flags_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    error = OptionError(
        "{batch_size=} with {ema=} and {lr}", why="{size=}, {x=}", hint="{", batch_size=3, ema=True, size="a b"
    )
    assert str(error) == "batch_size=3 with ema=True and lr\nsize='a b', x\n{"
    assert error.for_command_line() == "--batch-size 3 with --ema and --lr\n--size a b, --x\n{"
    off = OptionError("{ema=} {lr=} {threads=} {data=}", ema=False, lr=None, threads=(1, 2), data="\x1b[31m{ema=}")
    assert off.for_command_line() == r"--no-ema no --lr --threads 1,2 --data '\x1b[31m{ema=}'"
    # Braces in an error without options are user input, not placeholders.
    for plain in (InputError("{lr=} of {name}"), GateFailed("{lr=} of {name}")):
        assert str(plain) == plain.for_command_line() == "{lr=} of {name}"
    assert main(["bench", "none.edgetl", "--threads", "0"]) == 2
    assert "error: --threads 0: must be 1 to 256\n" in capsys.readouterr().err


@dataclass(frozen=True)
class Oven(Options):
    """One option of each shape."""

    fan: bool = option(True, help="Move the air.", aliases=("-f",))
    degrees: float = option(180.0, help="How hot.", low=30, group="Heat")
    weight: float = option(0.5, help="Of the dough, a|b.", above=0)
    racks: tuple[int, ...] = option((1, 2), help="Which.", high=4)
    mode: str | None = option(None, help="What heats.", choices=("top", "bottom"), unset="both")
    names: tuple[str, ...] = option((), help="Of whom.", metavar="NAME")


def test_options_as_a_table() -> None:
    assert markdown_table(Oven) == "\n".join(
        [
            "### Basics",
            "",
            "| option | value | default | what it does |",
            "|---|---|---|---|",
            "| `--no-fan`, `-f` |  | on | Move the air. |",
            r"| `--weight` | over 0 | 0.5 | Of the dough, a\|b. |",
            "| `--racks` | at most 4, several with commas | 1,2 | Which. |",
            "| `--mode` | one of top, bottom | both | What heats. |",
            "| `--names` | NAME |  | Of whom. |",
            "",
            "### Heat",
            "",
            "| option | value | default | what it does |",
            "|---|---|---|---|",
            "| `--degrees` | 30 or more | 180 | How hot. |",
            "",
        ]
    )


def test_flags_of_every_shape_are_read_back() -> None:
    for asked in (Oven(), Oven(fan=False, degrees=31.5, weight=1e-3, racks=(4,), mode="top", names=("-x", "y"))):
        parser = argparse.ArgumentParser()
        add_arguments(parser, Oven)
        assert from_arguments(Oven, parser.parse_args(arguments(asked))) == asked
    assert arguments(Oven(fan=False, racks=(4, 3))) == ["--no-fan", "--racks=4", "--racks=3"]


def test_a_command_to_copy_has_what_was_changed_and_no_folder(tmp_path: Path) -> None:
    options = BenchOptions(variants=("int8", "float32"), threads=(1, 2), quick=True, data=str(tmp_path / "my photos"))
    text = command_text(["edgetl", "bench", str(tmp_path / "parts.edgetl")], options)
    assert text == "edgetl bench parts.edgetl --variants int8,float32 --threads 1,2 --data 'my photos' --quick"
    parser = argparse.ArgumentParser()
    add_arguments(parser, BenchOptions)
    read = from_arguments(BenchOptions, parser.parse_args(shlex.split(text)[3:]))
    assert read == replace(options, data="my photos")
    options = BenchOptions(delegates=("none", "/home/a name/lib/libfoo.so:config=/home/a name/x.cfg,log=1,model=y/z"))
    text = command_text(["edgetl", "bench", "parts"], options)
    assert text == "edgetl bench parts --delegates=none --delegates=libfoo.so:config=x.cfg,log=1,model=z"
    assert command_text(["edgetl", "bench", "."], BenchOptions()) == f"edgetl bench {Path.cwd().name}"
