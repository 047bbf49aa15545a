"""What would become of this call? The policies in force for it, and under which keys they count it. Nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from holdfast.by_origin import origin_of
from holdfast.core.limits import Scope, key_for
from holdfast.core.masking import masked_query

if TYPE_CHECKING:
    from holdfast.client.channel import Channel
    from holdfast.client.plan import Plan
    from holdfast.pipeline import Pipeline

__all__ = ["explain"]


def explain(channel: Channel, plan: Plan, accept: bytes | None) -> dict[str, Any]:
    """See `Service.explain`."""
    request = channel.request(plan, accept)
    options: Mapping[str, Any] = request.extensions["holdfast"]
    key = options.get("key") or origin_of(request.url)
    base, mark, query = str(request.url).partition("?")
    told: dict[str, Any] = {
        "operation": plan.operation,
        "template": plan.template,
        "method": plan.method,
        "url": f"{base}{mark}{masked_query(query)}",
        "headers": sorted(request.headers.keys()),
        "auth": None if (auth := channel.auth_of(plan)) is None else type(auth).__name__,
        "key": key,
        "around_call": len(channel.around_call) + len(plan.around_call),
        "around_attempt": len(channel.around_attempt) + len(plan.around_attempt),
    }
    pipeline: Any = channel.backend.pipeline
    if pipeline is None:  # a lent client has none
        return told
    chosen: Pipeline = pipeline.choose(request.url) if hasattr(pipeline, "choose") else pipeline
    return {**told, **_policies(chosen.settings, request, options, key)}


def _policies(settings: Mapping[str, Any], request: Any, options: Mapping[str, Any], key: str) -> dict[str, Any]:
    scope = Scope(key, options.get("operation"), options.get("identity"))
    retry, breaker, limits = settings["retry"], settings["breaker"], settings["rate_limit"]
    single = not isinstance(limits, (list, tuple))
    every: list[Any] = [] if limits is None else [limits] if single else [*limits]
    attempts = 1 if retry is None else options.get("attempts", retry.attempts)
    keys = settings["idempotency"]
    keyed = "idempotency-key" in request.headers or (keys is not None and request.method in keys.methods)
    # Also after the server may have acted on it; what it cannot have acted on is always sent again.
    again = attempts > 1 and (
        keyed or bool(options.get("idempotent")) or (retry is not None and request.method in retry.methods)
    )
    return {
        "deadline": options.get("deadline", settings["deadline"]),
        "attempt_timeout": options.get("attempt_timeout", settings["attempt_timeout"]),
        "attempts": attempts,
        "sent_again": again,
        "breaker": None if breaker is None else {"key": _circuit(breaker.key, scope, options, request)},
        "concurrency": None if settings["concurrency"] is None else {"key": key},
        "rate_limit": [{"limit": repr(limit), "key": key_for(limit.key, scope)} for limit in every],
        "cache": _cache(settings["cache"], request, options),
        **{name: None if settings[name] is None else repr(settings[name]) for name in ("retry", "hedge", "fallback")},
    }


def _circuit(key: Any, scope: Scope, options: Mapping[str, Any], request: Any) -> str:
    if key is None or key == "operation":
        return key_for(key or "origin", scope)
    return scope.key if options.get("key") is not None else key(request)


def _cache(cache: Any, request: Any, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if cache is None:
        return None
    from holdfast.core.caching.rules import Rules

    url = urlsplit(str(request.url))._replace(fragment="").geturl()
    rule = Rules(cache.rules).find(url, options.get("operation"), options.get("template")) if cache.rules else None
    return {
        "use": options.get("cache", "as it says"),
        "rule": None if rule is None else repr(rule),
        "identity": options.get("identity"),
    }
