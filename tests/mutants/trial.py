"""The tests, collected once; then each mutant is tried in a fork of that process, until a test fails."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutants.changes import Mutant, mutants_of, tree_of
from tests.mutants.live import install

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
JUDGE = ROOT / "nvproxy_wrapper" / "judge"
TESTS = (
    *sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests/unit/wrapper").glob("test_*.py")
        # These run the wrapper as other processes, which no mutant is in.
        if path.name not in ("test_admin.py", "test_imports.py")
    ),
    "tests/specs",
    "tests/fuzz/test_targets.py",
    "tests/unit/wrapper_runtime/test_command_line.py",
)
# It is text for a page, and decides nothing; the page is compared with it as a whole.
_LEFT_OUT = ("catalogue.py",)
_EXAMPLES = "300"
# A test that calls the judge more often than that is not watched any longer, and taken to call all of it.
_WATCHED_CALLS = 20_000
_MEMORY = 1 << 30


class Outcome(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"


def mutants() -> list[Mutant]:
    """Every mutant of the judge."""
    return [
        mutant
        for path in sorted(JUDGE.rglob("*.py"))
        if path.name not in _LEFT_OUT
        for mutant in mutants_of(str(path.relative_to(JUDGE)), path.read_text())
    ]


class Trial:
    """A pytest plugin that runs the tests once, and then once for each mutant.

    Attributes:
        failures: what failed while nothing was changed, as pytest shows it.
    """

    def __init__(self, tried: list[Mutant], report: Callable[[Mutant, Outcome], None]) -> None:
        self.failures: list[str] = []
        self._tried = tried
        self._report = report
        self._touched: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self._touch_all: set[int] = set()
        self._seconds: list[float] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failures.append(f"{report.nodeid}\n{report.longreprtext}")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = session.items
        for place, item in enumerate(items):
            sys.settrace(self._watch(place))
            began = time.process_time()
            _run(item, items[place + 1] if place + 1 < len(items) else None)
            sys.settrace(None)
            self._seconds.append(time.process_time() - began)
        if self.failures:
            return True
        print(f"{len(items)} tests, {sum(self._seconds):.0f} s of processor time while watched.", flush=True)
        gc.freeze()
        for tried in self._tried:
            self._report(tried, self._try(tried, items))
        return True

    def _watch(self, place: int) -> Callable[..., None]:
        folder = f"{JUDGE}/"
        calls = 0

        def watch(frame: types.FrameType, event: str, arg: object) -> None:
            nonlocal calls
            calls += 1
            if calls > _WATCHED_CALLS:
                sys.settrace(None)
                self._touch_all.add(place)
            code = frame.f_code
            if code.co_filename.startswith(folder):
                name = code.co_qualname.partition(".<locals>")[0]
                self._touched[code.co_filename.removeprefix(folder), name].add(place)

        return watch

    def _try(self, tried: Mutant, items: list[pytest.Item]) -> Outcome:
        # A table may be used anywhere, and so may what is called while its module is imported.
        calling = self._touched.get((tried.module, tried.function))
        chosen = self._touch_all.union(*([calling] if calling else self._touched.values()))
        order = sorted(chosen, key=self._seconds.__getitem__)
        child = os.fork()
        if not child:
            os._exit(_in_fork(tried, [items[place] for place in order], sum(self._seconds)))
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            return Outcome.TIMED_OUT
        return Outcome.SURVIVED if status == 0 else Outcome.KILLED


def _in_fork(tried: Mutant, items: list[pytest.Item], seconds: float) -> int:
    # In processor time: a machine that is busy otherwise is no sign of a loop.
    limit = int(seconds * 2) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    try:
        name = f"nvproxy_wrapper.judge.{tried.module.removesuffix('.py').replace('/', '.')}"
        tree = tree_of((JUDGE / tried.module).read_text(), tried)
        install(importlib.import_module(name.removesuffix(".__init__")), tried, tree)
        for place, item in enumerate(items):
            if not _run(item, items[place + 1] if place + 1 < len(items) else None):
                return 1
    except BaseException:  # noqa: BLE001 - whatever it ends with, it was noticed
        return 1
    return 0


def _run(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Whether a test passed."""
    failed = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    return item.session.testsfailed == failed


def try_all(
    tried: list[Mutant], report: Callable[[Mutant, Outcome], None], tests: Sequence[str] = TESTS
) -> list[str]:
    """Try mutants one after another; returns what failed already while nothing was changed."""
    os.environ["WRAPPER_EXAMPLES"] = _EXAMPLES
    # The same examples each time, none remembered, and the first failure is enough.
    settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")
    trial = Trial(tried, report)
    # -s: what is tried in a fork prints into nothing there.
    options = ["-s", "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-o", "addopts="]
    status = pytest.main([*options, "--rootdir", str(ROOT), *tests], plugins=[trial])
    if not trial.failures and status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        trial.failures.append(f"pytest ended with {status!r}")
    return trial.failures
