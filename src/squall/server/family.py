"""Family: which open calls were made by inputs of which."""

from __future__ import annotations

from squall.model.ids import CallId, call_of_input
from squall.server.records import CallRecord


class Family:
    """The calls that are open, each with the open calls that its inputs have made."""

    def __init__(self) -> None:
        self._children: dict[CallId, dict[CallId, None]] = {}

    def add(self, call: CallRecord) -> None:
        """A call is open; its parent may be unknown, or gone."""
        if call.parent:
            self._children.setdefault(call_of_input(call.parent), {})[call.id] = None

    def remove(self, call: CallRecord) -> None:
        """A call is over. What its inputs have made goes on, and is nobody's."""
        self._children.pop(call.id, None)
        if call.parent:
            parent = call_of_input(call.parent)
            siblings = self._children.get(parent, {})
            siblings.pop(call.id, None)
            if not siblings:
                self._children.pop(parent, None)

    def tree(self, call: CallId) -> list[CallId]:
        """A call and all below it, parents before their children."""
        found = dict.fromkeys([call])
        ahead = [call]
        while ahead:
            below = [child for one in ahead for child in self._children.get(one, ()) if child not in found]
            found.update(dict.fromkeys(below))
            ahead = below
        return list(found)
