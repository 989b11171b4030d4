"""Commands that are killed at random moments: what they make is whole or absent, and the next start succeeds."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import benched
import pytest
import small
from killing import Command, kill_often
from sshd import Lab

from edgetl.export.signature import generate
from edgetl.runs.directory import Run
from edgetl.runs.quantize_report import QuantizeReport
from edgetl.synthetic import draw_dataset
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_file
from edgetl_device.bench import result
from edgetl_device.bundle import Bundle
from edgetl_device.verify import verify

TINY = Path(__file__).resolve().parents[1] / "golden" / "tiny.edgetl"
KILLS = int(os.environ.get("EDGETL_KILLS", "50"))
# A run of seconds: thirteen epochs of the last blocks of six.
TRAIN = ("--size", 32, "--views", 1, "--epochs", 12, "--patience", 12, "--batch-size", 4, "--truncate", 6,
         "--trainable-blocks", 2)  # fmt: skip

pytestmark = pytest.mark.no_cover

Made = Callable[[Path], Command]


def folder(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


def verified(path: Path) -> None:
    report = verify(Bundle.open(path))
    assert report.ok, report


# What takes a second


def split(tmp_path: Path) -> Command:
    photos, place = tmp_path / "photos", folder(tmp_path)
    draw_dataset(photos, per_class=6, classes=small.LABELS, size=64)
    out = place / "out"
    hashes = sorted(sha256_file(path) for path in photos.rglob("*.jpg"))

    def check() -> None:
        assert sorted(sha256_file(path) for path in out.rglob("*.jpg")) == hashes
        assert {path.parent.name for path in out.rglob("*.jpg")} == set(small.LABELS)

    words = ("data", "split", photos, out)
    return Command(words, place, (out,), check, replaces=False, env={"EDGETL_CACHE": str(place / "cache")})


def pack(tmp_path: Path) -> Command:
    place = folder(tmp_path)
    with zipfile.ZipFile(TINY) as archive:
        archive.extractall(tmp_path / "tiny")
    out = place / "tiny.edgetl"

    def check() -> None:
        opened = Bundle.open(out)
        assert opened.digest == Bundle.open(TINY).digest
        for file in opened.files:
            opened.read(file)

    return Command(("pack", tmp_path / "tiny", "--out", out), place, (out,), check)


def report(tmp_path: Path) -> Command:
    place, results = folder(tmp_path), benched.pair(tmp_path)
    out = place / "report.html"

    def check() -> None:
        assert out.read_text("utf-8").rstrip().endswith("</html>")

    return Command(("report", *results, "--out", out), place, (out,), check)


def sign(tmp_path: Path) -> Command:
    place, key = folder(tmp_path), generate(tmp_path / "key")
    file = place / "tiny.edgetl"
    shutil.copy(TINY, file)

    def check() -> None:
        opened = Bundle.open(file)
        for one in opened.files:
            opened.read(one)
        if opened.signatures():
            opened.check_signed([key.key])

    return Command(("sign", file, "--key", key.private), place, (file,), check)


def keygen(tmp_path: Path) -> Command:
    place = folder(tmp_path)
    private, public = place / "k.key", place / "k.pub"

    def check() -> None:
        assert private.stat().st_mode & 0o077 == 0
        assert private.read_bytes().rstrip().endswith(b"END PRIVATE KEY-----")
        assert public.read_text().startswith("edgetl-ed25519 ")

    return Command(("keygen", place / "k"), place, (private, public), check, replaces=False)


CHEAP = {"data split": split, "pack": pack, "report": report, "sign": sign, "keygen": keygen}


@pytest.mark.parametrize("name", CHEAP)
def test_commands_of_a_second_are_killed_a_few_times(name: str, tmp_path: Path) -> None:
    found = kill_often(CHEAP[name](tmp_path), kills=2, finish_every=2)
    assert found["kills"] == 2


@pytest.mark.faults
@pytest.mark.parametrize("name", CHEAP)
def test_commands_of_a_second_are_killed_50_times(name: str, tmp_path: Path) -> None:
    found = kill_often(CHEAP[name](tmp_path), kills=KILLS)
    print(f"{name}: {found}")
    assert found["absent"] + found["old or new"] == KILLS


# What takes several


@pytest.fixture(scope="module")
def some_run(short_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(short_run.folder, tmp_path_factory.mktemp("runs") / "run"))


def export_of(run: Path, tmp_path: Path) -> Command:
    place = folder(tmp_path)
    out = place / "float32.tflite"
    wanted: list[str] = []

    def check() -> None:
        # The same model gives the same bytes.
        wanted.append(sha256_file(out))
        assert set(wanted) == {wanted[0]}

    return Command(("export", run, "--out", out), place, (out,), check)


def report_of(run: Path, tmp_path: Path) -> Command:
    place = folder(tmp_path)
    out = place / "report.html"

    def check() -> None:
        assert out.read_text("utf-8").rstrip().endswith("</html>")

    return Command(("report", run, "--out", out), place, (out,), check)


def quantize_of(run: Path, tmp_path: Path) -> Command:
    place = folder(tmp_path)
    copy = Path(shutil.copytree(run, place / "run"))

    def check() -> None:
        made = documents.read(QuantizeReport, copy / "quantize.json")
        assert {one.name for one in made.variants} == {"float32", "float32-onnx", "int8", "int8-onnx"}
        verified(copy / "bundle")

    def settled() -> None:
        # The report is written first, and stays where a gate fails: both are of one start only when that has ended.
        sizes = {one.name: one.bytes for one in Bundle.open(copy / "bundle").variants}
        assert {one.name: one.bytes for one in documents.read(QuantizeReport, copy / "quantize.json").variants} == sizes

    words = ("quantize", copy, "--int8", "--calibration", 12)
    made = (copy / "bundle", copy / "quantize.json")
    return Command(words, place, made, check, env={"EDGETL_CACHE": str(place / "cache")}, settled=settled)


def bench_of(run: Path, tmp_path: Path) -> Command:
    place = folder(tmp_path)
    out = place / "result.json"
    words = ("bench", TINY, "--variants", "float32,int8", "--quick", "--duration", "0.1", "--out", out)

    def check() -> None:
        assert [one.variant for one in result.read(out).runs] == ["float32", "int8"]

    return Command(words, place, (out,), check)


def import_of(run: Path, tmp_path: Path) -> Command:
    place = folder(tmp_path)
    out = place / "imported"
    words = ("import", run / "model.keras", "--data", Run.open(run).data_root, "--out", out, "--overwrite")

    def check() -> None:
        Run.open(out).load_model()

    return Command(words, place, (out,), check, env={"EDGETL_CACHE": str(place / "cache")})


EXPENSIVE = {"export": export_of, "report of a run": report_of, "quantize": quantize_of, "bench": bench_of,
             "import": import_of}  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("name", EXPENSIVE)
def test_commands_of_seconds_are_killed_50_times(name: str, some_run: Path, tmp_path: Path) -> None:
    found = kill_often(EXPENSIVE[name](some_run, tmp_path), kills=KILLS, finish_every=5)
    print(f"{name}: {found}")
    assert found["absent"] + found["old or new"] == KILLS


@pytest.mark.faults
def test_training_is_killed_50_times(tiny_photos: Path, tmp_path: Path) -> None:
    """A killed run goes on where it was, as often as it takes, and ends in the same model."""
    place = folder(tmp_path)
    out = place / "run"
    unfinished = out.with_name("run.unfinished")
    models: list[str] = []

    def check() -> None:
        run = Run.open(out)
        run.load_model()
        models.append(json.dumps([array.tolist() for array in run.load_model().get_weights()]))
        assert set(models) == {models[0]}

    def again() -> tuple[object, ...]:
        if not out.exists() and (unfinished / "checkpoint.npz").exists():
            return ("train", "--resume", out)
        return ("train", tiny_photos, "--out", out, *TRAIN, *(("--overwrite",) if unfinished.exists() else ()))

    words = ("train", tiny_photos, "--out", out, *TRAIN, "--overwrite")
    command = Command(
        words, place, (out,), check, replaces=False, again=again, env={"EDGETL_CACHE": str(place / "cache")}
    )
    found = kill_often(command, kills=KILLS, finish_every=5)
    print(f"train: {found}")
    assert found["absent"] + found["old or new"] == KILLS


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as lab:
        yield lab


@pytest.mark.faults
@pytest.mark.needs_program("ssh", "sshd", "ps")
def test_a_bench_on_a_board_is_killed_50_times(lab: Lab, tmp_path: Path) -> None:
    """The workstation dies: nothing is left running on the board, and the next bench is answered."""
    place, board = folder(tmp_path), lab.board("board")
    out = place / "result.json"
    fleet = lab.fleet(board)
    words = ("bench", TINY, "--fleet", fleet, "--variants", "int8", "--quick", "--duration", "0.1", "--out", out)

    def check() -> None:
        assert [one.variant for one in result.read(out).runs] == ["int8"]

    def after() -> None:
        assert board.wait_quiet() == []

    command = Command(words, place, (out,), check, env=lab.environment, after=after)
    found = kill_often(command, kills=KILLS, finish_every=5)
    print(f"bench on a board: {found}")
    assert found["absent"] + found["old or new"] == KILLS
