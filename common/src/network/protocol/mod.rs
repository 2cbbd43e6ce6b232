//! Conversations between peers as small state machines: an input event comes in, actions come out.
//!
//! Nothing in here reads a clock, a socket or a random number: the node's hub and the crawler's probe
//! drive the same machines, and tests drive them without a network.
//!
//! | machine | conversation |
//! |---|---|
//! | [`version`] | `version` / `verack`, first and once |
//! | [`headers`] | which peer to ask for headers next, and when to ask another |
//! | [`blocks`] | which block to ask of which peer, and when a peer stalls |
//! | [`compact_blocks`] | a new block from its short ids and the pool |
//! | [`transactions`] | which announced transaction to ask of whom, what to announce when |
//! | [`dial_back`] | whether others can dial us, and dialling others to tell them |
//! | [`addresses`] | what to answer to `getaddr`, what to believe of gossip |

pub mod addresses;
pub mod blocks;
pub mod compact_blocks;
pub mod dial_back;
pub mod headers;
pub mod transactions;
pub mod version;
