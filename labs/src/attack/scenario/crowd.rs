//! The attacker, in a process of his own: hosts that connect, do what the attack is made of, and come again when they are
//! thrown out.

use std::io::{BufRead, Read, stdin};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Args;
use quantumcoin::chain_spec::ChainSpec;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::chain::Known;
use super::forger::Forger;
use super::peer::{Counts, Hostile};
use super::plan::Plan;
use super::{Scenario, chatter, impostor, liar, slow};
use crate::attack::dial::Dial;
use crate::attack::flood::{raise_limit, step_back};
use crate::bench::worker;

/// Seconds by which a clock is wrong that is worth a word: as far ahead as a block may be.
const AHEAD: i64 = 7_200;

/// Who attacks whom, and how.
#[derive(Debug, Args)]
pub struct Crowd {
    /// The attack.
    scenario: Scenario,
    /// The victim.
    to: SocketAddr,
    /// Nodes to tell the victim of, or whose places to take.
    #[arg(long, value_delimiter = ',')]
    others: Vec<SocketAddr>,
    /// Whether it is a quick run.
    #[arg(long)]
    quick: bool,
}

/// What all connections need.
struct Attacker {
    crowd: Crowd,
    plan: Plan,
    spec: ChainSpec,
    known: Known,
    forger: Forger,
    counts: Arc<Counts>,
    /// Connections so far: what one says no other does.
    number: AtomicU64,
}

impl Crowd {
    /// Tells when it is ready, attacks after a line on standard input and until that ends; tells then what it did.
    pub(in crate::attack) fn run(self) -> anyhow::Result<()> {
        raise_limit();
        step_back();
        tokio::runtime::Runtime::new()?.block_on(self.attack())
    }

    async fn attack(self) -> anyhow::Result<()> {
        let spec = ChainSpec::devnet();
        let attacker = Arc::new(Attacker {
            plan: self.scenario.plan(self.quick),
            known: Known::new(&spec)?,
            forger: Forger::new()?,
            spec,
            crowd: self,
            counts: Arc::default(),
            number: AtomicU64::new(0),
        });
        worker::tell(&json!({ "ready": true }))?;
        spawn_blocking(|| stdin().lock().read_line(&mut String::new())).await??;
        attacker.begin();
        spawn_blocking(|| stdin().lock().read_to_end(&mut Vec::new())).await??;
        let counts = &attacker.counts;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        worker::tell(&json!({
            "bytes": count(&counts.sent),
            "tried": count(&counts.tried),
            "peers": count(&counts.peers),
            "first_act": counts.first_act(),
        }))
    }
}

impl Attacker {
    /// What he does happens in the background.
    fn begin(self: &Arc<Self>) {
        if self.crowd.scenario == Scenario::Impostors {
            for addr in &self.crowd.others {
                let counts = Arc::clone(&self.counts);
                tokio::spawn(impostor::stand(*addr, self.crowd.to, counts));
            }
            return;
        }
        for host in 0..self.plan.places.hosts {
            for _ in 0..self.plan.connections {
                tokio::spawn(Arc::clone(self).come_again(host));
            }
        }
    }

    /// One connection of a host after the other.
    async fn come_again(self: Arc<Self>, host: u32) {
        loop {
            self.counts.tried.fetch_add(1, Ordering::Relaxed);
            // How it ends is the victim's to say; what came of it all shows in what the victim tells.
            let _ = self.connection(host).await;
            sleep(self.plan.again).await;
        }
    }

    async fn connection(&self, host: u32) -> anyhow::Result<()> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let scenario = self.crowd.scenario;
        let dial = Dial {
            from: self.plan.places.host(host),
            to: self.crowd.to,
            ahead: if scenario == Scenario::ClockSkew {
                AHEAD
            } else {
                0
            },
            narrow: scenario == Scenario::SlowReaders,
        };
        if scenario == Scenario::Identities {
            return self.forger.forge(dial, &self.counts).await;
        }
        if matches!(
            scenario,
            Scenario::Connections | Scenario::Sybil | Scenario::ClockSkew
        ) {
            // To come is all that it does.
            self.counts.act();
        }
        let mut peer = Hostile::connect(&self.spec, dial, &self.counts).await?;
        self.behave(&mut peer, host, number).await
    }

    /// What it does as a peer.
    async fn behave(&self, peer: &mut Hostile, host: u32, number: u64) -> anyhow::Result<()> {
        match self.crowd.scenario {
            // Half of them go as soon as they are in, to come again.
            Scenario::Connections if host.is_multiple_of(2) => Ok(()),
            Scenario::Connections | Scenario::Sybil | Scenario::ClockSkew => peer.hold().await,
            Scenario::Addresses => chatter::addresses(peer, host).await,
            Scenario::Inventories => chatter::inventories(peer, host).await,
            Scenario::Pings => chatter::pings(peer).await,
            Scenario::Messages => chatter::messages(peer, host).await,
            Scenario::SlowReaders => slow::reader(peer, &self.known.blocks).await,
            Scenario::SlowWriters => slow::writer(peer).await,
            Scenario::InvalidHeaders => liar::unworked(peer, &self.known, number).await,
            Scenario::LowWorkHeaders => liar::low_work(peer, &self.known, number).await,
            Scenario::InvalidBlocks => liar::invalid_block(peer, &self.known, number).await,
            Scenario::WithheldBlocks => liar::withheld_block(peer, &self.known, number).await,
            Scenario::Downgrade => {
                let others = &self.crowd.others;
                let place = number as usize % others.len().max(1);
                let addr = others.get(place).context("nobody to tell of")?;
                chatter::slander(peer, *addr).await
            }
            Scenario::Identities | Scenario::Impostors => Ok(()),
        }
    }
}
