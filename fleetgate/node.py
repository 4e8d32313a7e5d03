"""`fleetgate node`: one node, for production."""

from __future__ import annotations

import argparse
from typing import Any

import node.app
from fleetgate import program
from node.config import NodeConfig


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("node", help="run one node")
    program.add_arguments(
        parser,
        (
            ("--artefact", "models.artefacts", "frozen artefacts to serve, separated by commas"),
            ("--pool", "pool", "light or heavy"),
            ("--host", "listen.host", "address to listen on"),
            ("--port", "listen.port", "port to listen on"),
            ("--registry", "registry.url", "where to announce"),
        ),
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM, leave the registry, finish, exit 0."""
    return program.run("node", NodeConfig, node.app.run, args)
