"""`fleetgate gateway`: one gateway, for production."""

from __future__ import annotations

import argparse
from typing import Any

import gateway.app
from fleetgate import program
from gateway.config import GatewayConfig


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("gateway", help="run one gateway")
    program.add_arguments(
        parser,
        (
            ("--host", "listen.host", "public address"),
            ("--port", "listen.port", "public port"),
            ("--operator-port", "operator.port", "port of the operator page"),
            ("--registry", "registry.url", "where nodes are announced"),
        ),
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM, drain, exit 0."""
    return program.run("gateway", GatewayConfig, gateway.app.run, args)
