"""What of WordPress's REST API does a fleet's operator ask for? The newest posts, and the comments that wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from holdfast.client import Call, Query, Reply, Resource, Service, accessor

__all__ = ["Comment", "Post", "Text", "WordPress", "total"]


@dataclass(frozen=True, slots=True)
class Text:
    """HTML, as a theme would show it."""

    rendered: str


@dataclass(frozen=True, slots=True)
class Post:
    id: int
    date_gmt: datetime  # UTC, though WordPress does not say so
    link: str
    title: Text


@dataclass(frozen=True, slots=True)
class Comment:
    id: int
    date_gmt: datetime


class Posts(Resource, path="/wp/v2/posts"):
    def newest(self, count: int = 1) -> Call[list[Post]]:
        query: Query = {"per_page": count, "order": "desc", "_fields": "id,date_gmt,link,title"}
        return self.GET("", list[Post], query=query).using(auth=None)  # everybody may read them


class Comments(Resource, path="/wp/v2/comments"):
    def held(self, count: int = 1) -> Call[list[Comment]]:
        """Those that wait for a moderator, the oldest first. The one that is asked with the site's password."""
        query: Query = {"status": "hold", "per_page": count, "order": "asc", "_fields": "id,date_gmt"}
        return self.GET("", list[Comment], query=query)


class WordPress(Service):
    posts = accessor(Posts)
    comments = accessor(Comments)


def total(reply: Reply[list[Post]] | Reply[list[Comment]]) -> int:
    """How many there are in all: in a header field, so that one item is enough to ask for."""
    return int(reply.headers["X-WP-Total"])
