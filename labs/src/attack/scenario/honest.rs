//! Honest peers, which stay, and ask for what a peer may ask for all the while.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::{GetHeadersMessage, Inventory};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::session::Session;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::places;
use crate::attack::dial::Dial;

/// Between two questions of a peer. One in five is a ping, of which a peer may send a hundred a minute.
const EVERY: Duration = Duration::from_millis(200);

/// What has not come by then has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever is thrown out comes again after so long, as a node dials a manual peer.
const AGAIN: Duration = Duration::from_secs(1);

/// How questions went: how long the answer took, or that none came.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Vec<Option<Duration>>>>);

impl Answers {
    pub(super) fn add(&self, answer: Option<Duration>) {
        self.lock().push(answer);
    }

    /// What has come since this was asked last.
    pub(super) fn take(&self) -> Vec<Option<Duration>> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Duration>>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a peer asks for.
enum Question {
    Ping(u64),
    Headers,
    Block(BlockHash),
}

impl Question {
    /// Pings, headers and blocks in turn.
    fn new(number: u64, genesis: BlockHash, known: &[BlockHash]) -> Self {
        match number % 5 {
            0 => Self::Ping(number),
            1 | 3 => Self::Headers,
            _ => {
                let place = number as usize % known.len().max(1);
                Self::Block(known.get(place).copied().unwrap_or(genesis))
            }
        }
    }

    fn message(&self, genesis: BlockHash) -> NetworkMessage {
        match self {
            Self::Ping(nonce) => NetworkMessage::Ping(*nonce),
            Self::Headers => NetworkMessage::GetHeaders(GetHeadersMessage::new(
                vec![genesis],
                BlockHash::all_zeros(),
            )),
            Self::Block(hash) => NetworkMessage::GetData(vec![Inventory::WitnessBlock(*hash)]),
        }
    }

    fn is_answered_by(&self, message: &NetworkMessage) -> bool {
        match (self, message) {
            (Self::Ping(nonce), NetworkMessage::Pong(answer)) => nonce == answer,
            // Not the news of one block.
            (Self::Headers, NetworkMessage::Headers(headers)) => headers.len() > 1,
            (Self::Block(hash), NetworkMessage::Block(block)) => block.block_hash() == *hash,
            _ => false,
        }
    }
}

/// The honest peer with this number: as long as it is let, and again when it is not.
pub(super) async fn stay(to: SocketAddr, number: u8, answers: Answers) {
    let spec = ChainSpec::devnet();
    loop {
        match timeout(PATIENCE, Dial::new(places::honest(number), to).peer(&spec)).await {
            Ok(Ok(mut session)) => ask(&mut session, &spec, &answers).await,
            Ok(Err(_)) | Err(_) => answers.add(None),
        }
        sleep(AGAIN).await;
    }
}

/// Asks until an answer fails to come.
async fn ask(session: &mut Session, spec: &ChainSpec, answers: &Answers) {
    let genesis = spec.genesis_hash();
    let mut known = vec![genesis];
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        let question = Question::new(number, genesis, &known);
        let start = Instant::now();
        let Ok(Ok(message)) = timeout(PATIENCE, answer(session, &question, genesis)).await else {
            return answers.add(None);
        };
        answers.add(Some(start.elapsed()));
        if let NetworkMessage::Headers(headers) = message {
            known = headers.iter().map(Header::block_hash).collect();
        }
    }
}

async fn answer(
    session: &mut Session,
    question: &Question,
    genesis: BlockHash,
) -> anyhow::Result<NetworkMessage> {
    session.writer.write(&question.message(genesis)).await?;
    loop {
        let message = session.reader.read().await?;
        if question.is_answered_by(&message) {
            return Ok(message);
        }
        if let NetworkMessage::Ping(nonce) = message {
            session.writer.write(&NetworkMessage::Pong(nonce)).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_peer_stays_below_the_limit_of_pings() {
        let genesis = BlockHash::all_zeros();
        let minute = 60_000 / EVERY.as_millis() as u64;
        let questions = (0..minute).map(|number| Question::new(number, genesis, &[genesis]));
        let pings = questions.filter(|q| matches!(q, Question::Ping(_)));
        let most = ChainSpec::mainnet()
            .network_protocol
            .max_messages_per_minute;
        assert!(pings.count() as u32 <= most * 2 / 3);
    }

    #[test]
    fn news_are_no_answers() {
        let genesis = ChainSpec::devnet().genesis_block().header;
        let news = NetworkMessage::Headers(vec![genesis]);
        assert!(!Question::Headers.is_answered_by(&news));
        let all = NetworkMessage::Headers(vec![genesis; 2]);
        assert!(Question::Headers.is_answered_by(&all));
        assert!(!Question::Ping(1).is_answered_by(&NetworkMessage::Pong(2)));
        assert!(Question::Ping(1).is_answered_by(&NetworkMessage::Pong(1)));
    }
}
