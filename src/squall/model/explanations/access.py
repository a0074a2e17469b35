"""Why somebody is not let in: codes SQ-1620 to SQ-1699."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

ACCESS: Final = {
    "SQ-1620": Explanation(
        """A server that listens on a network lets in who holds one of its tokens. This one is not among them, was revoked, has
expired, or was for one machine and has been used; which of these it is, nobody is told who does not hold it.""",
        """$ squall token list            # on the server
$ squall token new --name ada --scope run""",
    ),
    "SQ-1621": Explanation(
        """A machine that joined shows the certificate that it was given. The server does not know it, or has removed the machine.""",
        """$ squall token new --join      # on the server
$ squall join gpu-head:7443    # on this machine""",
    ),
    "SQ-1623": Explanation(
        """A server listens beyond this machine only over TLS, and lets in who has a token. The address must be one of this
machine's own, and the port free.""",
        """$ squall up --listen 0.0.0.0:7443""",
    ),
    "SQ-1624": Explanation(
        """`squall join` has made this machine one of another server's: it runs containers for that one and has no server of its
own beside it.""",
        """$ squall profile add work --server gpu-head:7443
$ squall run hello.py          # there
$ squall leave                 # or: take the machine back""",
    ),
    "SQ-1625": Explanation(
        """A token allows what its scopes say: `read` looks, `call` calls functions that are there, `run` also brings code and
builds images, `admin` also makes tokens and removes machines.""",
        """$ squall token new --name ci --scope run""",
    ),
}
