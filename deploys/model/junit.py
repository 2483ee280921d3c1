"""The results of a run as JUnit XML, which pipelines show: a suite for each host, a case for each check.

The form is that which Jenkins, GitLab and GitHub's reporters read alike (the `junit-10.xsd` of Jenkins' xUnit
plugin): what failed is a `failure`, what could not be told an `error`. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from deploys.model.checks import State
from deploys.model.comparison import WHOLE_HOST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from deploys.model.checks import Check, HostResult

_TAGS = {State.FAILED: "failure", State.UNKNOWN: "error", State.SKIPPED: "skipped"}
# What XML 1.0 has no way to write, be it escaped; a container's output may hold all of it.
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(results: Sequence[HostResult], started: datetime) -> str:
    """The document."""
    root = ET.Element("testsuites", name="nvproxy-fleet")
    for result in results:
        suite = ET.SubElement(root, "testsuite", name=_text(result.host))
        suite.set("timestamp", started.replace(tzinfo=None).isoformat(timespec="seconds"))
        suite.set("tests", str(len(result.checks) or 1))
        for state, tag in _TAGS.items():
            name = {"failure": "failures", "error": "errors"}.get(tag, tag)
            suite.set(name, str(sum(check.state is state for check in result.checks)))
        suite.set("time", f"{sum(check.seconds for check in result.checks):.3f}")
        for check in result.checks:
            _add(suite, result, check)
        if not result.checks:
            suite.set("errors", "1")
            case = ET.SubElement(suite, "testcase", classname=_text(result.host), name=WHOLE_HOST, time="0")
            ET.SubElement(case, "error", message=_text(f"not verified: {result.why}"))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(suite: ET.Element, result: HostResult, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_text(f"{result.host}.{check.subject}"),
        name=_text(f"{check.id}: {check.asked}"),
        time=f"{check.seconds:.3f}",
    )
    if check.state in _TAGS:
        ended = ET.SubElement(case, _TAGS[check.state], message=_text(check.why))
        if check.state is not State.SKIPPED:
            ended.set("type", _text(check.cause or check.subject))
            ended.text = _text(check.next)
    if check.output:
        ET.SubElement(case, "system-err").text = _text(check.output)


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
