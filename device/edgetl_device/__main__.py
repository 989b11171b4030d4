"""``edgetl-device COMMAND`` prints text, ``python -m edgetl_device COMMAND`` JSON.

Errors go to stderr; exit codes are edgetl's. They need only this package, so boards run them over SSH.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from . import __version__
from ._lib.documents import Document
from ._lib.files import check_writable
from ._lib.process import prepare
from .adapt.options import AdaptOptions
from .bench.options import BenchOptions
from .errors import EdgetlError, InputError, from_os_error, is_out_of_memory, out_of_memory
from .monitor.options import MonitorOptions
from .options import add_arguments, from_arguments, refuse_json_value
from .text import shown_lines
from .update.options import UpdateOptions

D = TypeVar("D", bound=Document)

_DELEGATES = "none, xnnpack, edgetpu[:usb|:pci|:N], or PATH.so[:key=value,...]"
_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
_TRUST = "a public key, or a folder of them, one of which must have signed the bundle; may be repeated"
_DEFECT = "This is a defect in edgetl. Please report it with the lines above and the command.\n"


def console() -> None:
    """Run ``edgetl-device`` and exit with its exit code."""
    sys.exit(main(as_text=True))


def main(arguments: Sequence[str] | None = None, *, as_text: bool = False) -> int:
    """Run one command and return its exit code; ``as_text`` prints for people, unless ``--json`` is given."""
    try:
        if arguments is None:
            prepare()
        # edgetl reports problems with photos itself; Pillow's warnings would only clutter its output.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        options = _parser(as_text=as_text).parse_args(arguments)
        if options.out is not None:
            check_writable(options.out)
        options.run(options)
        sys.stdout.flush()
        return 0
    except EdgetlError as error:
        sys.stderr.write(f"error: {error.for_command_line()}\n")
        return error.exit_code
    except BrokenPipeError:
        # The reader has closed the pipe (``| head``): print nothing more, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        known = from_os_error(error)
        if known.exit_code == EdgetlError.exit_code:
            return _defect()
        sys.stderr.write(f"error: {known}\n")
        return known.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        if is_out_of_memory(error):
            known = out_of_memory()
            sys.stderr.write(f"error: {known}\n")
            return known.exit_code
        return _defect()


def _defect() -> int:
    """Print the exception being handled, and return its exit code."""
    import traceback

    traceback.print_exc()
    sys.stderr.write(_DEFECT)
    return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message, hint=f"See: {self.prog} --help")


class _DocumentParser(_Parser):
    """The parser of a command; each command prints or writes one document."""

    def __init__(
        self, *, out_help: str = "write the JSON document to a file", out_metavar: str = "FILE", **settings: Any
    ) -> None:
        super().__init__(**settings)
        # Absent unless given, so that it does not replace what the main parser has set.
        self.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document on stdout"
        )
        self.add_argument("--out", "-o", type=Path, metavar=out_metavar, help=out_help)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments of the command."""
        refuse_json_value(self.prog, args or [])
        return super().parse_known_args(args, namespace)


def _parser(*, as_text: bool = False) -> argparse.ArgumentParser:
    about = "Run, measure and check edgetl bundles" + ("." if as_text else "; prints JSON.")
    parser = _Parser(prog="edgetl-device" if as_text else "python -m edgetl_device", description=about)
    parser.add_argument("--json", action="store_true", default=not as_text, help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"edgetl-device {__version__}")
    commands = parser.add_subparsers(
        required=True, metavar="{classify,bench,verify,adapt,doctor,update,slots}", parser_class=_DocumentParser
    )

    classify = _command(
        commands,
        "classify",
        _classify,
        "classify photos, or frames of a camera, video or folder: one line of JSON each",
        bundle="a bundle folder, an .edgetl file, or this board's slots, to follow their updates",
    )
    classify.add_argument(
        "photos", nargs="*", metavar="PHOTO", help="files, folders, patterns in quotes, or - for standard input"
    )
    classify.add_argument("--variant", default="int8")
    classify.add_argument("--threads", type=int, default=1)
    classify.add_argument("--top", type=int, default=None, help="classes per photo; default 5")
    classify.add_argument("--trust", action="append", default=[], metavar="PUBKEY", help=_TRUST)
    _delegate_option(classify)
    _live_options(classify)
    add_arguments(classify, MonitorOptions)

    bench = _command(commands, "bench", _bench, "measure latency, memory, accuracy and agreement")
    add_arguments(bench, BenchOptions)
    bench.add_argument("--log", type=Path, default=Path("loadgen"), metavar="DIR", help="for LoadGen's logs")

    verify = _command(
        commands, "verify", _verify, "check signature, hashes, golden pixels and agreement with the reference"
    )
    verify.add_argument("--trust", action="append", default=[], metavar="PUBKEY", help=_TRUST)
    verify.add_argument(
        "--min-version", type=int, default=0, metavar="N", help="refuse signatures with a lower version"
    )

    adapt = _command(
        commands,
        "adapt",
        _adapt,
        "teach a bundle a class from a few photos, and write the result as a new bundle with its own proof",
        out_help="the new bundle: a folder, or a file that ends in .edgetl",
        out_metavar="NEW",
    )
    adapt.add_argument("photos", metavar="PHOTOS", help="photos of the class: a folder, or a pattern in quotes")
    add_arguments(adapt, AdaptOptions)

    help = "report what this machine lacks for edgetl, and how to get it"
    commands.add_parser("doctor", help=help, description=help).set_defaults(run=_doctor)

    update = _command(
        commands,
        "update",
        _update,
        "install a bundle on this board; if it fails its checks, keep the current one",
        bundle="an .edgetl file",
    )
    update.add_argument("slots", metavar="SLOTS", help="the folder of this board's bundles; created if missing")
    add_arguments(update, UpdateOptions)

    help = "show the bundles installed on this board, or roll back to the previous one"
    slots = commands.add_parser("slots", help=help, description=help)
    slots.set_defaults(run=_slots)
    slots.add_argument("slots", metavar="SLOTS", help="the folder of this board's bundles")
    slots.add_argument("--runtime", choices=_RUNTIMES, help="for TFLite models")
    either = slots.add_mutually_exclusive_group()
    either.add_argument("--rollback", action="store_true", help="switch to the previous bundle, if it still verifies")
    either.add_argument(
        "--recover", action="store_true", help="undo an interrupted update; for use when a service starts"
    )
    return parser


def _command(
    commands: Any,
    name: str,
    run: Any,
    help: str,
    bundle: str = "a bundle folder or an .edgetl file",
    out_help: str = "write the JSON document to a file",
    out_metavar: str = "FILE",
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help, out_help=out_help, out_metavar=out_metavar
    )
    parser.set_defaults(run=run)
    parser.add_argument("bundle", metavar="BUNDLE", help=bundle)
    parser.add_argument("--runtime", choices=_RUNTIMES, help="for TFLite models")
    return parser


def _delegate_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delegate", default="", metavar="DELEGATE", help=_DELEGATES)


def _live_options(parser: argparse.ArgumentParser) -> None:
    live = parser.add_argument_group("live sources")
    live.add_argument("--camera", default="", metavar="N", help="0, /dev/video2, opencv:0 or picamera2:0")
    live.add_argument("--video", default="", metavar="FILE")
    live.add_argument("--watch", default="", metavar="DIR", help="photos that appear in a folder")
    live.add_argument("--existing", action="store_true", help="with --watch: also photos that are already there")
    live.add_argument("--smooth", type=float, metavar="SECONDS", help="default 0.3; with --watch none")
    live.add_argument(
        "--every", type=float, default=0.0, metavar="SECONDS", help="classify at most one frame per interval"
    )
    live.add_argument("--frames", type=int, metavar="N", help="stop after N frames or photos")
    live.add_argument(
        "--threshold", type=float, default=0.0, metavar="P", help="predictions below this probability are unsure"
    )


def _delegate(options: argparse.Namespace) -> Any:
    from edgetl_device.delegates.delegate import parse_delegate

    return parse_delegate(options.delegate) if options.delegate else None


def _doctor(options: argparse.Namespace) -> None:
    from .console import doctor_lines
    from .doctor import examine, raise_problems

    report = examine()
    _print(options, report, doctor_lines)
    raise_problems(report)


def _classify(options: argparse.Namespace) -> None:
    from edgetl_device.live.session import Live

    from ._lib.documents import dumps
    from .classifier import Failures, classify_each, open_classifier, predictions
    from .console import classified_line
    from .monitor.watching import monitored
    from .signature import read_keys

    watching = from_arguments(MonitorOptions, options)
    live = Live.asked(
        options.photos,
        top=options.top,
        camera=options.camera,
        video=options.video,
        watch=options.watch,
        existing=options.existing,
        smooth_s=options.smooth,
        every_s=options.every,
        frames=options.frames,
        threshold=options.threshold,
    )
    if live and options.out:
        raise InputError("--out with --camera, --video or --watch", why="they have no end", hint="Redirect stdout.")
    delegate = _delegate(options)
    with (
        open_classifier(
            options.bundle,
            options.variant,
            options.threads,
            prefer=options.runtime,
            delegate=delegate,
            trust=read_keys(options.trust),
            say=_say,
        ) as classifier,
        monitored(classifier, watching, frames=bool(live and not live.watch), say=_say) as monitor,
    ):
        if live:
            _stream(classifier, live, monitor, json=options.json)
        else:
            failures, top = Failures(), 5 if options.top is None else options.top
            rows = classify_each(classifier, options.photos, failures, top, observer=monitor)
            if options.json or options.out:
                found = predictions(classifier, rows)
                rows = iter(found.photos)
                _write_out(options, found)
            if options.json:
                _write(dumps(found))
            else:
                for row in rows:
                    _write(f"{classified_line(row)}\n")
            failures.raise_any()


def _stream(classifier: Any, live: Any, monitor: Any, *, json: bool) -> None:
    from edgetl_device.live.session import Tally, as_json, as_text, classify_live

    tally = Tally(live)
    with classify_live(classifier, live, observer=monitor) as (description, lines):
        _say(description)
        try:
            for line in lines:
                tally.add(line)
                _write(as_json(line, live) if json else f"{as_text(line, live)}\n")
        finally:
            _say(tally.text())
        tally.raise_any()


def _bench(options: argparse.Namespace) -> None:
    from edgetl_device.bench.run import run_bench

    from .bundle import Bundle
    from .console import result_lines

    asked = from_arguments(BenchOptions, options)
    result = run_bench(Bundle.open(options.bundle), asked, log=options.log, prefer=options.runtime, say=_say)
    _print(options, result, result_lines)


def _verify(options: argparse.Namespace) -> None:
    from .bundle import Bundle
    from .console import verification_lines
    from .signature import check_request, read_keys
    from .verify import raise_failures, verify

    check_request(options.trust, options.min_version)
    bundle, trust = Bundle.open(options.bundle), read_keys(options.trust)
    report = verify(bundle, prefer=options.runtime, trust=trust, min_version=options.min_version)
    _print(options, report, verification_lines)
    raise_failures(report)


def _adapt(options: argparse.Namespace) -> None:
    from ._lib.documents import dumps
    from .adapt.result import raise_refused
    from .adapt.run import adapt
    from .console import adapted_lines

    if options.out is None:
        raise InputError("no place for the new bundle", hint="Add --out NEW.")
    asked = from_arguments(AdaptOptions, options)
    result = adapt(options.bundle, options.photos, options.out, asked, prefer=options.runtime, say=_say)
    _write(dumps(result) if options.json else "".join(f"{line}\n" for line in adapted_lines(result)))
    raise_refused(result)


def _update(options: argparse.Namespace) -> None:
    from .console import update_lines
    from .slots import Slots
    from .update.run import raise_failure, update

    asked = from_arguments(UpdateOptions, options)
    # When the connection ends, stop cleanly: roll back to the bundle that ran.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = update(Slots(options.slots), options.bundle, asked, prefer=options.runtime, say=_say)
    _print(options, report, update_lines)
    raise_failure(report)


def _slots(options: argparse.Namespace) -> None:
    from .console import slots_lines, update_lines
    from .slots import Slots
    from .update.run import raise_failure, recover, rollback

    slots = Slots(options.slots)
    if options.rollback:
        report = rollback(slots, prefer=options.runtime, say=_say)
        _print(options, report, update_lines)
        raise_failure(report)
    else:
        _print(options, recover(slots) if options.recover else slots.state(), slots_lines)


def _say(text: str) -> None:
    sys.stderr.write(shown_lines(text) + "\n")


def _print(options: argparse.Namespace, document: D, lines: Callable[[D], list[str]]) -> None:
    from ._lib.documents import dumps

    _write_out(options, document)
    _write(dumps(document) if options.json else "".join(f"{line}\n" for line in lines(document)))


def _write_out(options: argparse.Namespace, document: Document) -> None:
    from ._lib.documents import write_or_keep

    if options.out is not None:
        write_or_keep(options.out, document)
        _say(f"written: {options.out}")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
