"""A person at a browser, as far as the pages of oidc-provider ask for one: fills each form in, and sends it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx

__all__ = ["visit"]


class Form(HTMLParser):
    """The first form of a page: its action, and its fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = named.get("action", "")
        if tag == "input" and "name" in named:
            self.fields[named["name"]] = named.get("value", "")


async def visit(url: str, *, until: str | None = None, **answers: Any) -> str:
    """Go there, answer what is asked, and return the URL that begins with ``until``, or the last page's text."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        response = await browser.get(url)
        for _ in range(20):
            if response.is_redirect:
                url = urljoin(str(response.url), response.headers["location"])
                if until is not None and url.startswith(until):
                    return url
                response = await browser.get(url)
                continue
            form = Form(response.text)
            if form.action is None:
                return response.text
            fields = {**form.fields, **{name: value for name, value in answers.items() if name in form.fields}}
            response = await browser.post(urljoin(str(response.url), form.action), data=fields)
    raise AssertionError(f"the pages lead nowhere: {response.url}")
