//! `openapi.json` against the node: every path and method of the one is in the other, and real answers, good and bad, are what the
//! document says.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::consensus::encode::serialize_hex;
use boon::{Compiler, Draft, Schemas};
use quantumcoin_node::api::{OPENAPI, paths};
use serde_json::{Value, json};

use super::world::{Answer, World, key, nothing};

/// The document, and its schemas made ready.
struct Document {
    document: Value,
    schemas: Schemas,
    compiler: Compiler,
}

impl Document {
    fn new() -> Self {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler
            .add_resource("http://node/openapi.json", document.clone())
            .unwrap();
        Self {
            document,
            schemas: Schemas::new(),
            compiler,
        }
    }

    /// Holds an answer against what the document says of this operation.
    fn check(&mut self, path: &str, method: &str, answer: &Answer) {
        let what = format!("{method} {path}: {answer:?}");
        let operation = &self.document["paths"][path][method];
        assert!(operation.is_object(), "{what}");
        let status = answer.status.to_string();
        let mut place = format!("/paths/{}/{method}/responses/{status}", escaped(path));
        let mut response = self.document.pointer(&place).unwrap_or(&Value::Null);
        if let Some(shared) = response["$ref"].as_str() {
            place = shared.trim_start_matches('#').to_owned();
            response = self.document.pointer(&place).unwrap_or(&Value::Null);
        }
        assert!(response.is_object(), "{status} is not described: {what}");
        let kind = answer.header("content-type").unwrap();
        let kind = kind.split(';').next().unwrap().trim();
        let content = &response["content"][kind];
        assert!(content.is_object(), "{kind} is not described: {what}");
        if kind != "application/json" {
            return;
        }
        let place = format!("{place}/content/{}/schema", escaped(kind));
        let place = place.replace('{', "%7B").replace('}', "%7D");
        let location = format!("http://node/openapi.json#{place}");
        let schema = self.compiler.compile(&location, &mut self.schemas);
        let schema = schema.unwrap_or_else(|error| panic!("{error:#}: {what}"));
        if let Err(error) = self.schemas.validate(&answer.json(), schema) {
            panic!("{error:#}\n{what}");
        }
    }
}

/// A part of a JSON pointer (RFC 6901).
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

#[test]
fn the_document_has_the_paths_and_methods_of_the_node_and_no_others() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods = operations.as_object().unwrap().keys();
        let methods: BTreeSet<_> = methods.map(|method| method.to_uppercase()).collect();
        described.insert(path.clone(), methods);
    }
    let served = paths().into_iter().map(|(path, methods)| {
        let methods: BTreeSet<_> = methods.iter().map(ToString::to_string).collect();
        (path.to_owned(), methods)
    });
    assert_eq!(described, served.collect());
}

/// A schema that takes everything would make the tests below worthless.
#[test]
fn what_is_not_described_is_found() {
    let mut document = Document::new();
    let location = "http://node/openapi.json#/components/schemas/Tip";
    let schema = document
        .compiler
        .compile(location, &mut document.schemas)
        .unwrap();
    let good = json!({ "height": 1, "hash": nothing(), "time": 7, "header_height": 1, "header_hash": nothing() });
    assert!(document.schemas.validate(&good, schema).is_ok());
    let mut more = good.clone();
    more["colour"] = json!("red");
    assert!(document.schemas.validate(&more, schema).is_err());
    let mut less = good.clone();
    less.as_object_mut().unwrap().remove("time");
    assert!(document.schemas.validate(&less, schema).is_err());
    let mut other = good;
    other["hash"] = json!("x");
    assert!(document.schemas.validate(&other, schema).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_not_described_are_refused() {
    let world = World::new().await;
    for (path, methods) in paths() {
        let path = format!("/api/v1{path}").replace('{', "").replace('}', "");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            if !methods.iter().any(|known| known == method) {
                let answer = world.change(method, &path, None).await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert_eq!(answer.code(), "method_not_allowed");
            }
        }
    }
    world.end().await;
}

/// Every operation is asked, in ways that bring each of its answers that a client can bring about.
#[tokio::test(flavor = "multi_thread")]
async fn real_answers_are_as_described() {
    let mut document = Document::new();
    let (world, other) = (World::new().await, World::new().await);
    let key = key();
    world.mine(&key, 102);
    let added = json!({ "addr": other.peers });
    let answer = world
        .change("POST", "/api/v1/peers", Some(added.clone()))
        .await;
    document.check("/peers", "post", &answer);
    let peers = world
        .until("/api/v1/peers", |peers| peers["total"] == 1)
        .await;
    let peer = peers["items"][0]["id"].clone();
    let tx = world.spend(&key, 1, 20_000);
    let txid = tx.compute_txid();

    let ban = json!({ "network": "198.51.100.0/24", "seconds": 60, "reason": "<b>" });
    let tip = world.chain.tip().hash;
    let escaped = other.peers.to_string();
    for (method, path, described, body, status) in [
        ("GET", "/status".to_owned(), "/status", None, 200),
        ("GET", "/network".to_owned(), "/network", None, 200),
        ("GET", "/health".to_owned(), "/health", None, 200),
        ("GET", "/peers".to_owned(), "/peers", None, 200),
        ("GET", "/peers?direction=up".to_owned(), "/peers", None, 400),
        ("POST", "/peers".to_owned(), "/peers", Some(added), 409),
        (
            "POST",
            "/peers".to_owned(),
            "/peers",
            Some(json!({ "addr": "x" })),
            400,
        ),
        ("GET", format!("/peers/{peer}"), "/peers/{peer}", None, 200),
        (
            "GET",
            format!("/peers/{escaped}"),
            "/peers/{peer}",
            None,
            200,
        ),
        ("GET", "/peers/999".to_owned(), "/peers/{peer}", None, 404),
        ("GET", "/peers/x".to_owned(), "/peers/{peer}", None, 400),
        ("POST", "/bans".to_owned(), "/bans", Some(ban), 201),
        (
            "POST",
            "/bans".to_owned(),
            "/bans",
            Some(json!({ "network": "::/0" })),
            400,
        ),
        ("GET", "/bans?limit=1".to_owned(), "/bans", None, 200),
        ("GET", "/bans?limit=0".to_owned(), "/bans", None, 400),
        (
            "DELETE",
            "/bans?network=198.51.100.0/24".to_owned(),
            "/bans",
            None,
            200,
        ),
        (
            "DELETE",
            "/bans?network=198.51.100.0/24".to_owned(),
            "/bans",
            None,
            404,
        ),
        ("GET", "/book".to_owned(), "/book", None, 200),
        ("GET", "/seeds".to_owned(), "/seeds", None, 200),
        ("GET", "/events?since=0".to_owned(), "/events", None, 200),
        ("GET", "/events?since=x".to_owned(), "/events", None, 400),
        ("GET", "/nat".to_owned(), "/nat", None, 200),
        ("POST", "/nat".to_owned(), "/nat", None, 409),
        ("GET", "/tip".to_owned(), "/tip", None, 200),
        ("GET", "/blocks/0".to_owned(), "/blocks/{block}", None, 200),
        (
            "GET",
            format!("/blocks/{tip}"),
            "/blocks/{block}",
            None,
            200,
        ),
        (
            "GET",
            "/blocks/1?format=hex".to_owned(),
            "/blocks/{block}",
            None,
            200,
        ),
        (
            "GET",
            "/blocks/1?format=raw".to_owned(),
            "/blocks/{block}",
            None,
            200,
        ),
        (
            "GET",
            "/blocks/99999".to_owned(),
            "/blocks/{block}",
            None,
            404,
        ),
        ("GET", "/blocks/x".to_owned(), "/blocks/{block}", None, 400),
        (
            "GET",
            "/headers/102".to_owned(),
            "/headers/{block}",
            None,
            200,
        ),
        (
            "GET",
            "/headers/1?format=raw".to_owned(),
            "/headers/{block}",
            None,
            200,
        ),
        (
            "GET",
            format!("/headers/{}", nothing()),
            "/headers/{block}",
            None,
            404,
        ),
        (
            "POST",
            "/transactions".to_owned(),
            "/transactions",
            Some(json!({ "hex": serialize_hex(&tx) })),
            202,
        ),
        (
            "POST",
            "/transactions".to_owned(),
            "/transactions",
            Some(json!({ "hex": serialize_hex(&tx) })),
            422,
        ),
        (
            "POST",
            "/transactions".to_owned(),
            "/transactions",
            Some(json!({ "hex": "00" })),
            400,
        ),
        (
            "GET",
            format!("/transactions/{txid}"),
            "/transactions/{txid}",
            None,
            200,
        ),
        (
            "GET",
            format!("/transactions/{txid}?format=hex"),
            "/transactions/{txid}",
            None,
            200,
        ),
        (
            "GET",
            format!("/transactions/{}", nothing()),
            "/transactions/{txid}",
            None,
            404,
        ),
        ("GET", "/mempool".to_owned(), "/mempool", None, 200),
        (
            "GET",
            "/openapi.json".to_owned(),
            "/openapi.json",
            None,
            200,
        ),
        (
            "DELETE",
            format!("/peers/{peer}"),
            "/peers/{peer}",
            None,
            200,
        ),
        (
            "DELETE",
            format!("/peers/{peer}"),
            "/peers/{peer}",
            None,
            404,
        ),
    ] {
        let full = format!("/api/v1{path}");
        let answer = match method {
            "GET" => world.get(&full).await,
            _ => world.change(method, &full, body).await,
        };
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        document.check(described, &method.to_lowercase(), &answer);
    }
    // Of those that change something, no answer without the token.
    for (path, methods) in paths() {
        for method in methods.iter().filter(|method| *method != "GET") {
            let host = world.http;
            let filled = path.replace("{peer}", "1");
            let request = format!(
                "{method} /api/v1{filled} HTTP/1.0\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"
            );
            let answer = world.raw(request).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            document.check(path, &method.as_str().to_lowercase(), &answer);
        }
    }
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_and_transactions_are_the_same_in_every_form() {
    let world = World::new().await;
    let key = key();
    world.mine(&key, 101);
    let tx = world.spend(&key, 1, 20_000);
    let submitted = json!({ "hex": serialize_hex(&tx) });
    let answer = world
        .change("POST", "/api/v1/transactions", Some(submitted))
        .await
        .json();
    assert_eq!(answer["txid"], tx.compute_txid().to_string());
    assert_eq!(answer["fee"], 20_000);
    let pool = world.get("/api/v1/mempool").await.json();
    assert_eq!(pool["transactions"], 1);

    let hash = world.chain.block_at(101).unwrap();
    let bytes = world.chain.block(&hash).unwrap().unwrap();
    let raw = world.get("/api/v1/blocks/101?format=raw").await;
    assert_eq!(raw.body, bytes);
    assert_eq!(raw.header("content-type"), Some("application/octet-stream"));
    let host = world.http;
    let accepting = |kind: &str| {
        format!("GET /api/v1/blocks/{hash} HTTP/1.0\r\nhost: {host}\r\naccept: {kind}\r\n\r\n")
    };
    let by_header = world.raw(accepting("application/octet-stream")).await;
    assert_eq!(by_header.body, bytes);
    let hex = world.raw(accepting("text/plain")).await;
    assert_eq!(hex.text(), data_encoding::HEXLOWER.encode(&bytes));
    let json = world.raw(accepting("*/*")).await.json();
    assert_eq!(json["bytes"], bytes.len());
    assert_eq!(json["confirmations"], 1);
    assert_eq!(json["transactions"][0]["coinbase"], true);
    let paid = json["transactions"][0]["outputs"][0]["address"].as_str();
    assert!(paid.is_some_and(|address| address.contains("1r")), "{json}");
    let header = world.get("/api/v1/headers/101?format=raw").await;
    assert_eq!(header.body, bytes[..80]);
    let none = world.get("/api/v1/blocks/101?offset=5").await.json();
    assert_eq!(
        (&none["transaction_count"], &none["transactions"]),
        (&json!(1), &json!([]))
    );
    world.end().await;
}
