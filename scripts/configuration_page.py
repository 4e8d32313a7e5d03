"""Write docs/configuration.md from the configuration structs: an option and its reason stand in the code, once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from fleetgate.options import Option, options
from gateway.config import GatewayConfig
from node.config import NodeConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

Made by `make docs` from the configuration structs; edit those.

Each program takes one TOML file (`--config FILE`), then the environment (`FLEETGATE_SECTION__KEY`), then flags
(`--set section.key=value`, and short ones that `--help` lists); the later is the stronger. Unknown keys are refused.
`--print-config` shows the result with where each value came from, `--check-config` only checks. Lists are TOML arrays
in the file and separated by commas elsewhere.
"""


def page() -> str:
    """The page as Markdown."""
    return HEAD + _program("gateway", GatewayConfig) + _program("node", NodeConfig)


def _program(name: str, schema: type[msgspec.Struct]) -> str:
    lines = [f"\n## fleetgate {name}\n"]
    section: str | None = None
    for option in options(schema):
        if (parent := ".".join(option.path[:-1])) != section:
            section = parent
            lines.append(f"\n### {f'[{section}]' if section else 'At the top of the file'}\n")
            lines.append("| option | environment | kind | default | why |\n| --- | --- | --- | --- | --- |")
        lines.append(_row(option))
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    default = json.dumps(option.default, ensure_ascii=False).replace("|", "\\|")
    why = option.why.replace("|", "\\|")
    return f"| `{option.path[-1]}` | `{option.variable}` | {option.type_name} | `{default}` | {why} |"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}", file=sys.stderr)
