"""MkDocs hooks: add pages from outside docs/ to the site, and make links to them work there as in the repository.

In the repository a link is a path between files. On the site it leads to the page of that file or, for a file without a
page (a script, a result), to the file in the public repository.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/edgetl/edgetl/tree/main"
# Links of the READMEs, which package indexes show without the files beside them.
FILES = "https://github.com/edgetl/edgetl/blob/main/"

# File in the repository -> page of the site.
OUTSIDE = {
    "device/README.md": "reference/device.md",
    "benchmarks/METHOD.md": "evidence/method.md",
    "benchmarks/results/FIGURES.md": "evidence/figures.md",
    "models/README.md": "evidence/weights.md",
    **{
        f"models/{card.parent.name}/CARD.md": f"evidence/weights/{card.parent.name}.md"
        for card in ROOT.glob("models/*/CARD.md")
    },
}
# CHANGELOG.md and its neighbours, as far as they exist.
BESIDE = {path.name: path.name.lower() for path in sorted(ROOT.glob("*.md")) if path.name != "README.md"}
PAGES = {**OUTSIDE, **BESIDE}
SOURCES = {page: source for source, page in PAGES.items()}

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\n]+)\]\((?P<target>[^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages beside README.md to the last section of the navigation."""
    assert config.nav is not None
    (section,) = config.nav[-1].values()
    section.extend(BESIDE.values())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made from files outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages of the site."""
    del config, files
    return relink(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Remove the roles of references in docstrings (``:func:``), which only editors understand."""
    del page, config, files
    return re.sub(r":(?:func|meth|class|mod|attr|data):(<code>)~?", r"\1", html)


def relink(markdown: str, page: str) -> str:
    """Return the text of a page with links between files of the repository turned into links between pages."""
    source = SOURCES.get(page, f"docs/{page}")

    def replaced(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        path, hash, anchor = target.partition("#")
        if path.startswith(FILES):
            file = path.removeprefix(FILES)
        elif not path or re.match(r"[a-z]+:", target):
            return match[0]
        else:
            file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if file == "README.md":
            file = "docs/index.md"
        to = PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else None)
        if to is None:
            # Keep a wrong path, so that the build fails.
            return f"[{text}]({REPOSITORY}/{file}{hash}{anchor})" if (ROOT / file).exists() else match[0]
        return f"[{text}]({os.path.relpath(to, posixpath.dirname(page) or '.')}{hash}{anchor})"

    # Code is left as it is.
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)
