//! The kinds of NAT and firewall, as nftables rules and in the words of those who name them.

use super::space::Space;

/// What stands between a host and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: the host has a public address and everything comes in.
    Open,
    /// A public address, and only answers come in.
    Firewalled,
    /// Whoever sends to the mapped port comes in.
    FullCone,
    /// Whoever has been sent to comes in, from any port of his.
    AddressRestricted,
    /// Only what has been sent to comes in.
    PortRestricted,
    /// A new port for each destination.
    Symmetric,
    /// UDP does not come through.
    Blocked,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Open,
        Self::Firewalled,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::Blocked,
    ];

    /// The node's word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Firewalled => "firewalled",
            Self::FullCone => "full_cone",
            Self::AddressRestricted => "address_restricted",
            Self::PortRestricted => "port_restricted",
            Self::Symmetric => "symmetric",
            Self::Blocked => "blocked",
        }
    }

    /// What Debian's `stun` says of it.
    pub(super) fn in_stun_client_words(self) -> &'static str {
        match self {
            Self::Open => "Primary: Open",
            Self::Firewalled => "Primary: Firewall",
            Self::FullCone => "Primary: Independent Mapping, Independent Filter",
            Self::AddressRestricted => "Primary: Independent Mapping, Address Dependent Filter",
            Self::PortRestricted => "Primary: Independent Mapping, Port Dependent Filter",
            Self::Symmetric => "Primary: Dependent Mapping",
            Self::Blocked => "Primary: Blocked",
        }
    }

    /// Whether a router stands between.
    pub(super) fn is_behind_router(self) -> bool {
        !matches!(self, Self::Open | Self::Firewalled)
    }

    /// Gives a router these rules; of IPv6 only answers come in.
    pub(super) fn set_on_router(self, router: &Space) -> anyhow::Result<()> {
        let restricted = "meta l4proto . th dport . ip saddr @spoken_to ";
        let (into, out) = match self {
            Self::FullCone => (into_mapped(""), "masquerade"),
            Self::AddressRestricted => (into_mapped(restricted), "masquerade"),
            Self::Symmetric => (String::new(), "masquerade fully-random"),
            _ => (String::new(), "masquerade"),
        };
        let first = if self == Self::Blocked {
            "meta l4proto udp drop"
        } else {
            ""
        };
        router.nft(&format!("{}\n{}", nat(&into, out), guard(first)))
    }
}

/// Lets what comes from outside in to where the port is mapped to.
fn into_mapped(restricted: &str) -> String {
    format!("iifname wan0 {restricted}dnat ip to meta l4proto . th dport map @mapped")
}

/// Network address translation. Linux keeps the port where it is free, and its own mappings let only answers in: wider kinds
/// need a memory of who sent from which port, and to whom. It forgets after the two minutes that RFC 4787 asks for.
fn nat(into: &str, out: &str) -> String {
    format!(
        "table ip lab_nat {{
            map mapped {{
                type inet_proto . inet_service : ipv4_addr; flags dynamic,timeout; timeout 2m; size 65535;
            }}
            set spoken_to {{
                type inet_proto . inet_service . ipv4_addr; flags dynamic,timeout; timeout 2m; size 65535;
            }}
            chain remember {{
                type filter hook postrouting priority srcnat - 10;
                oifname wan0 meta l4proto {{ tcp, udp }} update @mapped {{ meta l4proto . th sport : ip saddr }}
                oifname wan0 meta l4proto {{ tcp, udp }} update @spoken_to {{ meta l4proto . th sport . ip daddr }}
            }}
            chain into {{
                type nat hook prerouting priority dstnat;
                {into}
            }}
            chain out {{
                type nat hook postrouting priority srcnat;
                oifname wan0 {out}
            }}
        }}"
    )
}

/// What else a router lets through. What comes to itself unasked is dropped, not refused: a refusal would be an answer, of a
/// flow that takes its port from one of the network behind it.
fn guard(first: &str) -> String {
    format!(
        "table inet lab_guard {{
            chain to_router {{
                type filter hook input priority filter;
                iifname wan0 ct state established,related accept
                iifname wan0 meta l4proto ipv6-icmp accept
                iifname wan0 drop
            }}
            chain through {{
                type filter hook forward priority filter; policy drop;
                {first}
                iifname lan0 accept
                ct state established,related accept
                ct status dnat accept
                meta l4proto ipv6-icmp accept
            }}
        }}"
    )
}

/// Gives a host on the internet a firewall that lets only answers in.
pub(super) fn set_firewall(host: &Space) -> anyhow::Result<()> {
    host.nft(
        "table inet lab_guard {
            chain to_host {
                type filter hook input priority filter; policy drop;
                iif lo accept
                ct state established,related accept
                meta l4proto ipv6-icmp accept
            }
        }",
    )
}
