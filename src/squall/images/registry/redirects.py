"""Redirects: where an answer leads, and the answer at the end of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from squall.images.registry.complaint import NotNow, Unsound
from squall.images.registry.connection import Dialer
from squall.images.registry.exchange import Request, Response, exchange
from squall.images.registry.head import Head, retry_after_s
from squall.images.registry.location import Location, Reach, parse_location, why_not_led
from squall.images.registry.patience import AGAIN, Patience

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


async def followed(request: Request, dialer: Dialer, patience: Patience, *, most: int) -> Response:
    """The answer at the end of at most so many redirects, which lead to where as many can reach at least, and never from https to plain http.

    Raises NotNow and Unsound.
    """
    first = request.at
    reach: Reach | None = None
    for _ in range(most + 1):
        response, reached = await exchange(request, dialer, patience, reach)
        reach = reached if reach is None else reach
        if response.status in AGAIN:
            asked_s = retry_after_s(response.head, time.time())
            response.close()
            raise NotNow(
                f"it answers with the status {response.status}", asked_s=asked_s, status=response.status
            )
        if response.status not in REDIRECTS:
            return response
        response.close()
        at = led_to(response.head, response.at)
        if (why := why_not_led(at, registry=first)) is not None:
            raise Unsound(why)
        request = replace(request, at=at)
    raise Unsound(f"it leads on more than {most} times")


def led_to(head: Head, at: Location) -> Location:
    """Where an answer from `at` says to go on. Raises Unsound."""
    location = head.get("location")
    if not location:
        raise Unsound("it leads on, and does not say where")
    try:
        return parse_location(location, at)
    except ValueError as error:
        raise Unsound(f"it leads to {error}") from None
