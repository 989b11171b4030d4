"""Parse HTML reports into text, tags and attributes. For tests."""

from __future__ import annotations

import re
from html.parser import HTMLParser


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
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def assert_needs_nothing_else(self) -> None:
        """Fail if the page runs scripts or loads resources."""
        assert not self.named("script")
        assert not self.named("link")
        for _, attributes in self.tags:
            assert not {"srcset", "onload", "onclick", "onerror"} & set(attributes)
            assert "src" not in attributes or (attributes["src"] or "").startswith("data:image/jpeg;base64,")
        assert not re.search(r"https?:|@import|url\(", self.html)
        (policy,) = (one for one in self.named("meta") if one.get("http-equiv") == "Content-Security-Policy")
        assert (policy["content"] or "").startswith("default-src 'none'")
        for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 640px"):
            assert rule in self.html
