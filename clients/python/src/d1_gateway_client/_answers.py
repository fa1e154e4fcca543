"""Answers to questions: the service's own function is called once for each, within its deadline."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import betterproto2

from d1_gateway_client.contracts.issuer.callback.v1 import Question, Refusal, RefusalReason, Reply

__all__ = ["Answers", "CallbackContext", "Function", "Refuse", "failed"]

_LONGEST_MESSAGE = 256

_log = logging.getLogger("d1_gateway_client")


@dataclass(frozen=True, slots=True)
class CallbackContext:
    """What is known of a question besides what is asked."""

    issuer_id: str
    """The issuer that D1 asks."""
    correlation_id: str
    """Names the question in the gateway's logs and in D1's."""
    attempt: int
    """Above 1, another handler was asked before: it may be at work, or have done its work without being heard."""
    deadline: float
    """When D1 will have been answered otherwise, by the clock of the event loop; the function is cancelled then."""

    @property
    def seconds_left(self) -> float:
        """How long it is until the deadline."""
        return self.deadline - asyncio.get_running_loop().time()


Function = Callable[[Any, CallbackContext], Awaitable[Any]]
"""A service's own function."""


class Refuse(Exception):  # noqa: N818 (raising it is what refuses)
    """Raise this to refuse a question: D1 is told so, and no other handler is asked."""

    def __init__(self, reason: RefusalReason, message: str = "") -> None:
        """Refuse.

        Args:
            reason: Why; decides what D1 is answered.
            message: What D1 is told, 256 characters at most: no personal data, no secret.

        Raises:
            ValueError: The message is too long.
        """
        if len(message) > _LONGEST_MESSAGE:
            raise ValueError(f"message: at most {_LONGEST_MESSAGE} characters")
        super().__init__(reason.name)
        self.reason = reason
        self.message = message


def failed(token: str) -> Reply:
    """Make the reply that says that it could not be done, and nothing else."""
    return Reply(token=token, refusal=Refusal(reason=RefusalReason.FAILED))


class Answers:
    """Makes replies, a limited number at once.

    A question that comes again, over another stream, while its answer is made or after, gets the same answer: a
    password is not sent twice because a link broke.
    """

    def __init__(
        self, functions: Mapping[str, Function], responses: Mapping[str, type[betterproto2.Message]], max_in_flight: int
    ) -> None:
        """Have no questions yet.

        Args:
            functions: Make the responses, by the names of their kinds.
            responses: What they have to be.
            max_in_flight: How many may be at work at once.
        """
        self._functions = functions
        self._responses = responses
        self._slots = asyncio.Semaphore(max_in_flight)
        self._work: dict[str, tuple[float, asyncio.Task[Reply | None]]] = {}

    async def reply(self, question: Question) -> Reply | None:
        """Make the reply to a question, or wait for the one that is made; None if there was none in time."""
        now = asyncio.get_running_loop().time()
        self._work = {token: work for token, work in self._work.items() if work[0] > now or not work[1].done()}
        if question.token not in self._work:
            left = 0.0 if question.time_left is None else question.time_left.total_seconds()
            making = asyncio.create_task(self._make(question, now + left))
            self._work[question.token] = (now + left, making)
        return await asyncio.shield(self._work[question.token][1])

    async def aclose(self) -> None:
        """Give up what is at work."""
        tasks = [task for _, task in self._work.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, question: Question, deadline: float) -> Reply | None:
        kind, request = betterproto2.which_one_of(question, "request")
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit, self._slots:
                context = CallbackContext(question.issuer_id, question.correlation_id, question.attempt, deadline)
                reply = self._reply(question.token, kind, await self._functions[kind](request, context))
        except Refuse as refusal:
            reply = Reply(token=question.token, refusal=Refusal(reason=refusal.reason, message=refusal.message))
        except Exception as error:  # noqa: BLE001 (whatever it is, D1 is told that it failed, and no more)
            if limit.expired():
                _log.warning("no answer in time: %s, correlation id %s", kind, question.correlation_id)
                return None
            _log.error("handler failed: %s, %s, correlation id %s", kind, _place(error), question.correlation_id)
            reply = failed(question.token)
        return reply

    def _reply(self, token: str, kind: str, response: Any) -> Reply:
        if not isinstance(response, self._responses[kind]):
            raise TypeError(f"{kind} was answered with {type(response).__name__}")
        reply = Reply(token=token)
        setattr(reply, kind, response)
        # What cannot be sent has to fail here, where it becomes a refusal.
        bytes(reply)
        return reply


def _place(error: Exception) -> str:
    """Say what was raised and where, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__qualname__} at {frames[-1].filename}:{frames[-1].lineno}"
