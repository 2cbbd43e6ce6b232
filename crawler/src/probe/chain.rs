//! Proof that a peer holds our chain, by headers.
//!
//! The crawler keeps a header chain of its own, checked like a node's: every header that a peer shows goes
//! through the same rules. A peer is asked for what follows a header some blocks below the top, so that an
//! honest one always has something to show; the answer must continue from there with valid work. What
//! is new in it moves the crawler's own chain forward, so proving and synchronising are one thing.

use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::GetHeadersMessage;
use quantumcoin::chain::BlockRef;
use quantumcoin::network::protocol::headers::HEADERS_PER_MESSAGE;
use quantumcoin::reachability::Outcome;
use quantumcoin::transport::Stream;
use tokio::time::timeout;

use super::conversation::Conversation;
use super::failure::Failure;
use super::{Prober, unix_now};

/// How far below the top the question starts, in blocks. Deeper than the reorganisations that honest
/// networks see, so peers that disagree about the last blocks still agree there.
pub(super) const PROOF_DEPTH: u32 = 8;

/// Longest wait for another visit's download. Well below the time limit of the whole proof, so that a peer
/// that feeds us slowly can't make all others fail; each then downloads on its own, from where the crawler's
/// chain has come to meanwhile.
const TURN: Duration = Duration::from_secs(20);

impl Prober {
    /// What a peer that claims this height is asked to prove its chain by: the locator and the message.
    pub(super) fn proof_question(&self, claimed: i32) -> (Vec<BlockHash>, NetworkMessage) {
        let locator = self.anchors(u32::try_from(claimed).unwrap_or(0));
        (locator.clone(), self.headers_question(locator))
    }

    /// Lets the peer, which was asked for what follows this locator, show headers up to the height that it claims. Returns
    /// the last header shown.
    pub(super) async fn prove<S: Stream>(
        &self,
        talk: &mut Conversation<S>,
        claimed: i32,
        locator: &[BlockHash],
    ) -> Result<BlockRef, Failure> {
        let claimed = u32::try_from(claimed).unwrap_or(0);
        let headers = talk.answer(self.limits.answer, HEADERS, headers).await?;
        let mut shown = self.judge(locator, &headers)?;
        if headers.len() >= HEADERS_PER_MESSAGE {
            let further = self.sync(talk, claimed).await?;
            shown = further
                .filter(|last| last.height > shown.height)
                .unwrap_or(shown);
        }
        if shown.height.saturating_add(self.max_lag) < claimed {
            let detail = format!(
                "claims height {claimed}, shows headers up to {}",
                shown.height
            );
            return Err(Failure::new(Outcome::WrongChain, detail));
        }
        // The same rule by which those are doubted who have passed before.
        if self.is_left_behind(&shown.hash) {
            let detail = "its chain left ours long ago and has less work";
            return Err(Failure::new(Outcome::WrongChain, detail));
        }
        Ok(shown)
    }

    /// Our header at the proof's depth below the peer's top (or ours, if lower), and older ones down to the
    /// genesis block.
    fn anchors(&self, claimed: u32) -> Vec<BlockHash> {
        let top = self.chain.best_header().height.min(claimed);
        let anchor = top.saturating_sub(PROOF_DEPTH);
        let genesis = self.spec.genesis_hash();
        let mut locator = self.chain.locator();
        locator.retain(|hash| {
            self.chain
                .header(hash)
                .is_some_and(|(height, _)| height <= anchor)
        });
        if locator.last() != Some(&genesis) {
            locator.push(genesis);
        }
        locator
    }

    /// Takes the first answer in and returns the header that it reaches.
    fn judge(&self, locator: &[BlockHash], headers: &[Header]) -> Result<BlockRef, Failure> {
        let Some(first) = headers.first() else {
            return Ok(BlockRef {
                height: 0,
                hash: self.spec.genesis_hash(),
            });
        };
        let shown = self.accept(headers)?;
        // Peers with more work than we knew may have left our anchor; all others must build on it.
        let on_anchor = locator.first() == Some(&first.prev_blockhash);
        if !on_anchor && self.chain.best_header().height > shown.height {
            let detail = "its chain left ours long ago and has less work";
            return Err(Failure::new(Outcome::WrongChain, detail));
        }
        Ok(shown)
    }

    /// Downloads the rest of a long chain; one visit at a time as long as that is quick, so that a crowd does
    /// not fetch it many times.
    async fn sync<S: Stream>(
        &self,
        talk: &mut Conversation<S>,
        claimed: u32,
    ) -> Result<Option<BlockRef>, Failure> {
        let turn = TURN.min(self.limits.chain / 4);
        let _turn = timeout(turn, self.syncing.lock()).await.ok();
        let start = Instant::now();
        let mut last: Option<BlockRef> = None;
        // An honest peer needs no more messages than its height fills, give or take new blocks.
        let most = claimed as usize / HEADERS_PER_MESSAGE + 2;
        for _ in 0..most {
            let headers = self
                .ask_headers(talk, self.continuation(claimed, last))
                .await?;
            if headers.is_empty() {
                break;
            }
            let reached = self.accept(&headers)?;
            let progress = last.is_none_or(|last| reached.height > last.height);
            last = Some(reached);
            if headers.len() < HEADERS_PER_MESSAGE || !progress {
                break;
            }
        }
        let height = last.map_or(0, |last| last.height);
        tracing::debug!(height, took = ?start.elapsed(), "headers downloaded");
        Ok(last)
    }

    /// Where a download goes on: after the peer's last header, or higher up if another visit has been faster.
    fn continuation(&self, claimed: u32, last: Option<BlockRef>) -> Vec<BlockHash> {
        let anchors = self.anchors(claimed);
        let height = |hash| self.chain.header(hash).map_or(0, |(height, _)| height);
        match last {
            Some(last)
                if anchors
                    .first()
                    .is_none_or(|first| height(first) < last.height) =>
            {
                vec![last.hash, self.spec.genesis_hash()]
            }
            _ => anchors,
        }
    }

    fn accept(&self, headers: &[Header]) -> Result<BlockRef, Failure> {
        let now = u32::try_from(unix_now()).unwrap_or(u32::MAX);
        let accepted = self
            .chain
            .accept_headers(headers, now)
            .map_err(|e| Failure::headers(&e))?;
        Ok(accepted.last)
    }

    async fn ask_headers<S: Stream>(
        &self,
        talk: &mut Conversation<S>,
        locator_hashes: Vec<BlockHash>,
    ) -> Result<Vec<Header>, Failure> {
        let question = self.headers_question(locator_hashes);
        talk.ask(&question, self.limits.answer, HEADERS, headers)
            .await
    }

    fn headers_question(&self, locator_hashes: Vec<BlockHash>) -> NetworkMessage {
        NetworkMessage::GetHeaders(GetHeadersMessage {
            version: self.spec.network_protocol.protocol_version,
            locator_hashes,
            stop_hash: BlockHash::all_zeros(),
        })
    }
}

/// As time-outs name them.
const HEADERS: &str = "the headers";

fn headers(message: NetworkMessage) -> Option<Vec<Header>> {
    match message {
        NetworkMessage::Headers(headers) => Some(headers),
        _ => None,
    }
}
