"""Say what is being done and for how long: plain lines, for a terminal and for a log alike."""

import sys
import threading
import time
from typing import Self

HEARTBEAT_SECONDS = 20


class Progress:
    """Steps that run at the same time, told one line each; a heartbeat for those that take long."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._said_last = self._began
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._heartbeat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()

    def say(self, message: str) -> None:
        self._said_last = time.monotonic()
        print(f"[{self._said_last - self._began:4.0f} s] {message}", file=sys.stderr, flush=True)

    def start(self, step: str) -> None:
        with self._lock:
            self._running[step] = time.monotonic()
        self.say(f"{step} ...")

    def done(self, step: str) -> None:
        with self._lock:
            self.seconds[step] = time.monotonic() - self._running.pop(step)
        self.say(f"{step}: done in {self.seconds[step]:.0f} s")

    def _heartbeat(self) -> None:
        while not self._finished.wait(1):
            now = time.monotonic()
            with self._lock:
                running = [f"{step} ({now - since:.0f} s)" for step, since in self._running.items()]
            if running and now - self._said_last >= HEARTBEAT_SECONDS:
                self.say("still at " + ", ".join(running))
