//! What changes something. The guard has seen the token.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use quantumcoin::network::control::{Banned, Dropped, Stay};
use quantumcoin::network::security::operator::Network;
use serde::{Deserialize, Serialize};

use super::Api;
use super::network::peer_ref;
use super::problem::Problem;

/// How long a ban lasts where nothing is said: a day, as Bitcoin Core's.
const DEFAULT_BAN_SECONDS: u64 = 24 * 3_600;

/// The longest ban with an end, in seconds: ten years. What is to last longer is for ever.
const LONGEST_BAN: u64 = 10 * 365 * 24 * 3_600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddPeer {
    addr: SocketAddr,
    #[serde(default)]
    once: bool,
}

/// A peer that is dialled from now on.
#[derive(Debug, Serialize)]
pub(super) struct Added {
    addr: SocketAddr,
    once: bool,
}

pub(super) async fn add_peer(
    State(api): State<Api>,
    body: Result<Json<AddPeer>, JsonRejection>,
) -> Result<(StatusCode, Json<Added>), Problem> {
    let Json(AddPeer { addr, once }) = body?;
    let stay = if once { Stay::Once } else { Stay::Kept };
    api.network.add_peer(addr, stay).await?;
    Ok((StatusCode::ACCEPTED, Json(Added { addr, once })))
}

pub(super) async fn drop_peer(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Dropped>, Problem> {
    let who = peer_ref(&path?.0)?;
    Ok(Json(api.network.drop_peer(who).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ban {
    network: String,
    seconds: Option<u64>,
    #[serde(default)]
    forever: bool,
    #[serde(default)]
    reason: String,
}

impl Ban {
    fn lasts(&self) -> Result<Option<u64>, Problem> {
        let wrong = |error: &str| {
            Err(Problem::bad_request(
                error,
                "give seconds from 1 to 315360000, or \"forever\": true",
            ))
        };
        match (self.seconds, self.forever) {
            (None, false) => Ok(Some(DEFAULT_BAN_SECONDS)),
            (None, true) => Ok(None),
            (Some(_), true) => wrong("a ban is for seconds or for ever, not both"),
            (Some(seconds), false) if (1..=LONGEST_BAN).contains(&seconds) => Ok(Some(seconds)),
            (Some(_), false) => wrong("a ban can't last so long"),
        }
    }
}

pub(super) async fn ban(
    State(api): State<Api>,
    body: Result<Json<Ban>, JsonRejection>,
) -> Result<(StatusCode, Json<Banned>), Problem> {
    let Json(ban) = body?;
    let (network, seconds) = (network(&ban.network)?, ban.lasts()?);
    // It comes back in logs and on terminals.
    let reason: String = ban.reason.chars().filter(|c| !c.is_control()).collect();
    let banned = api.network.ban(network, seconds, &reason).await?;
    Ok((StatusCode::CREATED, Json(banned)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unban {
    network: String,
}

/// A network that was let in again.
#[derive(Debug, Serialize)]
pub(super) struct Lifted {
    network: Network,
}

pub(super) async fn unban(
    State(api): State<Api>,
    query: Result<Query<Unban>, QueryRejection>,
) -> Result<Json<Lifted>, Problem> {
    let Query(query) = query?;
    let network = network(&query.network)?;
    api.network.unban(network).await?;
    Ok(Json(Lifted { network }))
}

fn network(text: &str) -> Result<Network, Problem> {
    text.parse().map_err(|error| {
        let error: quantumcoin::network::security::operator::NetworkFormError = error;
        Problem::bad_request(error.to_string(), "write ADDR or ADDR/BITS")
    })
}

/// What the node was asked to do, and does in the background.
#[derive(Debug, Serialize)]
pub(super) struct Begun {
    begun: bool,
}

pub(super) async fn look_at_nat_again(
    State(api): State<Api>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    api.network.look_at_nat_again().await?;
    Ok((StatusCode::ACCEPTED, Json(Begun { begun: true })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submit {
    hex: String,
}

/// A transaction that was taken into the pool, and is announced to peers.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    txid: String,
    wtxid: String,
    /// In base units.
    fee: u64,
    /// In base units for 1,000 bytes.
    fee_per_kb: u64,
    replaced: Vec<String>,
}

pub(super) async fn submit(
    State(api): State<Api>,
    body: Result<Json<Submit>, JsonRejection>,
) -> Result<(StatusCode, Json<Submitted>), Problem> {
    let Json(Submit { hex }) = body?;
    let tx: Transaction = deserialize_hex(hex.trim()).map_err(|error| {
        Problem::bad_request(
            format!("that is no transaction: {error}"),
            "send its serialization with witnesses, as hexadecimal digits",
        )
    })?;
    let accepted = api.network.submit_transaction(tx).await?;
    let submitted = Submitted {
        txid: accepted.txid.to_string(),
        wtxid: accepted.wtxid.to_string(),
        fee: accepted.fee,
        fee_per_kb: accepted.fee_rate.per_kb(),
        replaced: accepted.replaced.iter().map(ToString::to_string).collect(),
    };
    Ok((StatusCode::ACCEPTED, Json(submitted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_lasts_as_long_as_is_said() {
        let ban = |seconds, forever| {
            let (network, reason) = (String::new(), String::new());
            Ban {
                network,
                seconds,
                forever,
                reason,
            }
            .lasts()
        };
        assert_eq!(ban(None, false), Ok(Some(DEFAULT_BAN_SECONDS)));
        assert_eq!(ban(Some(60), false), Ok(Some(60)));
        assert_eq!(ban(None, true), Ok(None));
        assert!(ban(Some(60), true).is_err());
        assert!(ban(Some(0), false).is_err() && ban(Some(u64::MAX), false).is_err());
    }
}
