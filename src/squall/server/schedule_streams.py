"""Schedule streams: what clients ask of schedules, and what is checked before a version with some is taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from squall.model.deploy import MAIN_ENVIRONMENT, DeployedName
from squall.model.errors import Error, InvalidError
from squall.model.jsonable import from_json
from squall.model.schedule import Schedule
from squall.scheduling.instants import check_instants
from squall.server.house import House
from squall.server.records import Worker
from squall.state.schedule_records import ScheduleKey


def check_schedules(functions: list[dict[str, Any]]) -> None:
    """Raises ScheduleInvalid for a schedule of a time zone that is not there, or with no time to come."""
    for one in functions:
        if one.get("schedule") is None:
            continue
        try:
            check_instants(from_json(Schedule, one["schedule"]), time.time())
        except ValueError as wrong:
            raise InvalidError(
                f"the schedule of {one.get('name')!r} does not hold together: {wrong}"
            ) from wrong
        except Error as wrong:
            raise type(wrong)(f"{one.get('name')}: {wrong.message}", remedy=wrong.remedy) from None


async def schedules(house: House, head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """Every schedule; head: where they matter, `app` and `environment`. Raises DeployedAppNotFound."""
    app, environment = head.get("app"), head.get("environment")
    rows = await house.schedules.rows()
    if app is not None:
        name = DeployedName(str(environment or MAIN_ENVIRONMENT), str(app))
        if name not in house.addressing.serving:
            raise house.addressing.unknown(name)
        environment = name.environment
    return {
        "schedules": [
            row for row in rows if app in {None, row["app"]} and environment in {None, row["environment"]}
        ]
    }


async def call_now(house: House, head: dict[str, Any], _caller: Worker | None) -> dict[str, Any]:
    """Calls a scheduled function beside its schedule. Raises DeployedAppNotFound, ScheduleNotFound, TooManyInputs."""
    name = DeployedName(str(head.get("environment") or MAIN_ENVIRONMENT), str(head["app"]))
    if name not in house.addressing.serving:
        raise house.addressing.unknown(name)
    return {"call": await house.schedules.call_now(ScheduleKey(name, str(head["function"])))}


QUESTIONS: Final[Mapping[str, Any]] = {"schedule.list": schedules, "schedule.call": call_now}
