"""HTTP server: pages on loopback, for as long as a test needs them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def http_server(pages: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address (host and port) of a server whose requests are answered by `pages`, each in a thread of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
