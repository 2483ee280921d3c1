"""The lab's mirror, ill: gone, slow, cut short, or with another content."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Trouble(StrEnum):
    """What is wrong with a mirror."""

    SLOW = "slow"
    CUT_SHORT = "cut short"
    OTHER_CONTENT = "other content"
    GONE = "gone"


@contextlib.contextmanager
def ill_mirror(root: Path, address: str, trouble: Trouble):
    """Serve a mirror's tree; its `http://address:port` while it lasts."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *_):
            pass

        def copyfile(self, source, outputfile):
            content = source.read()
            if trouble is Trouble.OTHER_CONTENT:
                content = content[:-1] + bytes([content[-1] ^ 1])
            if trouble is Trouble.CUT_SHORT:
                content = content[: len(content) // 2]
            step = max(1, len(content) // 20)
            for at in range(0, len(content), step):
                outputfile.write(content[at : at + step])
                if trouble is Trouble.SLOW:
                    time.sleep(0.2)

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    port = server.server_address[1]
    if trouble is Trouble.GONE:
        server.server_close()
        yield f"http://{address}:{port}"
        return
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{port}"
    finally:
        server.shutdown()
        server.server_close()
