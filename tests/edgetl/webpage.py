"""Parse HTML reports into text, tags and attributes. For tests."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import edgetl.reports

SCRIPT = (Path(edgetl.reports.__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")


class Page(HTMLParser):
    """The text, the tags and the attributes of a page; unclosed or crossed tags are an error."""

    VOID = frozenset({"meta", "img", "path", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.html = html
        self.feed(html)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def assert_needs_nothing_else(self) -> None:
        """Fail if the page loads resources, or can run anything but the one script that edgetl ships."""
        assert len(self.named("script")) == 1
        assert f"<script>{SCRIPT}</script>" in self.html
        assert not self.named("link")
        for _, attributes in self.tags:
            assert not {"srcset", "onload", "onclick", "onerror"} & set(attributes)
            assert "src" not in attributes or (attributes["src"] or "").startswith("data:image/jpeg;base64,")
        assert not re.search(r"https?:|@import|url\(|import\(|fetch\(|innerHTML|eval\(", self.html)
        (policy,) = (one for one in self.named("meta") if one.get("http-equiv") == "Content-Security-Policy")
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
        assert policy["content"] == (
            f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
        )
        for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 640px"):
            assert rule in self.html
        # The contents name each section, and lead to it.
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        local = {str(one["href"])[1:] for one in self.named("a") if str(one.get("href")).startswith("#")}
        assert local <= set(ids)
        assert {one.get("id") for one in self.named("h2")} <= local
        # Photos apart, a page is small.
        assert len(re.sub(r"data:image/jpeg;base64,[^\"]*", "", self.html)) < 1_000_000

    def links(self) -> list[str]:
        """Return the links to other files."""
        return [str(one["href"]) for one in self.named("a") if not str(one["href"]).startswith("#")]
