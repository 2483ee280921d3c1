"""A spec that can be read in more than one way, or in none: could it be a GPU container's in any of them?

`strict_json` and `oci_spec` refuse such a spec, as the rules might judge another one than runsc reads. Where
no reading of it has anything to do with a GPU, there is nothing to judge: it is a plain container, and
runsc's.

Imported for such a spec alone.
"""

from __future__ import annotations

from nvproxy_wrapper.judge import strict_json
from nvproxy_wrapper.judge.annotations import CRI, GVISOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLACES = ("hooks", "devices", "annotations")
"""All that makes a GPU container, for the rules (`classify`, `rules.annotations`) and for runsc (gVisor,
runsc/specutils/nvidia.go, NVProxyEnabled): a hook, a node, an annotation."""

_SIGNS = ("/dev/nvidia", "nvidia-c", GVISOR, CRI)


def may_be_gpu(data: bytes) -> bool:
    """Whether a config.json has NVIDIA's name in a hook or a node, or an annotation of gVisor's or a pod's.

    Where Go's decoder finds a name twice, it reads both values one into the other, so that more may come of
    them than each says; but no word that neither has.
    """
    try:
        return _has_sign(strict_json.every_pair(data), "")
    except RecursionError:
        return True
    except strict_json.JSONError:
        # runsc reads no more of it than this, and no container comes of it. Who wanted a GPU gets the
        # wrapper's sentence all the same.
        text = data.decode("utf-8", "replace").lower()
        return any(sign in text for sign in _SIGNS)


def _has_sign(value: Any, place: str) -> bool:
    """Whether it is in `value`, which is somewhere below the name `place`."""
    if isinstance(value, str):
        return place in ("hooks", "devices") and "nvidia" in value.lower()
    if isinstance(value, tuple):
        return any(
            (place == "annotations" and name.startswith((GVISOR, CRI)))
            # As Go's decoder finds a field: in any case, with the Unicode foldings of `s` and `k`.
            or _has_sign(member, name.casefold() if name.casefold() in _PLACES else place)
            for name, member in value
        )
    return isinstance(value, list) and any(_has_sign(item, place) for item in value)
