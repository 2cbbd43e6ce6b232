//! Reading the chain: its end, headers and blocks by height or hash, transactions that wait.
//!
//! A transaction in a block is found through its block: the chain keeps no index of transactions. Blocks come from the disk on
//! threads that may wait for it, few at a time, each until its last byte has been taken.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize, serialize_hex};
use bitcoin::{Block, BlockHash, Transaction, Txid};
use futures_util::stream;
use quantumcoin::chain::p2mldsa::Address;
use quantumcoin::network::protocol::transactions::TxRef;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::problem::Problem;

/// Transactions of a block's page, unless asked for otherwise, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// Bytes handed to the connection at a time.
const CHUNK: usize = 64 * 1024;

/// How an answer is to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    /// Hexadecimal digits as text.
    Hex,
    /// Octets.
    Raw,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockQuery {
    format: Option<Format>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormatQuery {
    format: Option<Format>,
}

/// As the query says, or the header `accept`.
fn format(asked: Option<Format>, headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    asked.unwrap_or(match accept.map(str::trim) {
        Some("application/octet-stream") => Format::Raw,
        Some("text/plain") => Format::Hex,
        _ => Format::Json,
    })
}

/// The end of the chain of verified blocks, and of the best chain of headers.
#[derive(Debug, Serialize)]
pub(super) struct Tip {
    height: u32,
    hash: String,
    time: u32,
    header_height: u32,
    header_hash: String,
}

pub(super) async fn tip(State(api): State<Api>) -> Json<Tip> {
    let (tip, best) = (api.chain.tip(), api.chain.best_header());
    let header = api.chain.header(&tip.hash);
    Json(Tip {
        height: tip.height,
        hash: tip.hash.to_string(),
        time: header.map_or(0, |(_, header)| header.time),
        header_height: best.height,
        header_hash: best.hash.to_string(),
    })
}

/// A header.
#[derive(Debug, Serialize)]
pub(super) struct HeaderJson {
    height: u32,
    hash: String,
    /// Whether its block is on the chain of verified blocks.
    verified: bool,
    /// Blocks from it to the tip, it included; 0 where it is on no verified chain.
    confirmations: u32,
    version: i32,
    previous: String,
    merkle_root: String,
    /// Unix seconds, as its miner says.
    time: u32,
    /// Compact difficulty target.
    bits: String,
    nonce: u32,
    /// All 80 bytes.
    hex: String,
}

impl Api {
    /// The block that is named by height on the best chain of headers, or by hash on any.
    fn named(&self, name: &str) -> Result<(u32, BlockHash, Header), Problem> {
        let absent = || {
            Problem::not_found(
                "there is no such block",
                "GET /api/v1/tip tells how high the chain is",
            )
        };
        let hash = if name.len() == 64 {
            name.parse::<BlockHash>().ok()
        } else {
            let height: Option<u32> = name.parse().ok();
            let height = height.ok_or_else(|| {
                Problem::bad_request(
                    "that names no block",
                    "write its height, or the 64 digits of its hash",
                )
            })?;
            self.chain.best_header_at(height)
        };
        let hash = hash.ok_or_else(absent)?;
        let (height, header) = self.chain.header(&hash).ok_or_else(absent)?;
        Ok((height, hash, header))
    }

    fn header_json(&self, height: u32, hash: BlockHash, header: &Header) -> HeaderJson {
        let verified = self.chain.is_verified(&hash);
        let above = self.chain.tip().height.saturating_sub(height);
        HeaderJson {
            height,
            hash: hash.to_string(),
            verified,
            confirmations: if verified { above + 1 } else { 0 },
            version: header.version.to_consensus(),
            previous: header.prev_blockhash.to_string(),
            merkle_root: header.merkle_root.to_string(),
            time: header.time,
            bits: format!("{:08x}", header.bits.to_consensus()),
            nonce: header.nonce,
            hex: serialize_hex(header),
        }
    }
}

pub(super) async fn header(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<FormatQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (height, hash, header) = api.named(&path?.0)?;
    Ok(match format(query?.0.format, &headers) {
        Format::Json => Json(api.header_json(height, hash, &header)).into_response(),
        Format::Hex => text(serialize_hex(&header)),
        Format::Raw => octets(Body::from(serialize(&header))),
    })
}

/// A block, with a part of its transactions.
#[derive(Debug, Serialize)]
pub(super) struct BlockJson {
    #[serde(flatten)]
    header: HeaderJson,
    bytes: usize,
    transaction_count: usize,
    /// Transactions of the block before these.
    offset: usize,
    transactions: Vec<TransactionJson>,
}

pub(super) async fn block(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<BlockQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::bad_request(
            format!("limit is {limit}"),
            "choose 1 to 1000",
        ));
    }
    let (height, hash, header) = api.named(&path?.0)?;
    let permit = Arc::clone(&api.blocks).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many blocks are being read", 1))?;
    let bytes = read(&api, hash).await?;
    Ok(match format(query.format, &headers) {
        Format::Raw => octets(held(bytes, permit)),
        Format::Hex => {
            let digits = data_encoding::HEXLOWER.encode(&bytes);
            let body = held(digits.into_bytes(), permit);
            ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
        }
        Format::Json => {
            let block: Block = deserialize(&bytes).map_err(|_| unreadable())?;
            let prefix = &api.chain.spec().address_prefix;
            let part = block.txdata.iter().skip(query.offset).take(limit);
            let json = BlockJson {
                header: api.header_json(height, hash, &header),
                bytes: bytes.len(),
                transaction_count: block.txdata.len(),
                offset: query.offset,
                transactions: part.map(|tx| TransactionJson::new(tx, prefix)).collect(),
            };
            Json(json).into_response()
        }
    })
}

async fn read(api: &Api, hash: BlockHash) -> Result<Vec<u8>, Problem> {
    let chain = Arc::clone(&api.chain);
    let read = tokio::task::spawn_blocking(move || chain.block(&hash)).await;
    match read {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(Problem::not_found(
            "the block is not on the chain of verified blocks",
            "its header is at /api/v1/headers; if the node is still synchronising, the block will come",
        )),
        Ok(Err(error)) => {
            tracing::error!(%error, %hash, "a block can't be read");
            Err(unreadable())
        }
        Err(_) => Err(unreadable()),
    }
}

fn unreadable() -> Problem {
    Problem::new(
        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
        "storage",
        "the block can't be read from the disk",
        "the log says why; `quantumcoin-node chain check` finds all damage of a stopped node's chain",
    )
}

/// A body that keeps its place among the blocks that are read until its last part was taken.
fn held(bytes: Vec<u8>, permit: OwnedSemaphorePermit) -> Body {
    let rest = (Bytes::from(bytes), permit);
    let parts = stream::unfold(rest, |(mut rest, permit)| async move {
        let part = rest.split_to(rest.len().min(CHUNK));
        (!part.is_empty()).then_some((Ok::<_, Infallible>(part), (rest, permit)))
    });
    Body::from_stream(parts)
}

fn octets(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

fn text(digits: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], digits).into_response()
}

/// How many transactions wait for a block.
#[derive(Debug, Serialize)]
pub(super) struct MempoolJson {
    transactions: usize,
    bytes: usize,
}

pub(super) async fn mempool(State(api): State<Api>) -> Json<MempoolJson> {
    let (transactions, bytes) = api.network.pool().size();
    Json(MempoolJson {
        transactions,
        bytes,
    })
}

/// A transaction.
#[derive(Debug, Serialize)]
pub(super) struct TransactionJson {
    txid: String,
    wtxid: String,
    /// Serialized, with witnesses.
    bytes: usize,
    version: i32,
    lock_time: u32,
    coinbase: bool,
    inputs: Vec<InputJson>,
    outputs: Vec<OutputJson>,
}

/// What it spends.
#[derive(Debug, Serialize)]
struct InputJson {
    txid: String,
    output: u32,
    sequence: u32,
    witness_bytes: usize,
}

/// Where it pays to.
#[derive(Debug, Serialize)]
struct OutputJson {
    /// In base units.
    value: u64,
    script: String,
    /// Of outputs that pay to ML-DSA keys.
    address: Option<String>,
}

impl TransactionJson {
    fn new(tx: &Transaction, prefix: &str) -> Self {
        let inputs = tx.input.iter().map(|input| InputJson {
            txid: input.previous_output.txid.to_string(),
            output: input.previous_output.vout,
            sequence: input.sequence.to_consensus_u32(),
            witness_bytes: input.witness.size(),
        });
        let outputs = tx.output.iter().map(|output| OutputJson {
            value: output.value.to_sat(),
            script: output.script_pubkey.to_hex_string(),
            address: Address::from_script(prefix, &output.script_pubkey)
                .ok()
                .map(|address| address.to_string()),
        });
        Self {
            txid: tx.compute_txid().to_string(),
            wtxid: tx.compute_wtxid().to_string(),
            bytes: tx.total_size(),
            version: tx.version.0,
            lock_time: tx.lock_time.to_consensus_u32(),
            coinbase: tx.is_coinbase(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }
}

pub(super) async fn transaction(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<FormatQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let txid: Txid = path?.0.parse().map_err(|_| {
        Problem::bad_request("that names no transaction", "write the 64 digits of its id")
    })?;
    let tx = api.network.pool().find(TxRef::Txid(txid)).ok_or_else(|| {
        Problem::not_found(
            "no such transaction waits for a block",
            "one that is in a block is found there: GET /api/v1/blocks/HEIGHT",
        )
    })?;
    Ok(match format(query?.0.format, &headers) {
        Format::Json => {
            let prefix = &api.chain.spec().address_prefix;
            Json(TransactionJson::new(&tx, prefix)).into_response()
        }
        Format::Hex => text(serialize_hex(&*tx)),
        Format::Raw => octets(Body::from(serialize(&*tx))),
    })
}
