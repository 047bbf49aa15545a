"""Which pipeline serves this URL? One client, several APIs, each with a policy of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from holdfast._wire import Family, Handler, Q, R, URLLike
from holdfast.call import Owner
from holdfast.clock import Clock

if TYPE_CHECKING:
    from holdfast.core.health import Health

__all__ = ["Bindable", "Pipelines", "origin_of"]

_AS_IT_IS = "/%:@!$&'()*+,;=~"
"""What may stand in a path; all else is written with percent signs by both libraries."""
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def origin_of(url: URLLike) -> str:
    """``scheme://host:port``, the port always there: the default key of circuits, limits and budgets."""
    return _origin(url.scheme, url.host, url.port)


@lru_cache(1024)
def _origin(scheme: str, host: str, port: int | None) -> str:
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        import idna  # the libraries bring it, and each shows other hosts in letters than the other

        host = idna.encode(host).decode()
    return f"{scheme}://{host}:{_PORTS.get(scheme) if port is None else port}"


class Bindable(Protocol):
    """What a transport needs of a pipeline, and of several under one roof."""

    def bind(self, inner: Handler[Q, R], family: Family[Q, R], owner: Owner) -> Handler[Q, R]: ...
    def dismiss(self, make_error: Callable[[], Exception], owner: Owner) -> None: ...
    def snapshot(self) -> dict[str, Any]: ...
    def describe(self) -> dict[str, Any]: ...
    def health(self) -> Health: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def has_cache(self) -> bool: ...
    async def purge(
        self,
        *,
        url: str | None = None,
        prefix: str | None = None,
        group: str | None = None,
        operation: str | None = None,
    ) -> int: ...
    def offline(self, *, probe_every: float | None = ...) -> None: ...
    def online(self) -> None: ...
    def is_offline(self, key: str | None = None) -> bool: ...


class Pipelines:
    """Pipelines by URL prefix; made by `Pipeline.by_origin`. The longest prefix wins, path segments stay whole.

    Each pipeline keeps its own circuits, limits, budget and cache. `snapshot` tells of all of them at once.
    """

    def __init__(self, by_prefix: Mapping[str, Bindable], default: Bindable) -> None:
        self._default = default
        self._by_origin: dict[str, list[tuple[bytes, Bindable]]] = {}
        self._prefixes = {id(pipeline): prefix for prefix, pipeline in reversed([*by_prefix.items()])}
        for prefix, pipeline in by_prefix.items():
            origin, path = _split(prefix)
            self._by_origin.setdefault(origin, []).append((path, pipeline))
        for candidates in self._by_origin.values():
            candidates.sort(key=lambda candidate: len(candidate[0]), reverse=True)

    def __repr__(self) -> str:
        told = [
            f"{origin}{path.decode('ascii')}: {pipeline!r}"
            for origin, candidates in self._by_origin.items()
            for path, pipeline in candidates
        ]
        return f"<{type(self).__name__} {', '.join([*told, f'default: {self._default!r}'])}>"

    @property
    def all(self) -> list[Bindable]:
        """Every pipeline once, the default last."""
        found = {id(pipeline): pipeline for group in self._by_origin.values() for _, pipeline in group}
        found.pop(id(self._default), None)
        return [*found.values(), self._default]

    def choose(self, url: URLLike) -> Bindable:
        """The pipeline for a URL."""
        candidates = self._by_origin.get(origin_of(url))
        if candidates is not None:
            path = url.raw_path.partition(b"?")[0]
            for prefix, pipeline in candidates:
                if path.startswith(prefix) and (
                    len(path) == len(prefix) or path[len(prefix) : len(prefix) + 1] == b"/"
                ):
                    return pipeline
        return self._default

    def bind(self, inner: Handler[Q, R], family: Family[Q, R], owner: Owner) -> Handler[Q, R]:
        handlers: dict[int, Handler[Q, R]] = {
            id(pipeline): pipeline.bind(inner, family, owner) for pipeline in self.all
        }

        async def handle(request: Q) -> R:
            return await handlers[id(self.choose(request.url))](request)

        return handle

    def snapshot(self) -> dict[str, Any]:
        """All of them in one: ``origins`` as in `Pipeline.snapshot`, anything else by the pipeline's first prefix.

        A key that two pipelines know (two prefixes of one origin) carries the longer prefix behind it.
        """
        merged: dict[str, Any] = {"origins": {}}
        for pipeline in reversed(self.all):  # the default first: its keys stay as they are
            prefix = self._prefixes.get(id(pipeline), "default")
            for name, part in pipeline.snapshot().items():
                if name != "origins":
                    merged.setdefault(name, {})[prefix] = part
                    continue
                for key, value in part.items():
                    merged["origins"][key if key not in merged["origins"] else f"{key} ({prefix})"] = value
        return merged

    def describe(self) -> dict[str, Any]:
        """`Pipeline.describe` of each, by its first prefix; ``default`` is the one for all else."""
        return {self._prefixes.get(id(pipeline), "default"): pipeline.describe() for pipeline in self.all}

    def health(self) -> Health:
        """All of them in one, keys named as in `snapshot`: down if all that are in use are down."""
        from holdfast.core.health import together

        named = [(self._prefixes.get(id(pipeline), "default"), pipeline) for pipeline in reversed(self.all)]
        return together({prefix: pipeline.health() for prefix, pipeline in named})

    @property
    def clock(self) -> Clock:
        """That of the default pipeline."""
        return self._default.clock

    @property
    def has_cache(self) -> bool:
        """Whether any of them has."""
        return any(pipeline.has_cache for pipeline in self.all)

    async def purge(
        self,
        *,
        url: str | None = None,
        prefix: str | None = None,
        group: str | None = None,
        operation: str | None = None,
    ) -> int:
        """As `Pipeline.purge`, in all pipelines that have a cache; the answers of them all."""
        caching = [pipeline for pipeline in self.all if pipeline.has_cache]
        if not caching:
            raise ValueError("none of these pipelines has a cache (cache=None)")
        return sum([await one.purge(url=url, prefix=prefix, group=group, operation=operation) for one in caching])

    def offline(self, *, probe_every: float | None = 30.0) -> None:
        """`Pipeline.offline` for each of them; each has a probe of its own, and comes back by itself."""
        for pipeline in self.all:
            pipeline.offline(probe_every=probe_every)

    def online(self) -> None:
        """`Pipeline.online` for each of them."""
        for pipeline in self.all:
            pipeline.online()

    def is_offline(self, key: str | None = None) -> bool:
        """`Pipeline.is_offline` of any of them."""
        return any(pipeline.is_offline(key) for pipeline in self.all)

    def dismiss(self, make_error: Callable[[], Exception], owner: Owner) -> None:
        """Send away the calls of one transport that stand in any queue."""
        for pipeline in self.all:
            pipeline.dismiss(make_error, owner)


def _split(prefix: str) -> tuple[str, bytes]:
    parts = urlsplit(prefix)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"by_origin takes prefixes such as 'https://api.example.com/v3', got {prefix!r}")
    return _origin(parts.scheme, parts.hostname, parts.port), quote(parts.path, safe=_AS_IT_IS).rstrip("/").encode()
