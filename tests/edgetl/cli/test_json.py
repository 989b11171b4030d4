"""``--json`` and ``--out`` mean the same in every command, and ``--data`` means photos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import benched
import fleet_records
import latencies
import pytest
import searched
import small
import typer
from drawing import draw_photo
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from edgetl import documents
from edgetl.cli import app
from edgetl_device.__main__ import _parser, main
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

TEACHABLE = Path(__file__).parents[2] / "golden" / "teachable.edgetl"
PHOTO = Path(__file__).parents[2] / "golden" / "pixels" / "rgb.png"
QUICK = ("--variants", "int8", "--quick", "--duration", "0.05")
# What they make is theirs to write: a run, a bundle's files, a report in the run or bundle.
WITHOUT_OUT = {"quantize", "compile", "sign", "data split"}


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the words and the command of each command of ``edgetl``."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def option(command: Any, flag: str) -> Any:
    return next((one for one in command.params if flag in one.opts), None)


WITH_JSON = [name for name, command in commands() if option(command, "--json")]


def test_json_is_a_flag_and_out_takes_a_path() -> None:
    assert len(WITH_JSON) >= 17
    for name, command in commands():
        asked, out = option(command, "--json"), option(command, "--out")
        assert asked is None or asked.is_flag, name
        assert out is None or not out.is_flag, name
        if asked is not None:
            assert (out is None) == (name in WITHOUT_OUT), name


def test_data_means_photos_everywhere() -> None:
    found = {name: one for name, command in commands() if (one := option(command, "--data"))}
    assert set(found) >= {"bench", "export", "import", "quantize", "report"}
    for name, one in found.items():
        assert one.metavar == "PHOTOS", name
        assert "photos" in one.help.lower(), name


@pytest.fixture
def arguments(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], tuple[object, ...]]:
    """Return a function that returns arguments for a command that has ``--json``, for a quick success."""

    def made(fixture: str) -> Any:
        return request.getfixturevalue(fixture)

    def signed() -> tuple[object, ...]:
        assert CliRunner().invoke(app, ["keygen", str(tmp_path / "site")]).exit_code == 0
        return shutil.copy(benched.TINY, tmp_path / "signed.edgetl"), "--key", tmp_path / "site.key"

    def labelled() -> Path:
        bundle = Bundle.open(benched.TINY)
        for photo in bundle.photos():
            file = tmp_path / "labelled" / bundle.labels[photo.index] / Path(photo.file).name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bundle.read(photo.file))
        return tmp_path / "labelled"

    def more() -> Path:
        (tmp_path / "more").mkdir()
        for seed in range(3):
            draw_photo(seed).save(tmp_path / "more" / f"{seed}.png")
        return tmp_path / "more"

    def stored() -> tuple[Path, str]:
        result, store = benched.save(tmp_path / "result.json"), tmp_path / "results.db"
        assert CliRunner().invoke(app, ["results", "add", str(result), "--store", str(store)]).exit_code == 0
        return store, json.loads(result.read_text())["digest"]

    def predicted() -> tuple[Path, Path]:
        (tmp_path / "int8.tflite").write_bytes(Bundle.open(benched.TINY).read("models/int8.tflite"))
        return latencies.write_model(tmp_path / "latency.json"), tmp_path / "int8.tflite"

    def copied() -> Path:
        return shutil.copytree(made("tiny_run").folder, tmp_path / "run")

    everything: dict[str, Callable[[], tuple[object, ...]]] = {
        "data check": lambda: (made("tiny_photos"),),
        "data split": lambda: (made("tiny_photos"), tmp_path / "split"),
        "models": lambda: ("mobilenet_v2",),
        "advise": lambda: (made("tiny_photos"), "--size", small.SIZE),
        "search": lambda: (
            made("tiny_photos"),
            *("--out", made("tiny_search"), "--budget", ",".join(searched.BUDGET), "--trials", 2, *searched.FLAGS),
        ),
        "train": lambda: (made("tiny_photos"), *small.FLAGS, "--epochs", 0, "--out", tmp_path / "trained"),
        "import": lambda: (
            made("tiny_run").folder / "model.keras", "--data", made("tiny_photos"), "--out", tmp_path / "imported",
        ),
        "evaluate": lambda: (benched.TINY, labelled(), "--split", "all"),
        "quantize": lambda: (copied(), "--no-int8"),
        "compile": lambda: (benched.TINY, "--edgetpu"),
        "sign": signed,
        "adapt": lambda: (TEACHABLE, more(), "--more-shots", "circle", "--max-drop", 100, "--out", tmp_path / "new"),
        "bench": lambda: (benched.TINY, *QUICK),
        "latency predict": lambda: predicted(),
        "deploy": lambda: ("--status", "--on", "nobody@127.0.0.1"),
        "field pull": lambda: ("--on", "nobody@127.0.0.1", "--out", tmp_path / "field"),
        "field report": lambda: (fleet_records.write_fleet(tmp_path / "fleet", 1),),
        "compare": lambda: (benched.save(tmp_path / "result.json"),),
        "results list": lambda: ("--store", stored()[0]),
        "results compare": lambda: (stored()[1], "--store", stored()[0]),
        "classify": lambda: (benched.TINY, PHOTO),
        "verify": lambda: (benched.TINY,),
        "inspect": lambda: (benched.TINY,),
        "doctor": lambda: (),
    }  # fmt: skip
    return lambda name: everything[name]()


def refused(*words: object) -> str:
    """Return the error of a command that is refused."""
    done = CliRunner().invoke(app, list(map(str, words)))
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


def versions_of(schema: dict[str, Any]) -> list[str]:
    """Return the schemas that a document of this JSON Schema may name: the oldest that its content fits is written."""
    stated = schema["properties"]["schema"]
    return stated["enum"] if "enum" in stated else [stated["const"]]


def schema_of(text: str) -> dict[str, Any]:
    """Return the JSON Schema for a document, by the name in it."""
    found: dict[str, Any] = json.loads(text)
    (schema,) = (one for name in documents.NAMES if found["schema"] in versions_of(one := documents.schema(name)))
    return schema


@pytest.mark.no_cover
@pytest.mark.parametrize("name", WITH_JSON)
def test_each_command_prints_one_document_that_fits_its_schema(
    name: str, arguments: Callable[[str], tuple[object, ...]], tmp_path: Path
) -> None:
    given = [*name.split(), *map(str, arguments(name)), "--json"]
    done = CliRunner().invoke(app, given)
    # A board that is not there, and a machine without Coral's compiler, are told of in the document too.
    assert done.exit_code == 0 or name in ("deploy", "compile", "field pull"), done.output
    schema = schema_of(done.stdout)
    assert list(Draft202012Validator(schema).iter_errors(json.loads(done.stdout))) == []
    if name in WITHOUT_OUT or "--out" in given or name == "field report":
        return
    # And the file has the same, while stdout has the text.
    file = tmp_path / "out.json"
    done = CliRunner().invoke(app, [*given[:-1], "--out", str(file)])
    assert schema_of(file.read_text()) == schema
    assert not done.stdout.startswith("{")
    assert f"written: {file}" in done.stderr


@pytest.mark.parametrize("command", ["classify", "verify", "bench", "doctor"])
def test_the_device_takes_the_same_flags(command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given: dict[str, tuple[object, ...]] = {"classify": (benched.TINY, PHOTO), "bench": (benched.TINY, *QUICK)}
    words = [command, *map(str, given.get(command, (benched.TINY,) if command == "verify" else ()))]
    file = tmp_path / "out.json"
    for as_text, more in ((True, ["--json"]), (False, []), (False, ["--json", "-o", str(file)])):
        assert main([*words, *more], as_text=as_text) == 0
        assert schema_of(capsys.readouterr().out)["title"].startswith("edgetl.")
    assert json.loads(file.read_text())["schema"]
    assert main([*words, "--out", "/proc/x.json"]) in (2, 4)
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("bench", benched.TINY, "--json", "result.json"), "--out result.json"),
        (("bench", "--json", "out/result.json", benched.TINY), "--out out/result.json"),
        (("bench", benched.TINY, "--json=here"), "--out here"),
        (("bench", benched.TINY, "--json", "-"), "--json alone"),
        (("deploy", "--status", "--on", "pi", "--json", "deployment.json"), "--out deployment.json"),
    ],
)
def test_the_earlier_spelling_names_the_new_one(
    words: tuple[object, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hint in refused(*words)
    if words[0] == "bench":
        assert main(list(map(str, words))) == 2
        assert hint in capsys.readouterr().err


def test_nothing_is_written_where_nothing_can_be(tiny_photos: Path, tmp_path: Path) -> None:
    assert "inside" in refused("data", "check", tiny_photos, "--out", tiny_photos / "bolt" / "out.json")
    live = ("--watch", tmp_path, "--existing", "--frames", 1)
    assert "no end" in refused("classify", benched.TINY, *live, "--out", tmp_path / "x.json")
    page = ("--status", "--on", "pi", "--out", tmp_path / "page.txt")
    assert "must end in .json or .html" in refused("deploy", *page)


def test_the_parser_of_the_device_gives_every_command_both_flags() -> None:
    for as_text in (True, False):
        parser = _parser(as_text=as_text)
        found: dict[str, Any] = next(one.choices for one in parser._actions if hasattr(one, "_name_parser_map"))
        assert len(found) == 7
        for name, command in found.items():
            flags = {flag for one in command._actions for flag in one.option_strings}
            assert {"--json", "--out"} <= flags, name
