//! What each attack is made of, and what it has to bring about.

use std::time::Duration;

use quantumcoin::network::security::events::Detector;

use super::Scenario;
use super::places::Places;

/// How much of an attack, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// As reports name it.
    pub(super) name: &'static str,
    /// Who has to find it. An attack that one of them does not see fails.
    pub(super) detectors: &'static [Detector],
    /// Where the attacker comes from.
    pub(super) places: Places,
    /// Connections of each host at a time.
    pub(super) connections: u32,
    /// A connection that has ended comes again after so long.
    pub(super) again: Duration,
    /// How long a round's attack lasts.
    pub(super) lasts: Duration,
    pub(super) rounds: usize,
    /// Between two blocks of the honest miner.
    pub(super) mined_every: Duration,
    /// Whether somebody has to be banned meanwhile.
    pub(super) bans: bool,
    /// Honest peers that are there before, …
    pub(super) residents: u8,
    /// … and that come when the attack is under way.
    pub(super) newcomers: u8,
    /// Nodes that the victim dials. Where there are none it only listens, and judges as on mainnet.
    pub(super) others: Others,
}

/// Nodes that the victim dials, on loopback, as on a devnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// There are none.
    None,
    /// It hears of them from the attacker.
    HeardOf,
    /// They are its manual peers, until the attacker has taken their addresses.
    Known,
}

/// Most attacks have shown all that they do after so long.
const SHORT: Duration = Duration::from_secs(8);

/// A few honest blocks in each round.
const MINED_EVERY: Duration = Duration::from_secs(2);

/// Connections that end come again after so long: at once, and no faster than a node that is not patient.
const AGAIN: Duration = Duration::from_millis(500);

/// Hosts of an attacker who relies on what he says, not on how many say it.
const FEW: u8 = 8;

impl Scenario {
    /// What it is made of.
    pub(super) fn plan(self, quick: bool) -> Plan {
        let plan = self.full();
        if !quick {
            return plan;
        }
        let quick = Plan { rounds: 1, ..plan };
        match self {
            // The ban comes after half a minute of pushing.
            Self::Pings => Plan {
                lasts: Duration::from_secs(10),
                bans: false,
                ..quick
            },
            Self::Sybil => Plan {
                lasts: Duration::from_secs(10),
                ..quick
            },
            Self::Impostors => Plan {
                lasts: Duration::from_secs(20),
                ..quick
            },
            _ => quick,
        }
    }

    fn full(self) -> Plan {
        use Detector as D;
        let few = |name, detectors| Plan {
            name,
            detectors,
            places: Places::apart(FEW),
            connections: 1,
            again: AGAIN,
            lasts: SHORT,
            rounds: 5,
            mined_every: MINED_EVERY,
            bans: true,
            residents: 4,
            newcomers: 0,
            others: Others::None,
        };
        let long = |plan, seconds| Plan {
            lasts: Duration::from_secs(seconds),
            rounds: 1,
            ..plan
        };
        let unbanned = |plan| Plan {
            bans: false,
            ..plan
        };
        match self {
            Self::Connections => Plan {
                // One subnet, of which each host comes again and again.
                places: Places {
                    hosts: 60,
                    groups: 1,
                    per_subnet: 250,
                },
                connections: 3,
                again: Duration::from_millis(100),
                ..unbanned(few(
                    "attack connections",
                    &[D::ConnectionFlood, D::SubnetSybil],
                ))
            },
            Self::Sybil => Plan {
                // As many netgroups as the attacker of `attack eclipse` has, and a few hosts more than a subnet may bring.
                places: Places {
                    hosts: 384,
                    groups: 32,
                    per_subnet: 12,
                },
                again: Duration::from_secs(1),
                newcomers: 16,
                ..long(unbanned(few("attack sybil", &[D::SubnetSybil])), 40)
            },
            Self::Addresses => few("attack addresses", &[D::AddressSpam]),
            Self::Inventories => few("attack inventories", &[D::InventorySpam]),
            Self::Pings => Plan {
                // Its connections are dropped together, and their offences count together.
                connections: 3,
                ..long(few("attack pings", &[D::PingFlood]), 40)
            },
            Self::Messages => few("attack messages", &[D::MessageFlood]),
            // A write may take a minute, in which TCP gets over the loss of packets.
            Self::SlowReaders => Plan {
                places: Places::apart(20),
                ..long(unbanned(few("attack slow-readers", &[D::SlowReader])), 66)
            },
            // Five looks, fifteen seconds apart, that find a message hardly longer than before.
            Self::SlowWriters => Plan {
                places: Places::apart(20),
                ..long(unbanned(few("attack slow-writers", &[D::SlowWriter])), 85)
            },
            Self::InvalidHeaders => few("attack invalid-headers", &[D::InvalidData]),
            Self::LowWorkHeaders => few("attack low-work-headers", &[D::LowWorkHeaders]),
            Self::InvalidBlocks => few("attack invalid-blocks", &[D::InvalidData]),
            // Three stalls, after each of which the victim waits longer. With each honest block it begins anew, so these have
            // to be rare, as they are.
            Self::WithheldBlocks => Plan {
                places: Places::apart(1),
                mined_every: Duration::from_secs(12),
                ..long(
                    unbanned(few("attack withheld-blocks", &[D::BlockWithholding])),
                    50,
                )
            },
            Self::ClockSkew => unbanned(few("attack clock-skew", &[D::ClockSkew])),
            Self::Downgrade => Plan {
                others: Others::HeardOf,
                ..unbanned(few(
                    "attack downgrade",
                    &[D::Downgrade, D::TransportFallback],
                ))
            },
            Self::Identities => few("attack identities", &[D::ForgedIdentity]),
            // A node that is gone is dialled again after a second, two, four …, and by a new key only after it was by the
            // one that is known.
            Self::Impostors => Plan {
                others: Others::Known,
                ..long(unbanned(few("attack impostors", &[D::IdentityChanged])), 40)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_name_of_a_plan_is_that_of_its_command() {
        for scenario in Scenario::value_variants() {
            let command = format!("attack {}", scenario.name());
            assert_eq!(scenario.plan(true).name, command);
        }
    }

    #[test]
    fn each_attack_has_a_detector_and_each_detector_an_attack() {
        let plans = Scenario::value_variants().iter().map(|s| s.plan(false));
        let mut found: HashSet<_> = plans.flat_map(|plan| plan.detectors).copied().collect();
        // `attack handshakes` is beside these.
        found.insert(Detector::HandshakeFlood);
        assert_eq!(found.len(), 17);
        let none = |s: &Scenario| s.plan(true).detectors.is_empty();
        assert!(!Scenario::value_variants().iter().any(none));
    }

    #[test]
    fn a_full_run_of_an_attack_takes_a_minute_and_a_half_at_most() {
        for scenario in Scenario::value_variants() {
            for quick in [true, false] {
                let plan = scenario.plan(quick);
                let lasts = plan.lasts * u32::try_from(plan.rounds).unwrap();
                assert!(lasts <= Duration::from_secs(90), "{plan:?}");
            }
        }
    }
}
