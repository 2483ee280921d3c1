"""The hosts that odd specs are judged on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nvproxy_wrapper.host.views import ProcDriverView
from tests.driver_tree import CAPTURED_HOST, LAB_HOST, SHUFFLED_HOST, TreeGpu, write_driver_tree

if TYPE_CHECKING:
    from nvproxy_wrapper.judge.host_view import Gpu


class _ReadOnce(ProcDriverView):
    """A host whose driver's directory was read once: for each spec it would take longer than the rules do."""

    def __init__(self, tree: tuple[TreeGpu, ...]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            super().__init__(str(write_driver_tree(Path(folder), tree)))
            self._gpus = super().gpus()

    def gpus(self) -> list[Gpu]:
        return list(self._gpus)


class Host(NamedTuple):
    """What the wrapper sees of a host, and what is true of it."""

    view: ProcDriverView
    gpus: tuple[TreeGpu, ...]


HOSTS = {
    "captured": Host(_ReadOnce(CAPTURED_HOST), CAPTURED_HOST),
    "lab": Host(_ReadOnce(LAB_HOST), LAB_HOST),
    "shuffled": Host(_ReadOnce(SHUFFLED_HOST), SHUFFLED_HOST),
    "none": Host(ProcDriverView("/nonexistent"), ()),
}
"""The hosts of the captured specs, the first with its GPUs in other slots, and one without a driver."""
