"""Why a tunnel is refused: codes SQ-1626 to SQ-1628."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

TUNNELS: Final = {
    "SQ-1626": Explanation(
        """`squall.forward` opens a way into the container that calls it, so it has none to open elsewhere. A tunnel with TLS needs a
certificate that those who come trust, which a machine has only where its operator gave one.""",
        """@app.function()
def serve():
    with squall.forward(8000, unencrypted=True) as tunnel:
        print(tunnel.url)""",
    ),
    "SQ-1627": Explanation(
        """Tunnels end at an address of the machine on which the container runs: its loopback, unless the operator says otherwise. The
operator may also allow none.""",
        """$ cat ~/.local/state/squall/config.toml
tunnel_address = "127.0.0.1"
tunnels = 256""",
    ),
    "SQ-1628": Explanation(
        """Each tunnel takes a port of the machine, and each connection through it two descriptors. So a machine has a limit, and a
container a smaller one.""",
        """with squall.forward(8000, unencrypted=True) as tunnel:
    ...  # it is closed here""",
    ),
}
