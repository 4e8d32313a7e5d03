"""Metrics of TLS: until when certificates are valid, and handshakes that came to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.encryption import Encryption
from gateway.metrics import PREFIX


class EncryptionMetrics(Collector):
    """A collector for prometheus_client's registry."""

    def __init__(self, encryption: Encryption) -> None:
        self._encryption = encryption

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        expiry = GaugeMetricFamily(
            PREFIX + "tls_certificate_expiry_timestamp_seconds",
            "When the certificate in use ends, by whom it is shown to.",
            labels=["use"],
        )
        for each in self._encryption.used:
            if each.expires:
                expiry.add_metric([each.name], each.expires)
        yield expiry
        failures = CounterMetricFamily(
            PREFIX + "tls_handshake_failures", "Handshakes of clients that came to nothing.", labels=["reason"]
        )
        for reason, count in self._encryption.failures.items():
            failures.add_metric([reason], count)
        yield failures
