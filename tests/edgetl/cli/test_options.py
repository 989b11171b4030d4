"""Options of commands: defined once, and the same in help, files, keywords, flags and docs."""

from __future__ import annotations

import argparse
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import small
import typer
from branches import UNMEASURED
from typer.main import get_command
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.cli.config_file import config_text, read_config
from edgetl.cli.options import Asked, add_command
from edgetl.importing.options import ImportOptions
from edgetl.quantization.options import TARGET_NAMES, QuantizeOptions
from edgetl.remote.deploy_options import DeployOptions
from edgetl.remote.pull_options import PullOptions
from edgetl.review.options import ReviewOptions
from edgetl.training.options import AUGMENT, FITS, TrainOptions
from edgetl_device.adapt.options import AdaptOptions
from edgetl_device.bench.options import MAX_BATCH, MAX_THREADS, SCENARIOS, BenchOptions
from edgetl_device.errors import InputError, OptionError
from edgetl_device.options import (
    Option,
    Options,
    add_arguments,
    arguments,
    from_arguments,
    markdown_table,
    option,
    options_of,
)

REPO = Path(__file__).resolve().parent.parent.parent.parent
VERBS: dict[str, type[Options]] = {
    "train": TrainOptions,
    "quantize": QuantizeOptions,
    "adapt": AdaptOptions,
    "bench": BenchOptions,
    "import": ImportOptions,
    "deploy": DeployOptions,
    "pull": PullOptions,
    "review": ReviewOptions,
}
# Commands of a group.
GROUPED = {"pull": ("field", "pull")}
EACH = [pytest.param(verb, one, id=f"{verb}-{one.name}") for verb, kind in VERBS.items() for one in options_of(kind)]
EVERY_VERB = pytest.mark.parametrize("verb", VERBS)


@dataclass(frozen=True)
class MoreOptions(BenchOptions):
    """Bench options with an additional one."""

    gain: float = option(0.25, low=0.125, high=2.5, help="How loud it is.")


def squeezed(text: str) -> str:
    """Return a text without white space: help is wrapped, at dashes too."""
    return re.sub(r"\s", "", text)


def facts(one: Option) -> list[str]:
    """Return what every description of an option must contain: default and bounds, from its field."""
    default = one.default if isinstance(one.default, tuple) else [] if one.default is None else [one.default]
    if one.kind is bool:
        return [one.help]
    bounds = [bound for bound in (one.low, one.above, one.high) if bound is not None]
    numbers = [f"{number:.15g}" if isinstance(number, float) else str(number) for number in (*default, *bounds)]
    return [one.help, one.unset, *numbers, *one.choices]


@pytest.fixture(scope="module")
def help_of() -> dict[str, dict[str, str]]:
    """Return the help of each flag, by verb, without white space."""
    found = {}
    for verb in VERBS:
        text = small.edgetl(*GROUPED.get(verb, (verb,)), "--help").stdout
        entries = re.split(r"^  (?=-)", text, flags=re.MULTILINE)
        found[verb] = {entry.split()[0].rstrip(","): squeezed(entry) for entry in entries[1:]}
    return found


@pytest.mark.parametrize(("verb", "one"), EACH)
def test_help_file_and_table_tell_the_same(verb: str, one: Option, help_of: dict[str, dict[str, str]]) -> None:
    shown = one.negative if one.default is True else one.flag
    said = help_of[verb][shown]
    file = config_text(VERBS[verb](), verb)
    (block,) = (block for block in file.split("\n\n") if re.search(rf"^(# )?{one.name} =", block, re.MULTILINE))
    (row,) = (row for row in markdown_table(VERBS[verb]).splitlines() if row.startswith(f"| `{shown}`"))
    for place in (said, squeezed(block.replace("\n# ", "\n")), squeezed(row.replace("\\|", "|"))):
        for fact in facts(one):
            # For a switch that is on by default, the help begins with "Do not".
            assert squeezed(fact).lower() in place.lower()


@pytest.mark.parametrize(("verb", "one"), EACH)
def test_the_bounds_are_those_of_keywords_and_flags(verb: str, one: Option) -> None:
    kind = VERBS[verb]
    assert one.check(one.default) == one.default
    assert one.optional == (one.default is None)
    for wrong in ([], {}, object(), b"x", None if not one.optional else math.nan):
        if wrong == [] and one.default == ():
            continue
        with pytest.raises(OptionError, match=rf"^{one.name}="):
            kind.of(**{one.name: wrong})
    if one.kind in (int, float):
        # Nonsensical numbers are refused, so every number has bounds.
        assert one.high is not None
        assert (one.low is None) != (one.above is None)
        least = one.low if one.low is not None else one.above
        assert least is not None
        step = 1 if one.kind is int else 1e-9
        assert one.check(one.high) == ((one.high,) if one.many else one.high)
        outside = [least - step, one.high * (1 + 1e-9) + step, math.nan, math.inf, -math.inf, "x", True]
        outside += [1.5] if one.kind is int else []
        outside += [one.above] if one.above is not None else []
        for wrong in outside:
            with pytest.raises(OptionError, match=rf"^{one.name}="):
                kind.of(**{one.name: wrong})
            with pytest.raises(OptionError) as caught:
                one.parse([str(wrong)])
            assert caught.value.for_command_line().startswith(f"{one.flag} {wrong}: must be ")
    for choice in one.choices:
        assert one.check(choice) == choice
    if one.choices:
        with pytest.raises(OptionError, match=f"must be one of {', '.join(one.choices)}"):
            kind.of(**{one.name: "squash"})


# Values that are valid with the defaults, where an arbitrary one would not be, and the other options that they need.
VALUES = {
    "size": "240x320",
    "val": 0.2,
    "test": 0.0,
    "strategy": "all",
    "devices": "GPU:0,GPU:2",
    "depth_range": "0..4095",
    "variants": ("int8", "float32"),
    "mean": ("0.5", "0.4", "0.3"),
    "std": ("0.25",),
    "folder": "~/here",
}
NEEDED = {QuantizeOptions: {"int8": True}}
COMPANIONS = {
    "mean": {"std": "0.2"},
    "std": {"mean": "0.4"},
    "bgr": {"mean": "0.4", "std": "0.2"},
    "code": {"trust_code": True},
    "unknown_photos": {"unknown": True},
}
STRANGE = 'a "b"\\c\u00e4.so:d=e,f=\x7f'


def another(one: Option) -> Any:
    """Return a value that is not the default."""
    if one.name in VALUES:
        return VALUES[one.name]
    if one.kind is bool:
        return not one.default
    if one.kind is str:
        found: Any = next((choice for choice in one.choices if choice != one.default), STRANGE)
    else:
        assert one.high is not None
        found = 0.75 * one.high if one.kind is float else int(one.high) - 1
    return (found,) if one.many else found


def differing(kind: type[Options]) -> list[Options]:
    """Return options that each differ from the defaults in one value, and in the values that it requires."""
    return [
        kind.of(**(NEEDED.get(kind, {}) | COMPANIONS.get(one.name, {}) | {one.name: another(one)}))
        for one in options_of(kind)
    ]


@EVERY_VERB
def test_a_printed_file_is_read_as_equal_options(verb: str, tmp_path: Path) -> None:
    kind, path = VERBS[verb], tmp_path / "a.toml"
    for options in (kind(), *differing(kind)):
        path.write_text(config_text(options, verb), encoding="utf-8")
        assert kind.of(**read_config(path, verb, kind)) == options
        # Also without a table.
        path.write_text(path.read_text(encoding="utf-8").replace(f"[{verb}]\n", ""), encoding="utf-8")
        assert kind.of(**read_config(path, verb, kind)) == options


@EVERY_VERB
def test_flags_say_what_differs_from_the_default_and_are_read_back(verb: str) -> None:
    kind = VERBS[verb]
    parser = argparse.ArgumentParser()
    add_arguments(parser, kind)
    assert arguments(kind()) == []
    for options in differing(kind):
        words = arguments(options)
        assert len({word.partition("=")[0] for word in words}) == len(options.changed())
        assert from_arguments(kind, parser.parse_args(words)) == options


def test_what_a_board_is_sent_is_what_was_asked() -> None:
    asked = BenchOptions.of(
        variants=["int8", "float32"], threads=(1, 4), delegates=["none", "/opt/lib.so:device=usb,log=-1"], quick=True,
        data="-photos", energy=True,
    )  # fmt: skip
    words = arguments(asked)
    assert words == [
        "--variants=int8", "--variants=float32", "--threads=1", "--threads=4", "--delegates=none",
        "--delegates=/opt/lib.so:device=usb,log=-1", "--data=-photos", "--quick", "--energy",
    ]  # fmt: skip
    parser = argparse.ArgumentParser()
    add_arguments(parser, BenchOptions)
    assert from_arguments(BenchOptions, parser.parse_args(words)) == asked
    library = "/opt/lib.so:device=usb,log=-1"
    people = ["--variants", "int8,float32", "--threads", "1,4", "--delegate", "none", "--delegate", library]
    read = from_arguments(BenchOptions, parser.parse_args(people))
    assert read == replace(asked, quick=False, energy=False, data=None)


def app_of(kind: type[Options], seen: list[Asked[Any]]) -> typer.Typer:
    def bench(asked: Asked[Any], bundle: str = typer.Argument(...), out: str = typer.Option("")) -> None:
        """Do nothing."""
        seen.append(asked)

    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    add_command(app, "bench", kind, bench)
    return app


def test_an_option_more_is_everywhere(tmp_path: Path) -> None:
    seen: list[Asked[Any]] = []
    app = app_of(MoreOptions, seen)
    shown = squeezed(CliRunner().invoke(app, ["--help"]).stdout)
    assert squeezed("--gain NUMBER How loud it is.  [0.125 to 2.5; default: 0.25]") in shown
    (row,) = (row for row in markdown_table(MoreOptions).splitlines() if "--gain" in row)
    assert row == "| `--gain` | 0.125 to 2.5 | 0.25 | How loud it is. |"
    printed = CliRunner().invoke(app, ["--gain", "0.5", "--print-config"])
    assert "# How loud it is. 0.125 to 2.5. Default: 0.25.\ngain = 0.5" in printed.stdout
    assert seen == []
    (tmp_path / "a.toml").write_text(printed.stdout)
    assert CliRunner().invoke(app, ["b", "--config", str(tmp_path / "a.toml")]).exit_code == 0
    assert seen[0].options == MoreOptions.of(gain=0.5)
    assert MoreOptions.of(gain=2).gain == 2.0
    with pytest.raises(OptionError, match=r"gain=3: must be 0.125 to 2.5"):
        MoreOptions.of(gain=3)
    parser = argparse.ArgumentParser()
    add_arguments(parser, MoreOptions)
    assert arguments(MoreOptions(gain=0.5)) == ["--gain=0.5"]
    assert from_arguments(MoreOptions, parser.parse_args(["--gain", "0.5"])).gain == 0.5
    assert "How loud it is." in parser.format_help()


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    seen: list[Asked[Any]] = []
    app, file = app_of(BenchOptions, seen), tmp_path / "a.toml"
    file.write_text("threads = [1, 2]\nquick = true\nbatch = 4\nvariants = 'int8,float32'\n")
    done = CliRunner().invoke(app, ["b", "--config", str(file), "--batch", "8", "--no-quick", "--energy"])
    assert done.exit_code == 0, done.output
    expected = {"threads": (1, 2), "quick": False, "batch": (8,), "variants": ("int8", "float32"), "energy": True}
    assert seen[0].options == BenchOptions.of(**expected)
    assert seen[0].given == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", r"a.toml: there is no option 'epoch'\nDid you mean epochs\?"),
        ("[train]\nlearning_rate = 1", "a.toml: there is no option 'learning_rate'"),
        ("lr = 7", "a.toml: lr=7: must be over 0 and at most 1"),
        ("lr = '0.1'", "a.toml: lr='0.1': must be a number"),
        ("ema = 1", "a.toml: ema=1: must be true or false"),
        ("lr = nan", "a.toml: lr=nan: must be over 0 and at most 1"),
        ("[quantize]\nint8 = true", r"a.toml: has no table \[train\]"),
        ("[train]\nlr = 0.1\n[trains]\nlr = 0.2", "there is no option 'train'"),
        ("lr =", "a.toml: not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_config(tmp_path / "a.toml", "train", TrainOptions)


def test_a_file_of_another_command_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[train]\nlr = 0.1\n[quantize]\nint8 = true\n")
    assert read_config(tmp_path / "a.toml", "train", TrainOptions) == {"lr": 0.1}
    (tmp_path / "a.toml").write_text("")
    assert read_config(tmp_path / "a.toml", "train", TrainOptions) == {}


def test_an_error_speaks_to_who_asked(tmp_path: Path) -> None:
    for keywords, said in (
        ({"lr": 7}, "lr=7: must be over 0 and at most 1"),
        ({"fit": "squash"}, "fit='squash': must be one of stretch, crop, pad"),
        ({"epoch": 7}, "there is no option 'epoch'\nDid you mean epochs?"),
        ({"val": 0.6, "test": 0.5}, "val=0.6 and test=0.5: leave less than a tenth for training"),
        ({"devices": "0"}, "devices='0': must be auto"),
        ({"batch_size": True}, "batch_size=True: must be a whole number"),
    ):
        with pytest.raises(OptionError) as caught:
            TrainOptions.of(**keywords)
        assert str(caught.value).startswith(said)
    for flags, said in (
        (("--lr", "7"), "--lr 7: must be over 0 and at most 1"),
        (("--lr", "much"), "--lr much: must be a number"),
        (("--epochs", "1.5"), "--epochs 1.5: must be a whole number"),
        (("--fit", "squash"), "--fit squash: must be one of stretch, crop, pad"),
        (("--strategy", "head", "--trainable-blocks", "3"), "--strategy head with --trainable-blocks 3"),
        (("--config", str(tmp_path / "none.toml")), "no such file"),
    ):
        assert said in small.refused(small.edgetl("train", tmp_path, *flags))
    assert "--max-drop -1" in small.refused(small.edgetl("quantize", tmp_path, "--max-drop", "-1"))
    for flag, value, meant in (("--augment", "standart", "standard"), ("--backbone", "mobilnet_v2", "mobilenet_v2")):
        assert f"Did you mean {meant}?" in small.refused(small.edgetl("train", tmp_path, flag, value)), flag
    assert "Did you mean bundle?" in small.refused(small.edgetl("schema", "bundel"))


def test_printing_a_configuration_needs_no_input_and_loads_nothing_heavy(tmp_path: Path) -> None:
    for verb in VERBS:
        words = GROUPED.get(verb, (verb,))
        first = small.edgetl(*words, "--print-config")
        assert first.returncode == 0, first.stderr
        (tmp_path / "a.toml").write_text(first.stdout)
        again = small.edgetl(*words, "--config", tmp_path / "a.toml", "--print-config")
        assert again.stdout == first.stdout
    script = """
import sys
from edgetl.cli import main
sys.argv = ["edgetl", "train", "--lr", "0.5", "--print-config"]
try:
    main()
finally:
    assert not {"numpy", "rich", "tomllib", "tensorflow"} & set(sys.modules), sorted(sys.modules)
"""
    done = small.python(script, env=UNMEASURED)
    assert done.returncode == 0, done.stderr
    assert "\nlr = 0.5\n" in done.stdout
    # Without it, the argument is required.
    assert small.edgetl("bench").returncode == 2


def test_help_is_in_sections_the_first_one_of_about_ten() -> None:
    done = small.python("""
import sys
from edgetl.cli import main
sys.argv = ["edgetl", "train", "--help"]
try:
    main()
finally:
    # It would take longer than all else.
    assert "rich" not in sys.modules
""")
    assert done.returncode == 0, done.stderr
    headings = re.findall(r"^(\w[\w ]+):$", done.stdout, re.MULTILINE)
    assert headings[:2] == ["Arguments", "Basics"]
    assert len(headings) > 6
    basics = done.stdout.partition("Basics:")[2].partition("\n\n")[0]
    assert len(re.findall(r"^  --", basics, re.MULTILINE)) == 10
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "MobileNet" not in done.stdout.replace("mobilenet_v2", "")


def test_no_summary_is_cut() -> None:
    listed = small.edgetl("--help", env={"COLUMNS": "80"})
    assert listed.returncode == 0, listed.stderr
    assert max(map(len, listed.stdout.splitlines())) <= 80
    commands = listed.stdout.partition("Commands:")[2]
    rows = dict(" ".join(row.split()).split(" ", 1) for row in re.split(r"^  (?=\w)", commands, flags=re.MULTILINE)[1:])
    known = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    assert set(rows) == set(known)
    for name, summary in rows.items():
        assert " ".join(known[name].help.split()).startswith(summary.rstrip(".") + "."), name


def test_the_choices_are_those_of_the_registries() -> None:
    from edgetl.features.augment import PRESETS
    from edgetl.quantization.targets import TARGETS
    from edgetl_device import preprocess, runtime
    from edgetl_device.bench import loadgen

    assert tuple(PRESETS) == AUGMENT
    assert preprocess.FITS == FITS
    assert tuple(TARGETS) == TARGET_NAMES
    assert tuple(loadgen.SCENARIOS) == SCENARIOS
    assert (runtime.MAX_THREADS, runtime.MAX_BATCH) == (MAX_THREADS, MAX_BATCH)


def test_paths_lists_and_numbers_are_kept_in_one_form() -> None:
    made = TrainOptions.of(teacher=Path("a") / "b", val=0, lr=1)
    assert (made.teacher, made.val, made.lr) == (str(Path("a") / "b"), 0.0, 1.0)
    assert isinstance(made.val, float)
    assert BenchOptions.of(threads=2) == BenchOptions.of(threads=[2]) == BenchOptions.of(threads="2")
    assert BenchOptions.of(variants="int8, float32").named_variants == ("int8", "float32")
    assert BenchOptions().named_variants is None
    with pytest.raises(OptionError, match="must be all, or names"):
        BenchOptions.of(variants=["all", "int8"])


if sys.version_info >= (3, 11):

    @EVERY_VERB
    def test_a_printed_file_is_toml_with_every_default(verb: str) -> None:
        import tomllib

        table = tomllib.loads(config_text(VERBS[verb](), verb))[verb]
        known = {one.name: one.default for one in options_of(VERBS[verb]) if one.default is not None}
        assert table == {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}
