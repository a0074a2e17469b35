"""Why a budget or a price is refused, and what a budget that is reached does: codes SQ-1045 to SQ-1049."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

BUDGETS: Final = {
    "SQ-1045": Explanation(
        """The operator's table of prices is a file in TOML: a currency, and what a second of a core, of a GiB of memory and of each
type of GPU costs. While it cannot be read, the prices that held before hold on; a server that starts then has none.""",
        """$ cat ~/.local/state/squall/prices.toml
currency = "EUR"
core_second = 0.0000131
gib_second = 0.0000022

[gpu_second]
H100 = 0.0011
other = 0.0005""",
    ),
    "SQ-1046": Explanation(
        """A budget in money is compared with what was used times its price, and this server knows no prices. Seconds of containers
and of GPUs are counted in any case.""",
        """$ squall budget set 3600 --unit seconds --app hello""",
    ),
    "SQ-1047": Explanation(
        """A budget is an amount for each day or each month. It may be that of an environment, of the apps of a name, of the apps
with a tag, of what is all three, or of everything that runs here.""",
        """$ squall budget set 50 --per month --tag team=vision""",
    ),
    "SQ-1048": Explanation(
        """A budget is named by what it is for, and there is none for exactly that: an app's budget for a month is another one than
its budget for a day.""",
        """$ squall budget list
$ squall budget remove --per month --tag team=vision""",
    ),
    "SQ-1049": Explanation(
        """The budget drains what it is for: inputs that run are finished, with their retries and with what they call and wait for,
and outcomes are delivered; inputs that wait of calls made with `.spawn` stay on record; and what is new is refused with this error.
It opens by itself as the next day or month begins (UTC), or as soon as the budget is raised or removed.""",
        """$ squall budget list
$ squall budget set 80 --per month --app hello   # in place of 50""",
    ),
}
