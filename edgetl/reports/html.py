"""Templates of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetl import __version__
from edgetl._lib import extras
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.text import shown_lines

_TEMPLATES = Path(__file__).parent / "templates"


def fill(template: str, **values: Any) -> str:
    """Render a page. All values are escaped, and an undefined name in the template is an error.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    html: str = environment().get_template(template).render(version=__version__, **values)
    return html


def environment() -> Any:
    """Return the Jinja2 environment of all pages.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    jinja2 = extras.require("jinja2", extra="report")
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        # Escape characters that change the direction of the surrounding text, too.
        finalize=lambda value: shown_lines(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["wilson95"] = wilson95
    return made
