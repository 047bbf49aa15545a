"""What becomes of a call that the server has accepted, and not answered yet? It is asked until it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from holdfast._deadline import deadline, in_force
from holdfast.client.channel import Reading
from holdfast.client.failures import shown_url
from holdfast.client.fields import said_to_anyone
from holdfast.client.plan import NOTHING, Plan, changed
from holdfast.core.document import Malformed, json_text, read_json
from holdfast.core.failure import EXCERPT
from holdfast.core.polling import Ended, Progressing, Rule, by_state, next_pause, read_answer
from holdfast.core.retry_after import server_delay
from holdfast.core.value import Value
from holdfast.errors import DeadlineExceeded, ForeignOrigin, InvalidInput, OperationFailed

if TYPE_CHECKING:
    from holdfast._wire import ReceivedLike
    from holdfast.client.channel import Channel

__all__ = ["OnPoll", "Poll", "until_done"]

_MONITORS: Final = ("operation-location", "azure-asyncoperation")
"""Fields with the URL of a resource that tells of the operation, where Location has that of its result."""

_MAX_DEPTH: Final = 100


class Poll(Value):
    """One answer about an operation: ``url`` to ask at, with which it can be taken up again; the server's ``state``.

    ``after``: seconds since it was accepted. ``answer`` is the JSON of it, None where there is none.
    """

    def __init__(self, url: str, state: str | None, after: float, answer: Any) -> None:
        self.url: Final = url
        self.state: Final = state
        self.after: Final = after
        self.answer: Final = answer


OnPoll: TypeAlias = Callable[[Poll], object]


async def until_done(
    channel: Channel,
    plan: Plan,
    reading: Reading,
    *,
    rule: Rule | None,
    every: float,
    seconds: float | None,
    on_poll: OnPoll | None,
) -> Any:
    """See `Call.until_done`."""
    if not 0 < every < float("inf"):
        raise InvalidInput(f"every must be more than 0 seconds, got {every}", argument="every")
    operation = _Operation(channel, plan, reading, rule, every, on_poll)
    if seconds is None:
        return await operation.run()
    with deadline(seconds, clock=channel.clock):
        return await operation.run()


class _Operation:
    def __init__(
        self, channel: Channel, plan: Plan, reading: Reading, rule: Rule | None, every: float, on_poll: OnPoll | None
    ) -> None:
        self._channel = channel
        self._plan = plan
        self._reading = reading
        self._rule = rule
        self._every = every
        self._on_poll = on_poll
        self._result_at: str | None = None  # where the server said that the result will be

    async def run(self) -> Any:
        channel, plan, rule = self._channel, self._plan, self._rule
        started, pause = channel.clock.monotonic(), None
        response = await self._ask(plan)
        here = str(response.url)
        monitor = self._monitor(response)
        if monitor is not None and rule is None:
            rule = by_state()
        if response.status_code != 202 and monitor is None and rule is None:
            return await channel.read(response, plan, self._reading)
        ask_at = monitor or self._location(response) or (here if plan.method == "GET" else None)
        if ask_at is None and read_answer(response.status_code, _json_of(response), rule) == Progressing():
            raise self._failed(response, None, "was accepted, and no address was told to ask at")
        self._result_at = self._location(response)
        first = response
        while True:
            answer = _json_of(response)
            said = read_answer(response.status_code, answer, rule)
            if response is first and monitor is not None:  # it tells of the resource, and not of the operation
                said = Progressing()
            if self._on_poll is not None:
                self._on_poll(Poll(ask_at or here, said.state, channel.clock.monotonic() - started, answer))
            if isinstance(said, Ended):
                return await self._result(said, response, answer, monitor)
            if ask_at is None:
                raise self._failed(response, said.state, "goes on, and no address was told to ask at")
            asked = server_delay(response.headers.get, channel.clock.wall())
            pause = next_pause(asked, pause, self._every)
            self._wait_is_worth_it(pause, response)
            await channel.clock.sleep(pause)
            response = await self._ask(self._following(ask_at))
            # A server may move it on: another place to ask at, or, at last, that of the result.
            ask_at = self._monitor(response) or (self._location(response) if monitor is None else None) or ask_at
            if monitor is not None:
                self._result_at = self._location(response) or self._result_at

    async def _ask(self, plan: Plan) -> ReceivedLike:
        response = await self._channel.send(plan, b"application/json")
        if response.status_code >= 300:
            await self._channel.read(response, plan, Reading(bytes))  # raises
        await response.aread()
        return response

    async def _result(self, said: Ended, response: ReceivedLike, answer: Any, monitor: str | None) -> Any:
        if not said.ok:
            raise self._failed(response, said.state, "did not end well")
        if said.result:
            unwrapped = Reading(self._reading.into, said.result)
            return await self._channel.read(response, self._plan, unwrapped)
        told: Any = cast("dict[str, Any]", answer).get("resourceLocation") if isinstance(answer, dict) else None
        where = self._reach(told, response) if isinstance(told, str) else self._result_at
        if said.result is None and where is None and self._plan.method in ("PUT", "PATCH"):
            where = self._plan.target(self._channel.address.url)
        if said.result is None and where is not None and monitor is not None:
            plan = self._following(where)
            return await self._channel.read(await self._channel.send(plan, b"application/json"), plan, self._reading)
        return await self._channel.read(response, self._plan, self._reading)

    def _monitor(self, response: ReceivedLike) -> str | None:
        for name in _MONITORS:
            if (link := response.headers.get(name)) is not None:
                return self._reach(link, response)
        return None

    def _location(self, response: ReceivedLike) -> str | None:
        link = response.headers.get("location")
        return None if link is None else self._reach(link, response)

    def _reach(self, link: str, response: ReceivedLike) -> str:
        try:
            return self._channel.address.reach(link, str(response.url))[0]
        except (ForeignOrigin, InvalidInput) as error:
            raise self._channel.backend.family.refusal(error, response.request) from None

    def _following(self, url: str) -> Plan:
        """A question about the operation: without the body and what was said of it, and never out of a cache."""
        foreign = self._channel.address.reach(url)[1]
        kept = {
            name: field
            for name, field in (said_to_anyone(self._plan.headers) if foreign else self._plan.headers).items()
            if not name.startswith(("content-", "if-", "idempotency-"))
        }
        options = {name: value for name, value in self._plan.options.items() if name != "idempotent"}
        if self._channel.backend.resilient:
            options["cache"] = "bypass"
        return changed(
            self._plan, method="GET", url=url, query=NOTHING, payload=None, headers=kept, options=options, template=None
        )

    def _wait_is_worth_it(self, pause: float, response: ReceivedLike) -> None:
        around = in_force()
        if around is None or pause < around.left:
            return
        error = DeadlineExceeded(
            f"{self._plan.operation} is not done, and its deadline of {around.seconds:.3g} s ends before the next look",
            key=self._channel.address.origin,
            retry_after=pause,
            deadline=around.seconds,
        )
        raise self._channel.backend.family.refusal(error, response.request)

    def _failed(self, response: ReceivedLike, state: str | None, what: str) -> Exception:
        error = OperationFailed(
            f"{self._plan.operation} {what}",
            state=state,
            operation=self._plan.operation,
            url=shown_url(response.url),
            body=response.content[:EXCERPT],
        )
        return self._channel.backend.family.refusal(error, response.request)


def _json_of(response: ReceivedLike) -> Any:
    content_type = response.headers.get("content-type")
    try:
        return read_json(json_text(response.content, content_type), max_depth=_MAX_DEPTH) if response.content else None
    except Malformed:
        return None
