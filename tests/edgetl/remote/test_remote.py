"""Boards over SSH, with a real sshd on loopback: working ones, and every way in which a board can fail."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from branches import UNMEASURED
from programs import cannot_run
from signer import release
from small import edgetl, refused
from sshd import Lab, SshBoard

import edgetl_device
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bench import result

TINY = Path(__file__).resolve().parent.parent.parent / "golden" / "tiny.edgetl"
QUICK = ("--variants", "int8", "--quick", "--duration", "0.2")
LONG = ("--variants", "int8", "--duration", "40")

pytestmark = pytest.mark.needs_program("ssh", "sshd", "ps")


@pytest.fixture(scope="module")
def second(lab: Lab) -> SshBoard:
    return lab.board("second")


@pytest.fixture(scope="module")
def benched(lab: Lab, good: SshBoard) -> tuple[str, Path]:
    """The output of the first bench on ``good``, and the path of its result."""
    out = lab.folder / "first"
    done = edgetl("bench", TINY, "--fleet", lab.fleet(good), *QUICK, "--out", out, env=lab.environment)
    assert done.returncode == 0, done.stderr
    return done.stderr, out / "good.json"


def shape(value: Any, depth: int = 3) -> Any:
    """Return the keys of nested objects: the structure of a document without its values."""
    if isinstance(value, dict) and depth and "unknown" not in value:
        return {key: shape(item, depth - 1) for key, item in value.items()}
    return ...


def test_a_board_gives_the_result_that_this_machine_gives(
    good: SshBoard, benched: tuple[str, Path], tmp_path: Path
) -> None:
    there = result.read(benched[1]).to_json()
    done = edgetl("bench", TINY, *QUICK, "--out", tmp_path / "here.json")
    assert done.returncode == 0, done.stderr
    here = result.read(tmp_path / "here.json").to_json()
    assert shape(there) == shape(here)
    assert shape(there["runs"][0]) == shape(here["runs"][0])
    for key in ("bundle", "evalset", "settings"):
        assert there[key] == here[key]
    assert there["runs"][0]["answers"] == here["runs"][0]["answers"]
    assert good.wait_quiet() == []


def test_a_sustained_run_on_a_board_has_its_times_by_the_second(good: SshBoard, lab: Lab, tmp_path: Path) -> None:
    options = ("--variants", "int8", "--sustained", "0.03", "--out", tmp_path / "result.json")
    done = edgetl("bench", TINY, "--fleet", lab.fleet(good), *options, env=lab.environment)
    assert done.returncode == 0, done.stderr
    document = result.read(tmp_path / "result.json").to_json()
    assert document["settings"]["sustained"] is True
    assert "--scenario works on this machine only" in refused(
        edgetl("bench", TINY, "--fleet", lab.fleet(good), "--scenario", "offline", env=lab.environment)
    )


def test_a_second_bench_copies_nothing_and_prints_as_one_of_this_machine(
    good: SshBoard, lab: Lab, benched: tuple[str, Path], tmp_path: Path
) -> None:
    assert "good: copying the bundle" in benched[0]
    (copy,) = (good.cache / "edgetl" / "remote" / "bundles").glob("*/tiny.edgetl")
    assert copy.read_bytes() == TINY.read_bytes()
    before = copy.stat()
    gates = ("--fail-if", "int8.p95_ms>1000", "--fail-if", "int8.size_mb>0")
    written = tmp_path / "result.json"
    done = edgetl("bench", TINY, "--fleet", lab.fleet(good), *QUICK, *gates, "--out", written, env=lab.environment)
    assert "good: int8, 1 thread" in refused(done, 3)
    assert done.stdout.startswith("tiny.edgetl, 1 thread\n")
    assert result.read(written).to_json()["bundle"]["name"] == "tiny.edgetl"
    assert "copying the bundle" not in done.stderr
    after = copy.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_damaged_file_on_the_board_is_brought_again(
    good: SshBoard, lab: Lab, benched: tuple[str, Path], tmp_path: Path
) -> None:
    (copy,) = (good.cache / "edgetl" / "remote" / "bundles").glob("*/tiny.edgetl")
    # An SD card after a power loss: the name and the size, without the content.
    copy.write_bytes(bytes(copy.stat().st_size))
    done = edgetl("bench", TINY, "--fleet", lab.fleet(good), *QUICK, "--out", tmp_path / "r.json", env=lab.environment)
    assert done.returncode == 0, done.stderr
    assert "copying the bundle" in done.stderr
    assert copy.read_bytes() == TINY.read_bytes()


def test_a_given_python_must_have_the_code_of_here(lab: Lab, tmp_path: Path) -> None:
    package = shutil.copytree(Path(edgetl_device.__file__).parent, tmp_path / "edgetl_device")
    with (package / "bench" / "latency.py").open("a") as stream:
        stream.write("# another clock\n")
    board = lab.board("other-code", env=f"PYTHONPATH={tmp_path}")
    done = edgetl("bench", TINY, "--fleet", lab.fleet(board), *QUICK, env=lab.environment)
    error = refused(done, 4)
    assert "with different code" in error
    assert "1 of its files differ" in error
    assert "edgetl_device/bench/latency.py" in error


def test_a_board_that_fails_is_a_row_and_the_others_finish(
    lab: Lab, good: SshBoard, second: SshBoard, tmp_path: Path
) -> None:
    stranger = lab.board("stranger", known=False)
    gone = lab.board("gone")
    gone.process.terminate()
    gone.process.wait()
    noisy = lab.board("no-python", shell="echo Welcome; exec no-such-python3")
    hello = "printf 'edgetl-agent/1 '; cat >/dev/null & "
    nested = lab.board("nested", shell=f"{hello} head -c 200000 /dev/zero | tr '\\0' '['; echo")
    number = lab.board("number", shell=f"{hello} echo 5")
    empty = lab.board("empty", shell=f"{hello} echo '{{\"done\": {{}}}}'; sleep 1; echo '{{\"done\": {{}}}}'")
    fleet = lab.fleet(good, second, stranger, gone, noisy, nested, number, empty)
    done = edgetl("bench", TINY, "--fleet", fleet, *QUICK, "--out", tmp_path / "out", env=lab.environment)
    error = refused(done, 4)
    assert "6 of 8 boards gave no result: stranger, gone, no-python, nested, number, empty" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.json", "second.json"]
    lines = {line.partition(":")[0]: line for line in done.stdout.splitlines() if "no result: " in line}
    assert "Host key verification failed" in lines["stranger"]
    assert "Connection refused" in lines["gone"]
    assert "not found" in lines["no-python"]
    for name in ("nested", "number"):
        assert "the board's reply is not from edgetl's agent" in lines[name]
    assert "the agent's reply: root is missing" in lines["empty"]
    assert not stranger.cache.exists()
    assert [*good.wait_quiet(), *second.wait_quiet()] == []


def started(lab: Lab, *arguments: object, killed: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgetl", "bench", TINY, *LONG, *arguments]
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | lab.environment | (UNMEASURED if killed else {}),
    )


def until(process: subprocess.Popen[str], *texts: str) -> None:
    """Wait until the process has printed all of ``texts``, none of them after its board is done."""
    assert process.stderr is not None
    left = set(texts)
    for line in process.stderr:
        assert ": done" not in line, left
        left -= {text for text in left if text in line}
        if not left:
            return
    pytest.fail(f"it ended without {left}")


def test_a_result_of_another_bundle_is_found_out(lab: Lab, tmp_path: Path) -> None:
    other = release(TINY, tmp_path / "other.edgetl", 2)
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nif sys.argv[1:2] == ['bench']:\n    sys.argv[2] = {str(other)!r}\n"
    )
    board = lab.board("liar", env=f"PYTHONPATH={tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    done = edgetl(
        "bench", TINY, "--fleet", lab.fleet(board), *QUICK, "--out", tmp_path / "result.json", env=lab.environment
    )
    assert "the result is of a different bundle than the one sent" in done.stderr
    assert done.returncode == 4
    assert not (tmp_path / "result.json").exists()


def test_a_board_that_dies_half_way(lab: Lab, good: SshBoard, second: SshBoard, tmp_path: Path) -> None:
    process = started(lab, "--fleet", lab.fleet(second), "--out", tmp_path)
    until(process, "measuring, round 1")
    assert second.running()
    second.cut()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 4, error
    assert "second: the connection was lost" in error
    assert list(tmp_path.iterdir()) == []
    # The board noticed too, although most of its bench was still to come.
    assert second.wait_quiet() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_two_boards_work_at_once_and_nothing_is_left_running(
    lab: Lab, good: SshBoard, second: SshBoard, number: int, code: int
) -> None:
    process = started(lab, "--fleet", lab.fleet(good, second), killed=number == signal.SIGKILL)
    until(process, "good: measuring, round 1", "second: measuring, round 1")
    assert good.running()
    assert second.running()
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert [*good.wait_quiet(), *second.wait_quiet()] == []
    assert [*good.connections(), *second.connections()] == []


def test_two_benches_wait_for_each_other(lab: Lab, good: SshBoard) -> None:
    first = started(lab, "--fleet", lab.fleet(good))
    until(first, "measuring, round 1")
    other = started(lab, "--fleet", lab.fleet(good))
    until(other, "waiting: another edgetl uses this board")
    first.send_signal(signal.SIGINT)
    until(other, "measuring, round 1")
    other.send_signal(signal.SIGINT)
    for process in (first, other):
        process.communicate(timeout=30)
    assert good.wait_quiet() == []


def test_no_room_for_the_bundle(lab: Lab) -> None:
    # The unit is 512 bytes or 1 KiB; the bundle is larger than 100 of them.
    small = lab.board("small", shell='echo Welcome; ulimit -f 8; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    done = edgetl("bench", TINY, "--fleet", lab.fleet(small), *QUICK, env=lab.environment)
    assert "File too large" in refused(done, 4)
    assert not [path for path in small.cache.rglob("*") if path.suffix in (".part", ".edgetl")]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("riscv", "import platform; platform.machine = lambda: 'riscv64'", "no TFLite runtime has wheels for riscv64"),
        ("old", "import sys; sys.version_info = (3, 9, 2)", "edgetl needs Python 3.10 or newer, this is 3.9"),
        ("bare", "import sys; sys.modules['ensurepip'] = None", "Python there has no venv"),
        ("musl", "import platform; platform.libc_ver = lambda: ('', '')", "C library"),
    ],
)
def test_a_board_that_cannot_be_set_up(lab: Lab, tmp_path: Path, name: str, change: str, said: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(change)
    board = lab.board(name, env=f"PYTHONPATH={tmp_path}")
    done = edgetl("bench", TINY, "--fleet", lab.fleet(board, python=""), *QUICK, env=lab.environment)
    assert said in refused(done, 4)


def test_a_given_python_must_have_the_package(lab: Lab, good: SshBoard) -> None:
    # Without the packages of the tests' environment.
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    bare = lab.board("without", env="PYTHONPATH=")
    done = edgetl("bench", TINY, "--fleet", lab.fleet(bare, python=base), *QUICK, env=lab.environment)
    assert f"without: {base} has no edgetl-device" in refused(done, 4)
    done = edgetl("bench", TINY, "--fleet", lab.fleet(good, python="~/no such/python"), *QUICK, env=lab.environment)
    error = refused(done, 4)
    assert "no ~/no such/python there" in error
    assert f"{Path.home()}/no such/python: not found" in error or "No such file" in error


def test_doctor_on_a_board(lab: Lab, good: SshBoard) -> None:
    done = edgetl("doctor", "--fleet", lab.fleet(good), "--json", env=lab.environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["ok"]) == ("edgetl.doctor/1", True)
    # A board needs none of a workstation's packages.
    assert "training" not in {check["name"] for check in document["checks"]}
    assert "no-such-board" in refused(edgetl("doctor", "--on", "no-such-board.invalid", env=lab.environment), 4)


def agent(cache: Path, *requests: bytes) -> list[dict[str, Any]]:
    """Send requests to the agent, all at once, and return its replies."""
    script = files("edgetl.remote").joinpath("agent.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def send() -> None:
        with contextlib.suppress(BrokenPipeError):
            stdin.write(b"".join(requests))
            stdin.flush()

    # Write in another thread: an agent that replies too often would block until its output is read.
    threading.Thread(target=send, daemon=True).start()
    try:
        stdout.readline()  # about its board
        return [json.loads(stdout.readline()) for _ in requests]
    finally:
        process.kill()
        process.communicate()


def put(path: str, data: bytes) -> bytes:
    about = {"do": "put", "path": path, "bytes": len(data), "sha256": sha256_bytes(data)}
    return json.dumps(about).encode() + b"\n" + data


# A folder that cannot be created, a path that a file cannot have, a file in place of a folder.
@pytest.mark.parametrize(
    ("path", "said"), [("file/below/x", "Not a directory"), ("folder", "Is a directory"), ("file/x", "file")]
)
def test_an_upload_that_fails_early_is_not_read_as_the_next_request(tmp_path: Path, path: str, said: str) -> None:
    root = tmp_path / "edgetl" / "remote"
    (root / "folder" / "full").mkdir(parents=True)
    (root / "file").write_bytes(b"")
    first, second = agent(
        tmp_path, put(path, b'{"do": "has", "path": "no"}\n' * 20_000), b'{"do": "has", "path": "file"}\n'
    )
    assert said in first["error"]
    assert second == {"done": True}


def test_what_is_on_the_board_is_known_by_its_hash(tmp_path: Path) -> None:
    files = {"a/b/same": sha256_bytes(b"same"), "a/b/empty": sha256_bytes(b"full"), "a/b/gone": sha256_bytes(b"")}
    ask = json.dumps({"do": "wanting", "files": files}).encode() + b"\n"
    *_, wanting = agent(tmp_path, put("a/b/same", b"same"), put("a/b/empty", b""), ask)
    assert wanting == {"done": ["a/b/empty", "a/b/gone"]}


def test_the_agent_ends_when_the_workstation_falls_silent(tmp_path: Path) -> None:
    """A sleeping laptop keeps its connection, but sends nothing."""
    script = files("edgetl.remote").joinpath("agent.py").read_text()
    impatient = script.replace("SILENCE_S = 60.0", "SILENCE_S = 0.5")
    assert impatient != script
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", impatient], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    try:
        process.stdin.write(b'{"do": "run", "command": ["sleep", "31.4159"], "tell": false}\n')
        process.stdin.flush()
        assert process.wait(10) == 0
        programs = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "sleep 31.4159" not in programs
    finally:
        process.kill()
        process.communicate()


def test_a_board_loses_nothing_that_edgetl_did_not_make(tmp_path: Path) -> None:
    root = tmp_path / "edgetl" / "remote"
    for name in ("venvs/mine/notes.txt", "venvs/.git/HEAD", "bundles/old/photo.jpg"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("mine")
        os.utime((root / name).parent, (0, 0))
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    requests: list[dict[str, object]] = [
        *({"do": "make", "path": f"venvs/{key}"} for key in ("one", "two", "two")),
        {"do": "put", "path": "bundles/new/a.edgetl", "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()},
        {"do": "keep", "path": "venvs", "count": 1},
        {"do": "keep", "path": "bundles", "count": 1},
        {"do": "remove", "path": "venvs/mine"},
        {"do": "make", "path": "bundles/old"},
    ]
    done = subprocess.run(
        [sys.executable, "-c", files("edgetl.remote").joinpath("agent.py").read_text()],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=True,
    )
    *_, seventh, eighth = (json.loads(line) for line in done.stdout.splitlines()[1:])
    for answer in (seventh, eighth):
        assert "was not made by this edgetl" in answer["error"]
    left = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    kept = ["bundles/new/.edgetl", "bundles/new/a.edgetl", "bundles/old/photo.jpg", "lock"]
    assert left == [*kept, "venvs/.git/HEAD", "venvs/mine/notes.txt", "venvs/two/.edgetl"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--offline",)])
def test_a_virtual_environment_is_made_once(lab: Lab, tmp_path: Path, more: tuple[str, ...]) -> None:
    board = lab.board("fresh" + "".join(more))
    done = edgetl("bench", TINY, "--on", board.name, *QUICK, *more, "--out", tmp_path, env=lab.environment)
    if "No matching distribution" in done.stderr or "Connection" in done.stderr:
        cannot_run(f"no package index here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert "installing" in done.stderr
    assert ("fetching wheels here" in done.stderr) == bool(more)
    assert result.read(tmp_path / f"{board.name}.json").to_json()["runs"]
    (ready,) = board.cache.rglob("ready")
    assert sorted(path.name for path in ready.parent.iterdir()) == [".edgetl", "ready", "venv"]
    done = edgetl("doctor", "--on", board.name, *more, env=lab.environment)
    assert done.returncode == 0, done.stderr
    assert "installing" not in done.stderr
    assert "TFLite runtime" in done.stdout
    assert board.wait_quiet() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("board = []", "not a fleet"),
        ("[[board]]\nname = 'a'", "host is missing"),
        ("[[board]]\nname = 'a'\nhost = 'h'\nthread = 2", "Did you mean threads?"),
        ("[[board]]\nname = '../a'\nhost = 'h'", "board name '../a'"),
        ("[[board]]\nname = 'a'\nhost = '-oProxyCommand=true'", "host '-oProxyCommand=true'"),
        ("[[board]]\nname = 'a'\nhost = 'h'\n[[board]]\nname = 'a'\nhost = 'i'", "two boards are called 'a'"),
        ("[[board]", "not valid TOML"),
        ("[[board]]\nname = 'a'\nhost = 'h'\nvariants = 'int9'", "variant 'int9'"),
    ],
)
def test_a_wrong_fleet_is_refused_before_anything_starts(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    assert said in refused(edgetl("bench", TINY, "--fleet", path))


def test_options_that_do_not_fit_together() -> None:
    assert "--out DIR" in refused(edgetl("bench", TINY, "--on", "a", "--on", "b", "--json"))
    assert "--on and --fleet" in refused(edgetl("bench", TINY, "--on", "a", "--fleet", "b"))
    assert "--out DIR" in refused(edgetl("bench", TINY, "--on", "a", "--on", "b", "--out", "one.json"))
