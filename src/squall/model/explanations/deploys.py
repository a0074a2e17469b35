"""Why deploying is refused, or what is deployed is not found: codes from SQ-1030 on."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

DEPLOYS: Final = {
    "SQ-1030": Explanation(
        """The name of a deployed app is typed in commands, stands in addresses and is unique in its environment. So it is short,
plain ASCII, and never looks like the id of an app. Environments follow the same rule; a tag may also be empty.""",
        """app = squall.App("my app")   # a space: refused when it is deployed
app = squall.App("my-app")""",
    ),
    "SQ-1031": Explanation(
        """`from_name` and the commands find an app by the name under which it was deployed, in one environment. An app that is run
with `squall run` is not deployed, and one that was stopped is deployed no more.""",
        """$ squall app list
$ squall deploy jobs.py --name jobs""",
    ),
    "SQ-1032": Explanation(
        """Versions are counted 1, 2, 3 for each app. One that never served cannot be called or gone back to, the record keeps the
last hundred, and an older version is called by its number only while it still has calls in hand.""",
        """$ squall app history jobs
$ squall app rollback jobs 4""",
    ),
    "SQ-1033": Explanation(
        """Environments are made before anything is deployed into them, so that a slip of the pen makes no second one. `main` is
always there.""",
        """$ squall environment create staging
$ squall deploy jobs.py --env staging""",
    ),
    "SQ-1034": Explanation(
        """Before a version takes calls, its images are built and one container of each of its functions has to load its code. One of
them did not: its import raised, it ran out of its startup timeout, or its container ended. The version before goes on.""",
        """$ squall deploy jobs.py
Traceback (most recent call last):
  File "/home/ada/jobs.py", line 3, in <module>
    import no_such_module
ModuleNotFoundError: No module named 'no_such_module'
$ squall app history jobs   # the failed one is there, and the one before serves""",
    ),
    "SQ-1035": Explanation(
        """Two deploys of one app were under way, and the newer one was ready first. What is older never takes the place of what is
newer.""",
        """$ squall app history jobs""",
    ),
    "SQ-1040": Explanation(
        """Dicts, Queues, secrets and volumes belong to an environment, and go with it. Nothing of that is deleted by the way: it is named first, and
deleted where that is asked for. Apps that are deployed there are stopped before, in any case.""",
        """$ squall dict list --env staging
$ squall environment delete staging --with-contents""",
    ),
    "SQ-1036": Explanation(
        """A schedule is checked where it is written: the fields of an expression and their numbers, the period, the policies. Whether
the time zone exists, and whether such a day ever comes, is checked when the app is deployed. Nobody gives a scheduled function
arguments, so it has none without a default, and nobody takes what a generator yields.""",
        """@app.function(schedule=squall.Cron("0 25 * * *"))   # no hour 25
def nightly(): ...

@app.function(schedule=squall.Cron("0 2 * * *", timezone="Europe/Berlin"))
def nightly(): ...""",
    ),
    "SQ-1037": Explanation(
        """Schedules belong to functions of deployed apps, each in one environment. One that was run with `squall run` has none, and
one whose app was stopped has none any more.""",
        """$ squall schedule list
$ squall schedule list jobs --env staging""",
    ),
}
