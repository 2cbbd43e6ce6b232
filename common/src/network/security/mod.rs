//! Defence: what one peer may take, pure rules with the clock as an argument.
//!
//! | part | guards |
//! |---|---|
//! | [`limits`] | connection slots: per address, per subnet, in all, and handshakes in progress |
//! | [`handshakes`] | handshakes in a second, from one subnet and in all |
//! | `arrivals` | connections that one subnet opens, whatever becomes of them |
//! | [`ledger`] | what a peer sends without being asked; answers to our own questions never count |
//! | [`bans`] | addresses that proved to be hostile |

mod arrivals;
pub mod bans;
mod bucket;
pub mod handshakes;
pub mod ledger;
pub mod limits;
