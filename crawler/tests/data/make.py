#!/usr/bin/env python3
"""Writes the databases that the tests read: pip install mmdb_writer==0.2.7, then run it here.

Loopback networks 127.N.0.0/16 stand for places: N in 1..=16 is system 64500 + N, N even in Germany, odd in Switzerland.
"""
import os

from mmdb_writer import MMDBWriter
from netaddr import IPSet

here = os.path.dirname(os.path.abspath(__file__))

countries = MMDBWriter(6, "Example-Country", ipv4_compatible=True, languages=["en"])
systems = MMDBWriter(6, "Example-ASN", ipv4_compatible=True, int_type="u32")
for n in range(1, 17):
    net = IPSet([f"127.{n}.0.0/16"])
    code = "DE" if n % 2 == 0 else "CH"
    # Of one only the holder's country is known.
    record = {"registered_country": {"iso_code": "AT"}} if n == 9 else {"country": {"iso_code": code}}
    countries.insert_network(net, record)
    systems.insert_network(
        net, {"autonomous_system_number": 64500 + n, "autonomous_system_organization": f"EXAMPLE-{n}"}
    )
six = IPSet(["2a01:4f8::/32"])
countries.insert_network(six, {"country": {"iso_code": "DE"}})
systems.insert_network(
    six, {"autonomous_system_number": 64520, "autonomous_system_organization": "EXAMPLE-SIX"}
)
countries.to_db_file(os.path.join(here, "countries.mmdb"))
systems.to_db_file(os.path.join(here, "systems.mmdb"))
