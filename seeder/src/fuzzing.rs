//! A seeder without sockets, for the fuzz target `dns_query`; compiled with the feature `fuzzing` alone.
#![allow(
    clippy::expect_used,
    reason = "a harness that can't be set up has nothing to test"
)]

use std::{cell::Cell, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use quantumcoin::{
    chain_spec::ChainSpec, reachability::GoodPeer, service::metrics::Metrics, store::GoodSet,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    SeederConfig,
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        times::Times,
    },
    respond::{Asker, Moment, Responder, Transport},
    server::counters::Counters,
    setup::Setup,
    snapshot::Snapshot,
    state::State,
    zone::{Zone, ZoneOptions},
};

/// The zones: one that is signed and one that is not.
const ZONES: [&str; 2] = ["seed1.quantumcoin.network", "seed2.quantumcoin.network"];

/// A responder with a clock that moves on at each query, so that neither limits nor budgets end the work.
#[derive(Debug)]
pub struct Bench {
    responder: Responder,
    micros: Cell<u64>,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// With 120 peers.
    ///
    /// # Panics
    /// When it can't be set up.
    #[must_use]
    pub fn new() -> Self {
        let keys = std::env::temp_dir().join(format!("quantumcoin-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&keys).expect("a directory for keys");
        let [signed, _] = ZONES;
        let zone = Zone::new(signed, &ZoneOptions::default()).expect("a zone");
        let times = Times::from_now(0);
        let key = Key::generate(
            *zone.apex_wire(),
            Algorithm::EcdsaP256,
            Role::KeySigning,
            times,
        );
        // Of a run that had the same number.
        let _ = keyfile::write(&keys, &key.expect("a key"));
        let config = SeederConfig {
            zones: ZONES.map(str::to_owned).into(),
            keys: Some(keys.clone()),
            ..SeederConfig::new(ChainSpec::mainnet())
        };
        let counters = Counters::new(&Metrics::new("fuzz")).expect("counters");
        let setup = Arc::new(Setup::new(&config, &counters, None).expect("a setup"));
        let peer = |addr: String| GoodPeer {
            services: 9,
            quality: 0.9,
            ..GoodPeer::unknown(addr.parse().expect("an address"))
        };
        let addrs =
            (1..=60).flat_map(|n| [format!("{n}.1.2.3:8333"), format!("[2400:{n}::1]:8333")]);
        let set = GoodSet {
            peers: addrs.map(peer).collect(),
            generation: 1,
            newest_probe_at: Some(1),
            ..GoodSet::default()
        };
        let mut rng = StdRng::seed_from_u64(1);
        let snapshot = Snapshot::build(
            set,
            &config.policy(&config.build_zones().expect("zones")),
            None,
            1000,
            &mut rng,
        );
        let state = State::new(setup, Arc::new(snapshot), 1000, None).expect("a state");
        std::fs::remove_dir_all(&keys).expect("the keys are removed");
        Self {
            responder: Responder::new(Arc::new(ArcSwap::from_pointee(state)), counters),
            micros: Cell::new(0),
        }
    }

    /// The response to a packet.
    #[must_use]
    pub fn respond(&self, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        self.micros.set(self.micros.get() + 1_000_000);
        let from = Asker {
            addr: SocketAddr::from(([192, 0, 2, 1], 5353)),
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            moment: Moment {
                unix: 1_800_000_000,
                micros: self.micros.get(),
            },
            idle: Duration::from_secs(if tcp { 10 } else { 0 }),
        };
        let mut out = Vec::new();
        let state = self.responder.state().load();
        self.responder
            .respond(&state, packet, from, &mut out)
            .then_some(out)
    }
}
