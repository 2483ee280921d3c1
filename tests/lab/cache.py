"""The cache of built parts: one directory a machine, each part keyed by what it is made of.

<cache>/parts/<name>-<key>   whole parts; the key is a hash of the recipe's text and of the parts it needs
<cache>/tmp                  half-built ones: a part is renamed into place when it is whole
<cache>/go                   GOMODCACHE and GOCACHE
<cache>/log                  the output of each build
<cache>/state                hosts that run, the inventory
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .commands import kill_running
from .progress import Progress
from .trees import remove_tree

DEFAULT_CACHE = Path("/var/cache/nvproxy-fleet-lab")
# Two: one that mostly waits for the network and the disk (debootstrap), and one compiler, which is parallel
# itself.
WORKERS = 2


@dataclass(frozen=True)
class Part:
    """Something that is built once: `build` fills an empty directory, `definition` says all that matters."""

    name: str
    definition: str
    build: Callable[["Cache", Path], None] = field(compare=False)
    needs: tuple["Part", ...] = ()

    @property
    def key(self) -> str:
        text = "\0".join([self.name, self.definition, *(part.key for part in self.needs)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cache:
    """The cache directory."""

    directory: Path

    @classmethod
    def of_environment(cls) -> "Cache":
        return cls(Path(os.environ.get("NVPROXY_LAB_CACHE") or DEFAULT_CACHE).absolute())

    @property
    def tmp(self) -> Path:
        return self.directory / "tmp"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"

    def path(self, part: Part) -> Path:
        """Where a part lies, or will."""
        return self.directory / "parts" / f"{part.name}-{part.key}"

    @contextmanager
    def lock(self, progress: Progress) -> Iterator[None]:
        """One lab command at a time changes anything; of one that is killed, the kernel drops the lock."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say(f"waiting for another lab command ({self.directory}/lock)")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def build(self, wanted: Sequence[Part], progress: Progress) -> None:
        """Build those of the parts, and of what they need, that are not there. The caller holds the lock."""
        for leftover in self.tmp.glob("*"):
            remove_tree(leftover)  # the lock is ours: whoever made it was killed
        missing = self._missing(wanted)
        running: dict[Future[None], Part] = {}
        with ThreadPoolExecutor(WORKERS) as workers:
            try:
                while missing or running:
                    for part in [
                        part for part in missing if all(self.path(need).exists() for need in part.needs)
                    ]:
                        if len(running) == WORKERS:
                            break
                        missing.remove(part)
                        running[workers.submit(self._build_one, part, progress)] = part
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        del running[future]
                        future.result()
            finally:
                workers.shutdown(wait=False, cancel_futures=True)
                kill_running()  # nothing runs unless a part failed or we are being stopped

    def _missing(self, wanted: Sequence[Part]) -> list[Part]:
        """In the order asked for, each part after those that it needs."""
        found: dict[str, Part] = {}

        def add(part: Part) -> None:
            if part.key in found or self.path(part).exists():
                return
            for need in part.needs:
                add(need)
            found[part.key] = part

        for part in wanted:
            add(part)
        return list(found.values())

    def _build_one(self, part: Part, progress: Progress) -> None:
        progress.start(part.name)
        unfinished = self.tmp / f"{part.name}-{part.key}"
        unfinished.mkdir(parents=True)
        self.log(part.name).unlink(missing_ok=True)
        part.build(self, unfinished)
        self.path(part).parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(self.path(part))
        progress.done(part.name)
