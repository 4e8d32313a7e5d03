"""One file, then the environment, then flags; whatever is unknown or wrong is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetgate.settings import SettingsError, load, show
from gateway.config import GatewayConfig


def test_without_any_source_every_value_is_its_default() -> None:
    settings = load(GatewayConfig)
    assert settings.config == GatewayConfig()
    assert not settings.origins


def test_flags_win_over_environment_and_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("[listen]\nport = 1\nbacklog = 11\nhost = '::1'\n")
    settings = load(
        GatewayConfig,
        file=file,
        environ={"FLEETGATE_LISTEN__PORT": "2", "FLEETGATE_LISTEN__BACKLOG": "12", "HOME": "/"},
        flags=[("listen.port", "3")],
    )
    listen = settings.config.listen
    assert (listen.host, listen.backlog, listen.port) == ("::1", 12, 3)
    assert settings.origins == {
        "listen.host": str(file),
        "listen.backlog": "the environment (FLEETGATE_LISTEN__BACKLOG)",
        "listen.port": "a flag",
    }


def test_variables_of_the_commands_for_people_are_no_options() -> None:
    assert not load(GatewayConfig, environ={"FLEETGATE_OPERATOR_URL": "http://x", "FLEETGATE_KEY": "k"}).origins


def test_lists_and_booleans_can_be_said_in_the_environment() -> None:
    environ = {
        "FLEETGATE_SECURITY__NODE_NETWORKS": "10.1.0.0/16, ::1/128",
        "FLEETGATE_OPERATOR__NODE_NAMES": "false",
    }
    config = load(GatewayConfig, environ=environ).config
    assert config.security.node_networks == ("10.1.0.0/16", "::1/128")
    assert config.operator.node_names is False


@pytest.mark.parametrize(
    ("environ", "flags", "said"),
    [
        ({"FLEETGATE_LISTEN__PROT": "1"}, [], "unknown option listen.prot in the environment (FLEETGATE_LISTEN__PROT)"),
        ({}, [("listen.prot", "1")], "unknown option listen.prot in a flag; did you mean listen.port?"),
        ({}, [("listen.port", "http")], "option listen.port (from a flag): Expected int, got str"),
        ({"FLEETGATE_LISTEN__PORT": "70000"}, [], "option listen.port (from the environment (FLEETGATE_LISTEN__PORT))"),
        ({}, [("listen", "1")], "unknown option listen in a flag"),
    ],
)
def test_what_is_unknown_or_wrong_is_named_with_its_source(
    environ: dict[str, str], flags: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load(GatewayConfig, environ=environ, flags=flags)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[listen]\nprot = 1\n", "[listen\n", "listen = 3\n", "[limits]\nbody_bytes = 'x'\n"])
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "g.toml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        load(GatewayConfig, file=file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load(GatewayConfig, file=tmp_path / "none.toml")


def test_shown_configuration_says_where_values_came_from_and_hides_secrets() -> None:
    text = show(load(GatewayConfig, flags=[("operator.token", "swordfish"), ("listen.port", "9")]))
    assert "swordfish" not in text
    assert 'token = "***"  # from a flag' in text
    assert "port = 9  # from a flag" in text
    assert "backlog = 1024  # from its default" in text
