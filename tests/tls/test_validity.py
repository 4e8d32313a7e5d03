"""Until when a certificate is valid, as OpenSSL says it too."""

from __future__ import annotations

import ssl
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.authority import CERTIFICATES
from tls.validity import valid_until

NAMES = ["node", "gateway", "expired", "fleet-ca"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_openssl_says(name: str):
    file = CERTIFICATES / f"{name}.pem"
    said = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", file], check=True, capture_output=True)
    ends = ssl.cert_time_to_seconds(said.stdout.decode().strip().removeprefix("notAfter="))
    assert valid_until(file.read_text()) == ends


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_off_anywhere_is_an_error_of_one_kind(name: str):
    pem = (CERTIFICATES / f"{name}.pem").read_text()
    begin = pem.index("-----BEGIN CERTIFICATE")
    for end in range(begin, pem.index("-----END CERTIFICATE") + 10, 7):
        with pytest.raises(ValueError, match=r"no certificate"):
            valid_until(pem[:end])


@given(st.binary(max_size=300))
def test_rubbish_in_pem_is_an_error_of_one_kind(rubbish: bytes):
    with pytest.raises(ValueError, match=r"."):
        valid_until(ssl.DER_cert_to_PEM_cert(rubbish))
