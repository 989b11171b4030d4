"""The documentation: links work, command lines are valid, generated pages are up to date, the site builds."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from edgetl.cli import app
from edgetl.importing.options import ImportOptions
from edgetl.quantization.options import QuantizeOptions
from edgetl.remote.deploy_options import DeployOptions
from edgetl.remote.pull_options import PullOptions
from edgetl.review.options import ReviewOptions
from edgetl.training.options import TrainOptions
from edgetl_device.adapt.options import AdaptOptions
from edgetl_device.bench.options import BenchOptions
from edgetl_device.errors import InputError
from edgetl_device.options import options_of, parsed

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "models").rglob("*.md"),
        ROOT / "device" / "README.md",
        ROOT / "benchmarks" / "METHOD.md",
        ROOT / "benchmarks" / "results" / "FIGURES.md",
    }
)
# Links of the READMEs, which package indexes show without the files beside them.
FILES = "https://github.com/edgetl/edgetl/blob/main/"
RAW = "https://raw.githubusercontent.com/edgetl/edgetl/main/"
FENCE = re.compile(r"^```(?P<language>[\w-]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the documentation is not here")
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


# Links


def prose(page: Path) -> str:
    """The text of a page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """Valid anchors of a page: its headings, as GitHub and Python-Markdown spell them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    named = {name for heading in headings for name in re.findall(r"\{: #(\S+) \}$", heading)}
    return named | {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def file_of(path: str, page: Path) -> Path | None:
    """The file of this repository that a link of a page leads to; None for another site."""
    for start in (FILES, RAW):
        if path.startswith(start):
            return ROOT / path.removeprefix(start)
    return None if re.match(r"[a-z]+:", path) else (page.parent / path).resolve()


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        to = file_of(path, page) if path else page
        if to is None:
            continue
        if not to.exists() or (anchor and anchor not in anchors(to)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "device" / "README.md"], ids=name_of)
def test_a_readme_works_where_only_it_is_shown(page: Path) -> None:
    """Package indexes show it without the files beside it."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    assert len(targets) >= 5
    assert [one for one in targets if not re.match(r"https://|#", one)] == []


def test_every_page_of_the_repository_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(page)):
            to = file_of(target, page)
            if to is not None and to.suffix == ".md":
                waiting.append(to)
    # The site's own home page, and pages read in the repository.
    apart = {ROOT / "docs" / "index.md", *(one for one in ROOT.glob("*.md"))}
    assert sorted(name_of(page) for page in set(PAGES) - seen - apart) == []


# Command lines


def shown_commands(text: str) -> Iterator[str]:
    """Command lines in code blocks: lines of scripts and sessions, also after ``&&`` and in YAML."""
    for block in FENCE.finditer(text):
        code = block["code"].replace("\\\n", " ")
        if block["language"] == "yaml":
            # A folded scalar is one command line.
            code = re.sub(r">-\n((?: +.*\n)+?)(?= *- |\Z)", lambda match: " ".join(match[1].split()) + "\n", code)
        for line in code.splitlines():
            yield from commands_of(line)


def commands_of(line: str) -> Iterator[str]:
    line = re.sub(r"^ *(?:- )?(?:run: |ExecStart=)?", "", line).removeprefix("$ ")
    line = re.sub(r"^next +(?=edgetl )", "", line)
    line = re.sub(r" {2,}\S+ {2,}.*$| +# .*$", "", line)
    for part in re.split(r" && | \| ", line):
        part = re.sub(r"^(?:\S*/)?(?=(?:edgetl|edgetl-device|python) )", "", part.strip())
        if re.match(r"(?:edgetl|edgetl-device|python -m edgetl_device)(?: |$)", part):
            yield re.sub(r" >>? \S+| >> \"[^\"]*\"", "", part)


def inline_commands(text: str) -> Iterator[str]:
    """Command lines in running text, such as ``edgetl train --resume RUN``, where arguments may be missing."""
    for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        if re.match(r"(?:edgetl|edgetl-device|python -m edgetl_device) ", code):
            head, brace, rest = code.partition("{")
            inner, _, rest = rest.partition("}")
            yield from (head + one + rest for one in inner.split(",")) if brace else [code]


# Commands whose options Typer passes as text to their own classes.
OPTIONS = {
    "adapt": AdaptOptions,
    "bench": BenchOptions,
    "deploy": DeployOptions,
    "field pull": PullOptions,
    "review": ReviewOptions,
    "import": ImportOptions,
    "quantize": QuantizeOptions,
    "train": TrainOptions,
}


class NoSuchCommand(Exception):
    """A shown command line that the real parsers refuse."""


def check(command: str, *, whole: bool) -> None:
    """Parse a command line with the real parser; with ``whole``, arguments are required.

    Raises:
        NoSuchCommand: An unknown command or option, a missing or superfluous argument, a value of another type.
    """
    words = shlex.split(command)
    if words[0] == "edgetl":
        check_edgetl(words[1:], whole=whole)
    elif words[0] == "edgetl-device":
        check_device(words[1:], whole=whole, as_text=True)
    else:
        check_device(words[3:], whole=whole, as_text=False)


def check_edgetl(words: list[str], *, whole: bool) -> None:
    command: Any = typer.main.get_command(app)
    path = ["edgetl"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] in ("COMMAND", "..."):
            return
        if words[0] not in command.commands:
            raise NoSuchCommand(f"{' '.join(path)} has no command {words[0]}")
        path.append(words[0])
        command = command.commands[words.pop(0)]
    if words == ["--help"]:
        return
    context = command.context_class(command, info_name=path[-1])
    flags = {
        flag: one
        for one in command.get_params(context)
        if one.param_type_name == "option"
        for flag in (*one.opts, *one.secondary_opts)
    }
    try:
        values, extra, order = command.make_parser(context).parse_args(list(words))
    except Exception as error:
        # In running text, an option may be named without its value.
        last = flags.get(words[-1]) if words else None
        if not whole and last is not None and not last.is_flag:
            return check_edgetl([*path[1:], *words[:-1]], whole=False)
        raise NoSuchCommand(f"{' '.join(path)}: {error}") from None
    if extra:
        raise NoSuchCommand(f"{' '.join(path)}: too many arguments: {extra}")
    for one in {id(param): param for param in order}.values():
        value = values.get(one.name)
        if one.param_type_name == "option" and isinstance(value, str) and not value.isupper():
            check_value(one, value, context)
    if whole and path[1] in OPTIONS:
        kind = OPTIONS[path[1]]
        typed = {one.name: values[one.name] for one in options_of(kind) if values.get(one.name)}
        try:
            kind.of(**parsed(kind, typed))
        except InputError as error:
            raise NoSuchCommand(f"{' '.join(path)}: {error}") from None
    # --print-config works without arguments.
    if whole and "--print-config" not in words:
        missing = [one.name for one in command.params if one.required and values.get(one.name) in (None, ())]
        if missing:
            raise NoSuchCommand(f"{' '.join(path)}: missing: {missing}")


def check_value(option: Any, value: str, context: Any) -> None:
    """Check a value that must be a number or one of a few words; files need not exist."""
    if "path" in str(getattr(option, "type_descriptor", getattr(option, "type", ""))).lower():
        return
    try:
        option.process_value(context, value)
    except Exception as error:
        raise NoSuchCommand(f"{option.opts[0]} {value}: {error}") from None


def check_device(words: list[str], *, whole: bool, as_text: bool) -> None:
    from edgetl_device.__main__ import _parser

    parser = _parser(as_text=as_text)
    if not whole:
        (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        (name, *_) = words or ["nothing"]
        if name not in found.choices:
            raise NoSuchCommand(f"{parser.prog} has no command {name}")
        return
    try:
        parser.parse_args(words)
    except InputError as error:
        raise NoSuchCommand(str(error)) from None


def refusal(command: str, *, whole: bool) -> str:
    """Return the error for a shown command line; empty if it is valid."""
    try:
        check(command, whole=whole)
    except NoSuchCommand as error:
        return f"{command}: {error}"
    return ""


def refusals(text: str) -> list[str]:
    # The command line reference has usages such as edgetl train [DATA] [OPTIONS].
    usages = re.sub(r" \[OPTIONS\]$", "", text, flags=re.MULTILINE)
    usages = re.sub(r" \[([A-Z_]+)\](?=$| )", r" \1", usages, flags=re.MULTILINE)
    found = [refusal(command, whole=True) for command in shown_commands(usages)]
    found += [refusal(command, whole=False) for command in inline_commands(text)]
    return [one for one in found if one]


@each_page
def test_shown_command_lines_parse(page: Path) -> None:
    assert refusals(page.read_text("utf-8")) == []


def test_the_check_finds_what_is_wrong() -> None:
    text = """
Use `edgetl train --no-such RUN`.

```
$ edgetl quantize runs/a --int8 \\
    --max-dropp 0.5
edgetl nothing
edgetl train photos/ --epochs many   # a comment
cd there && edgetl bench
.venv/bin/edgetl verify a b | tail
python -m edgetl_device bench a --thread-count 2 > x.json
edgetl verify flowers.edgetl && edgetl bench flowers.edgetl --threads 1,2
edge/bin/edgetl-device classify flowers.edgetl --nothing
edgetl-device verify flowers.edgetl --json
```

```yaml
      - run: >-
          .venv/bin/edgetl compare a.json
          --fail-iff "x>1" >> "$SUMMARY"
      - name: next
```
"""
    refused = [re.split(" |:", one.removeprefix("python -m "))[1] for one in refusals(text)]
    assert refused == ["quantize", "nothing", "train", "bench", "verify", "bench", "classify", "compare", "train"]


# The site


def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_those_of_this_code() -> None:
    for path, text in generate().pages().items():
        assert path.read_text("utf-8") == text, f"{name_of(path)}: run python docs/generate.py"


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?((?:https?:)?//[^\"'> ]+)", page.read_text()
        )
        assert loaded == [], page.name
    assert (tmp_path / "site" / "changelog.html").exists()
    # Links to source folders are not on the site.
    assert not list((tmp_path / "site").rglob("*.py"))
    shutil.rmtree(tmp_path / "site")
