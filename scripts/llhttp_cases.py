"""llhttp's own test cases, in strict mode, as the JSON that tests/gateway reads.

python -m scripts.llhttp_cases LLHTTP-FOLDER

They lie in vendor/llhttp of aiohttp's source distribution, as Markdown: bytes, and the log of what a parser reports.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent.parent / "tests" / "gateway" / "llhttp"
_TITLE = re.compile(r"^#+ (.+)$")
_CASE = re.compile(r"<!-- meta=(.+?) -->\s*```http\n((?:(?!```).)*?)\n```\n(?:(?!```).)*?```log\n(.*?)\n```", re.DOTALL)
_SPAN = re.compile(r'off=\d+ len=\d+ span\[(\w+)\]=(".*"|cr|lf|tab)')
_NAMED = {"cr": "\r", "lf": "\n", "tab": "\t"}
_HEAD = re.compile(r"off=\d+ headers complete (?:status=(\d+))?")
_ERROR = re.compile(r'off=\d+ error code=\d+ reason="(.*)"')


def main(folder: Path) -> None:
    """Write request.json, response.json, and the licence beside them."""
    for kind in ("request", "response"):
        cases = [case for file in sorted((folder / "test" / kind).glob("*.md")) for case in _cases(file, kind)]
        text = ",\n".join(json.dumps(case) for case in cases)
        (OUT / f"{kind}.json").write_text(f"[\n{text}\n]\n")
        print(f"{len(cases)} {kind}s")
    shutil.copy(folder / "LICENSE", OUT / "LICENSE")


def _cases(file: Path, kind: str) -> Iterator[dict[str, Any]]:
    text = file.read_text()
    for found in _CASE.finditer(text):
        meta = json.loads(found[1])
        if meta["type"] == kind and not meta.get("skipBody"):  # a parser told to skip a body is none of ours
            title = [match[1] for line in text[: found.start()].splitlines() if (match := _TITLE.match(line))][-1]
            yield {"name": f"{file.stem}: {title}", "input": _bytes(found[2]), **_reported(found[3])}


def _bytes(text: str) -> str:
    """The input as llhttp's md-test.ts makes it; one character per byte."""
    text = text.replace("\\\n", "").replace("\n", "\r\n")
    for escape, char in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
        text = text.replace(escape, char)
    text = re.sub(r"\\x([0-9a-fA-F]+)", lambda match: chr(int(match[1], 16)), text)
    text = re.sub(r"\\([0-7]{1,3})", lambda match: chr(int(match[1], 8)), text)
    assert "${" not in text  # they may hold JavaScript; none does
    return _latin(text)


def _text(span: str) -> str:
    """A span as the log shows it: in quotes, or a control character by its name."""
    return _NAMED.get(span) or _latin(span[1:-1].replace("\\t", "\t").replace("\\f", "\f"))


def _latin(text: str) -> str:
    return text.encode().decode("latin-1")


def _reported(log: str) -> dict[str, Any]:
    """What a parser makes of it: its messages, each with the offset of its first byte, and its error if any."""
    messages: list[dict[str, Any]] = []
    error = None
    for line in log.splitlines():
        if "message begin" in line:
            messages.append(
                {"at": int(line.split()[0][4:]), "head": False, "whole": False, "headers": [], "trailers": []}
            )
        elif span := _SPAN.match(line):
            _add(messages[-1], span[1], _text(span[2]))
        elif head := _HEAD.match(line):
            messages[-1] |= {"head": True} | ({"code": int(head[1])} if head[1] else {})
        elif "message complete" in line:
            messages[-1]["whole"] = True
        elif failed := _ERROR.match(line):
            error = failed[1]
    for message in messages:
        message.pop("last", None)
    return {"messages": messages, "error": error}


def _add(message: dict[str, Any], name: str, text: str) -> None:
    """One more span; those of one kind in a row are one."""
    fields = message["trailers" if message["head"] else "headers"]
    if name == "header_field":
        if message.get("last") != name:
            fields.append(["", ""])
        fields[-1][0] += text
    elif name == "header_value":
        fields[-1][1] += text
    elif name in ("method", "url", "status", "version", "body"):
        message[name] = message.get(name, "") + text
    message["last"] = name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
