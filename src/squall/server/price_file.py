"""Price file: the operator's table of prices, read when it has changed."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path

from squall.model.errors import PricesInvalid
from squall.model.prices import Prices, read_prices

_log = logging.getLogger("squall.server")


class PriceFile:
    """The prices that hold. trouble: why the file as it stands now does not; then the ones before it do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prices: Prices | None = None
        self.trouble: str | None = None
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Reads the file, if it is another one than at the last look; none means that there are no prices."""
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            self._seen = seen
            self.prices = read_prices(tomllib.loads(self.path.read_text("utf-8")), where=str(self.path))
            self.trouble = None
        except FileNotFoundError:
            self.prices = self.trouble = self._seen = None
        except PricesInvalid as wrong:
            self._say(wrong.message)
        except (OSError, ValueError) as wrong:
            self._say(f"{self.path} cannot be read: {wrong}")

    def _say(self, why: str) -> None:
        if why != self.trouble:
            self.trouble = why
            _log.error("the table of prices does not hold, and the one before it does: %s", why)
