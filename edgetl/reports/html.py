"""Templates of the pages: the one place where text is escaped, and where a page's script is allowed."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from edgetl import __version__
from edgetl._lib import extras
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.text import shown_lines

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPT = _TEMPLATES / "page.js"


def fill(template: str, **values: Any) -> str:
    """Render a page. All values are escaped, and an undefined name in the template is an error.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    html: str = environment().get_template(template).render(version=__version__, **values)
    return html


def script_hash() -> str:
    """Return the hash of the pages' script, as a Content Security Policy names it: the browser runs nothing else."""
    return f"sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.read_bytes()).digest()).decode()}"


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
        keep_trailing_newline=True,
    )
    made.globals["wilson95"] = wilson95
    made.globals["script_hash"] = script_hash()
    return made
