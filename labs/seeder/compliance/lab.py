"""What compliance.py's other modules have to know of the lab: its zones, and names in them."""

import base64
import random

import dns.name

SIGNED = ["seed1.network.", "seed2.network."]
PLAIN = "plain.network."
ZONES = [*SIGNED, PLAIN]
# Where it does not matter which zone it is.
ZONE = SIGNED[0]

# Name servers within their zone; each has an address of both families.
SERVERS = {"seed1.network.": ["ns1", "ns2"], "seed2.network.": ["ns1"], PLAIN: []}

# Names of peers: of 20.1.1.1 and of 2a03:201::3.
A4, A6 = "cqaqcai.n", "fibqeaiaaaaaaaaaaaaaaaaaam.n"

# Draws the same in each run; each part of the run seeds it.
rng = random.Random()


def within(label, zone):
    """The name of a label in a zone; no label is the zone itself."""
    return f"{label}.{zone}" if label else zone


def label_of(ip):
    """What an address is called below n."""
    return base64.b32encode(ip.packed).rstrip(b"=").lower().decode()


def name_of(zone, *labels):
    """The name of labels (bytes) in a zone."""
    return dns.name.Name(labels + dns.name.from_text(zone).labels)
