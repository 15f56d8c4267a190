from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.urls.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "93.184.216.34", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1",
        "223.255.255.255", "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450:4001::200e",
        "64:ff9b::808:808",
    ],
)  # fmt: skip
def test_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1",
        "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255",
        "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7",
        "203.0.113.9", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1",
        "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
        "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "fec0::1",
        "ff02::1", "localhost", "", "1.2.3", "0x7f.1", "2130706433",
    ],
)  # fmt: skip
def test_everything_else_is_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_knows_to_be_otherwise(address: object) -> None:
    found = ip_address(str(address))
    if is_public(str(found)) and not str(found).startswith("64:ff9b::"):
        assert found.is_global
        assert not found.is_multicast
        assert not found.is_reserved


@given(st.integers(0, 2**32 - 1))
def test_a_nat64_address_is_judged_by_what_it_leads_to(number: int) -> None:
    inner = str(IPv4Address(number))
    assert is_public(f"64:ff9b::{inner}") == is_public(inner)
