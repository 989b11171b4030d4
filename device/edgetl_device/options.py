"""Options of a command, each defined once, as a field of a frozen dataclass.

Keyword arguments, checks, flags, configuration files, help and the tables in the docs are derived from the fields.
A field's type is ``bool``, ``int``, ``float``, ``str``, ``tuple[int, ...]`` or ``tuple[str, ...]``, or ``int | str``
with a :class:`Form`. It may also be None if the default depends on something else, which ``unset`` describes. Numbers
are finite and bounded.
"""

from __future__ import annotations

import math
import numbers
import os
import shlex
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import InputError, OptionError, as_flag
from .text import closest

if TYPE_CHECKING:
    import argparse

# The types of options.
Value = None | bool | int | float | str | tuple[int, ...] | tuple[str, ...]
O = TypeVar("O", bound="Options")  # noqa: E741  # a class of options

BASICS = "Basics"

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_METAVARS = {bool: "", int: "N", float: "NUMBER", str: "TEXT"}
_WIDEST_CHOICES = 24


@dataclass(frozen=True)
class Form:
    """The form of a value that is a number or a text.

    Attributes:
        read: Returns the one form of a value that options keep; raises InputError for what is none.
        bounds: Allowed values, in words.
    """

    read: Callable[[Any], int | str]
    bounds: str


def option(
    default: Any,
    *,
    help: str,
    group: str = BASICS,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    metavar: str = "",
    unset: str = "",
    aliases: Sequence[str] = (),
    split: Callable[[str], list[str]] | None = None,
    form: Form | None = None,
) -> Any:
    """Declare an option as the field of a dataclass that inherits from :class:`Options`.

    Args:
        default: The default value.
        help: One or two short sentences, with the unit if there is one.
        group: The heading in help and docs.
        low: Inclusive minimum, of each item for tuples.
        above: Exclusive minimum.
        high: Inclusive maximum.
        choices: Allowed texts.
        metavar: Name of the value in help, if neither type nor choices say it.
        unset: Description of the default None.
        aliases: Further flags, with dashes.
        split: Splits text into the items of a tuple; by default at commas.
        form: Of an ``int | str``.
    """
    own = {
        "help": help,
        "group": group,
        "low": low,
        "above": above,
        "high": high,
        "choices": tuple(choices),
        "metavar": metavar,
        "unset": unset,
        "aliases": tuple(aliases),
        "split": split or _at_commas,
        "form": form,
    }
    return field(default=default, metadata={"option": own})


@dataclass(frozen=True)
class Option:
    """An option, as defined by its field.

    Attributes:
        name: Name of the field, the keyword argument and the key in a configuration file.
        kind: ``bool``, ``int``, ``float`` or ``str``: the type of its value, or of each item.
        many: Whether its value is a tuple.
        optional: Whether it may be None.
        default: The default value.
        help: As in :func:`option`, like all other attributes.
    """

    name: str
    kind: type
    many: bool
    optional: bool
    default: Any
    help: str
    group: str
    low: float | None
    above: float | None
    high: float | None
    choices: tuple[str, ...]
    metavar: str
    unset: str
    aliases: tuple[str, ...]
    split: Callable[[str], list[str]]
    form: Form | None

    @property
    def flag(self) -> str:
        """Its flag: ``--batch-size``."""
        return as_flag(self.name)

    @property
    def negative(self) -> str:
        """The flag that switches a ``bool`` off."""
        return f"--no-{self.flag[2:]}"

    @property
    def value_name(self) -> str:
        """Name of its value in help; empty for a ``bool``."""
        if self.metavar:
            return self.metavar
        listed = "|".join(self.choices)
        if self.choices:
            return listed if len(listed) <= _WIDEST_CHOICES else "NAME"
        return _METAVARS[self.kind] + (",..." if self.many else "")

    @property
    def bounds(self) -> str:
        """Allowed values (of items): ``1 to 256``, ``over 0 and at most 1``, ``one of a, b``; may be empty."""
        if self.form:
            return self.form.bounds
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.above is not None:
            return f"over {_number(self.above)}" + ("" if self.high is None else f" and at most {_number(self.high)}")
        if self.low is not None:
            return f"{_number(self.low)} " + ("or more" if self.high is None else f"to {_number(self.high)}")
        return "" if self.high is None else f"at most {_number(self.high)}"

    @property
    def help_text(self) -> str:
        """Its help text: what it does, then bounds and default in brackets."""
        bounds = "" if self.value_name == "|".join(self.choices) != "" else self.bounds
        default = f"default: {self.default_text}" if self.default_text and self.kind is not bool else ""
        facts = "; ".join(filter(None, (bounds, default)))
        return f"{self.help}  [{facts}]" if facts else self.help

    @property
    def default_text(self) -> str:
        """Its default as text; empty for a ``bool`` that is off and for an empty value."""
        if self.default is None or self.default == ():
            return self.unset
        if self.kind is bool:
            return "on" if self.default else ""
        return self.unset or self.text(self.default)

    def check(self, value: Any) -> Any:
        """Convert a value to the field's type: a list to a tuple, a whole number to a float, a path to text.

        Raises:
            OptionError: It has another type, is not finite, or is out of bounds.
        """
        if value is None and self.optional:
            return None
        if not self.many:
            return self._item(value, value)
        if isinstance(value, str):
            return self.parse([value])
        items = value if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)) else [value]
        checked = [self._item(item, value) for item in items]
        if self.kind is str:
            # As on the command line, where a list of texts cannot be told from a list of items.
            checked = [piece.strip() for item in checked for piece in self.split(item) if piece.strip()]
        return self._several(tuple(checked), value)

    def parse(self, texts: Sequence[str]) -> Any:
        """Parse text from a command line: the last occurrence counts, but a tuple takes all of them.

        Raises:
            OptionError: They cannot be parsed, or the value is out of bounds.
        """
        if not self.many:
            return self._item(self._read(texts[-1], texts[-1]), texts[-1])
        whole = ",".join(texts)
        items = [item.strip() for text in texts for item in self.split(text) if item.strip()]
        return self._several(tuple(self._item(self._read(item, whole), whole) for item in items), whole)

    def text(self, value: Any) -> str:
        """Return a value as text, the items of a tuple separated by commas."""
        if self.many:
            return ",".join(map(str, value))
        return _number(value) if self.kind is float else str(value)

    def arguments(self, value: Any) -> list[str]:
        """Return the command-line flags for a value other than None."""
        if self.kind is bool:
            return [self.flag if value else self.negative]
        # With an equals sign, the value may begin with a dash.
        return [f"{self.flag}={item}" for item in (value if self.many else [value])]

    def wrong(self, value: Any, must_be: str, *, hint: str = "") -> OptionError:
        """Return the error for a value."""
        return OptionError(f"{{{self.name}=}}: must be {must_be}", hint=hint, **{self.name: value})

    def _several(self, items: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        if not items and self.default != ():
            raise OptionError(f"{{{self.name}=}}: at least one is needed", **{self.name: value})
        return items

    def _read(self, text: str, whole: str) -> Any:
        try:
            return self.kind(text)
        except ValueError:
            wanted = _KINDS[self.kind] if not self.many else f"{_KINDS[self.kind]}s with commas".removeprefix("a ")
            raise self.wrong(whole, wanted) from None

    def _item(self, item: Any, value: Any) -> Any:
        """Convert and check one item of a tuple, or a single value."""
        if self.form:
            try:
                return self.form.read(item)
            except InputError:
                raise self.wrong(value, self.bounds) from None
        if self.kind is str and isinstance(item, os.PathLike):
            item = os.fspath(item)
        wanted = {bool: bool, int: numbers.Integral, float: numbers.Real, str: str}[self.kind]
        if not isinstance(item, wanted) or (isinstance(item, bool) and self.kind is not bool):
            raise self.wrong(value, _KINDS[self.kind])
        try:
            found = self.kind(item)
        except OverflowError:  # an int beyond what a float holds
            raise self.wrong(value, self.bounds or "a finite number") from None
        if self.kind is str and (not found or "\0" in found):
            raise self.wrong(value, "text that is not empty" if not found else "text without NUL")
        if self.kind is float and not math.isfinite(found):
            raise self.wrong(value, "a finite number" if not self.bounds else self.bounds)
        below = (self.low is not None and found < self.low) or (self.above is not None and found <= self.above)
        if below or (self.high is not None and found > self.high):
            raise self.wrong(value, self.bounds)
        if self.choices and found not in self.choices:
            raise self.wrong(value, self.bounds, hint=closest(str(found), map(str, self.choices)))
        return found


class Options:
    """Base of the options of a verb: a frozen dataclass whose fields are made with :func:`option`.

    The constructor checks the values, first one by one, then together.
    """

    def __post_init__(self) -> None:
        for one in options_of(type(self)):
            object.__setattr__(self, one.name, one.check(getattr(self, one.name)))
        self.check_together()

    def check_together(self) -> None:
        """Refuse contradictory values, each of which is valid by itself.

        Raises:
            OptionError: Two values contradict each other.
        """

    @classmethod
    def of(cls: type[O], **keywords: Any) -> O:
        """Create options from values by name.

        Raises:
            OptionError: There is no such option, or a value is wrong.
        """
        check_names(cls, keywords)
        return cls(**keywords)

    def changed(self) -> dict[str, Value]:
        """Return the values that differ from the defaults, by name."""
        pairs = ((one, getattr(self, one.name)) for one in options_of(type(self)))
        return {one.name: value for one, value in pairs if value != one.default}

    def by_name(self) -> dict[str, Value]:
        """Return all values by name."""
        return {one.name: getattr(self, one.name) for one in options_of(type(self))}

    def to_json(self) -> dict[str, Value | list[int | str]]:
        """Return all values as a JSON object."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.by_name().items()}


def options_of(kind: type[Options]) -> tuple[Option, ...]:
    """Return the options of a class in the order of its fields."""
    return _options_of(typing.cast(Hashable, kind))


@cache
def _options_of(kind: Any) -> tuple[Option, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(_defined(one, hints[one.name]) for one in fields(kind))


def groups_of(kind: type[Options]) -> dict[str, list[Option]]:
    """Return the options of a class by group, in the order of the fields; the basic ones come first."""
    found: dict[str, list[Option]] = {BASICS: []}
    for one in options_of(kind):
        found.setdefault(one.group, []).append(one)
    return {group: options for group, options in found.items() if options}


def check_names(kind: type[Options], names: Iterable[str], *, where: str = "") -> None:
    """Refuse unknown option names; ``where`` is the file that contains them.

    Raises:
        OptionError: A name is unknown; the message suggests the option with the most similar name.
    """
    known = [one.name for one in options_of(kind)]
    for name in names:
        if name not in known:
            raise OptionError(
                f"{where}: there is no option {name!r}" if where else f"there is no option {name!r}",
                hint=closest(name, known, f"There are {', '.join(known)}."),
            )


def add_arguments(parser: argparse.ArgumentParser, kind: type[Options]) -> None:
    """Add a flag for each option to a parser, under headings; :func:`from_arguments` reads what was given."""
    import argparse

    for group, options in groups_of(kind).items():
        titled = parser.add_argument_group(group.lower())
        for one in options:
            help = one.help_text.replace("%", "%%")
            shared: dict[str, Any] = {"dest": one.name, "default": argparse.SUPPRESS, "help": help}
            if one.kind is bool:
                titled.add_argument(one.flag, *one.aliases, action=argparse.BooleanOptionalAction, **shared)
            else:
                shared["metavar"] = one.value_name.replace("%", "%%")
                titled.add_argument(one.flag, *one.aliases, action="append", **shared)


def from_arguments(kind: type[O], given: argparse.Namespace) -> O:
    """Return the options parsed by a parser with :func:`add_arguments`.

    Raises:
        OptionError: A value is wrong.
    """
    return kind.of(**parsed(kind, vars(given)))


def parsed(kind: type[Options], given: Mapping[str, Any]) -> dict[str, Value]:
    """Parse the options given on a command line, texts or booleans by name; leave out options that were not given.

    Raises:
        OptionError: A text cannot be parsed.
    """
    return {
        one.name: given[one.name] if one.kind is bool else one.parse(given[one.name])
        for one in options_of(kind)
        if given.get(one.name) not in (None, [], ())
    }


def arguments(options: Options) -> list[str]:
    """Return the flags that recreate these options: those that differ from the defaults."""
    changed = options.changed()
    return [
        word for one in options_of(type(options)) if one.name in changed for word in one.arguments(changed[one.name])
    ]


def command_text(words: Sequence[str], options: Options) -> str:
    """Return a command line to read and copy: ``words``, then a flag for each changed option, quoted for a shell.

    Documents that record it travel, so of each path it has only the last part.
    """
    changed, found = options.changed(), list(map(_last_part, words))
    for one in options_of(type(options)):
        if one.name not in changed:
            continue
        value = changed[one.name]
        if one.kind is bool or (one.many and one.split is not _at_commas):
            # The parts of a delegate: its path, and values of its options.
            found += ["=".join(part.rpartition(os.sep)[2] for part in word.split("=")) for word in one.arguments(value)]
        else:
            text = _last_part(one.text(value))
            found += [f"{one.flag}={text}"] if text.startswith("-") else [one.flag, text]
    return shlex.join(found)


def _last_part(text: str) -> str:
    return Path(text).resolve().name if os.sep in text or text in (".", "..") else text


def markdown_table(kind: type[Options]) -> str:
    """Return all options as Markdown: a table for each group."""
    parts = []
    for group, options in groups_of(kind).items():
        rows = [f"### {group}", "", "| option | value | default | what it does |", "|---|---|---|---|"]
        for one in options:
            flags = ", ".join(f"`{flag}`" for flag in _flags(one))
            cells = (flags, _values(one), one.default_text or ("off" if one.kind is bool else ""), one.help)
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _flags(one: Option) -> list[str]:
    return [one.negative if one.default is True else one.flag, *one.aliases]


def _values(one: Option) -> str:
    if one.kind is bool:
        return ""
    return one.bounds + (", several with commas" if one.many and one.bounds else "") or one.value_name


def _defined(one: Field[Any], hint: Any) -> Option:
    if "option" not in one.metadata or one.default is MISSING:
        raise TypeError(f"{one.name} is not made with option()")
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    optional = type(None) in typing.get_args(hint)
    kind = inner[0] if optional else hint
    many = typing.get_origin(kind) is tuple
    if one.metadata["option"]["form"]:
        kind = str
    return Option(
        name=one.name,
        kind=typing.get_args(kind)[0] if many else kind,
        many=many,
        optional=optional,
        default=one.default,
        **one.metadata["option"],
    )


def _at_commas(text: str) -> list[str]:
    return text.split(",")


def _number(value: float) -> str:
    """Format a number without trailing zeros: 1, 0.15, 3e-05."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def refuse_json_value(command: str, arguments: Sequence[str]) -> None:
    """Refuse ``--json FILE`` and ``--json -``, which wrote and printed documents in earlier versions.

    Raises:
        InputError: A value that can be no argument of the command follows ``--json``.
    """
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "--json" and (value == "-" or value.endswith(".json")):
            file = value
        elif flag.startswith("--json="):
            file = flag.removeprefix("--json=")
        else:
            continue
        hint = "--json alone prints on stdout." if file == "-" else f"Write the file with --out {file}"
        raise InputError(f"{command} --json {file}: --json takes no value", hint=hint)
