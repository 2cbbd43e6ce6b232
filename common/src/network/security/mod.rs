//! Defence: what one peer may take, pure rules with the clock as an argument.
//!
//! | part | guards |
//! |---|---|
//! | [`limits`] | connection slots: per address, per subnet, in all, and handshakes in progress |
//! | [`handshakes`] | handshakes in a second, from one subnet and in all |
//! | `arrivals` | connections that one subnet opens, whatever becomes of them |
//! | [`ledger`] | what a peer sends without being asked; answers to our own questions never count |
//! | [`offence`] | what a peer can do wrong, and how much that weighs |
//! | [`standing`] | scores that decay, by host and netgroup, and the bans that follow; they outlive a restart |
//! | [`operator`] | networks that the operator keeps out |
//! | [`low_work`] | headers that cost nothing to make |
//! | [`eviction`] | who has to go when all inbound places are taken |
//! | [`clocks`] | how far the clocks of others are from ours |
//! | [`events`] | what was found and done, told to people |

mod arrivals;
mod bucket;
pub mod clocks;
pub mod events;
pub mod eviction;
pub mod handshakes;
pub mod ledger;
pub mod limits;
pub mod low_work;
pub mod offence;
pub mod operator;
pub mod standing;
