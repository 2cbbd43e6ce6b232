//! Attacks with what nobody asked for: small messages, large ones, addresses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bitcoin::Block;
use bitcoin::p2p::message_blockdata::Inventory;

use super::*;
use crate::network::protocol::addresses::{self, Gossip, MAX_ADDRESSES};
use crate::network::tests_stall::large_block;
use crate::wire::Envelope;

/// A devnet whose limits are thirty times mainnet's in messages, so that a flood takes a second to be found out and not half
/// a minute.
fn impatient() -> ChainSpec {
    let mut spec = ChainSpec::devnet();
    spec.network_protocol.max_messages_per_minute = LIMIT;
    spec
}

/// Messages a minute.
const LIMIT: u32 = 3_000;

/// More than the burst and the fifty over the limit that are read after it, and what the limit lets through meanwhile.
const FLOOD: usize = 2 * LIMIT as usize;

/// Messages that it says before it listens: less than the answers that may wait for it, so that it is no slow reader.
const AT_ONCE: usize = 200;

/// Says `message` until the node hangs up, which must be before all of the flood is said.
async fn flood(session: &mut Session, message: &NetworkMessage) {
    let bytes = session.writer.encode(message).unwrap();
    let batch = vec![bytes; AT_ONCE];
    for _ in 0..FLOOD / AT_ONCE {
        // Where the node hangs up while we write, the next ping finds that out.
        let _ = session.writer.write_encoded(&batch).await;
        if !is_heard(session).await {
            return;
        }
    }
    panic!("{FLOOD} messages were heard");
}

/// Whether the node answers a ping; else it has hung up.
async fn is_heard(session: &mut Session) -> bool {
    let nonce = rand::random();
    let ping = NetworkMessage::Ping(nonce);
    let _ = session.writer.write(&ping).await;
    loop {
        match next(session).await {
            Some(NetworkMessage::Pong(answer)) if answer == nonce => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// It is read at the limit's pace first, then it goes, and when it does the same again, it stays out.
async fn slowed_down_dropped_and_banned(message: NetworkMessage, detector: Detector, host: u8) {
    let attacked = Attacked::of(impatient()).await;
    let host = [127, 8, 10, host];
    let mut flooder = attacked.dialled_from(host).await.unwrap();
    flood(&mut flooder, &message).await;
    for response in [Response::Throttled, Response::Disconnected] {
        let event = attacked.told(detector, response).await;
        assert_eq!(event.addr.ip(), IpAddr::from(host));
    }
    let mut again = attacked.dialled_from(host).await.unwrap();
    flood(&mut again, &message).await;
    attacked.told(detector, Response::Banned).await;
    assert!(attacked.dialled_from(host).await.is_err());
    let status = attacked.node.status().await.unwrap();
    assert_eq!(status.security.offences, [(detector.as_str(), 2)].into());
    assert_eq!(status.inbound, 1, "the honest one");
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood_is_slowed_down_dropped_and_banned() {
    slowed_down_dropped_and_banned(NetworkMessage::Ping(7), Detector::PingFlood, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_flood_is_slowed_down_dropped_and_banned() {
    slowed_down_dropped_and_banned(NetworkMessage::SendHeaders, Detector::MessageFlood, 2).await;
}

/// Says these and a ping; gives how long it was until the answer to the ping.
async fn heard_in(flooder: &mut Session, messages: &[NetworkMessage]) -> Duration {
    let start = Instant::now();
    for message in messages {
        flooder.writer.write(message).await.unwrap();
    }
    pong(flooder).await;
    start.elapsed()
}

/// Somebody says `first`, which is the limit exactly, and then `more`, for which the limit makes him wait. He may be slow
/// by chance, so he tries it several times, as several hosts; the node never hears more than the limit lets it.
async fn as_fast_as_the_limit(
    first: &[NetworkMessage],
    more: &[NetworkMessage],
    wait: Duration,
    host: u8,
) {
    let attacked = Attacked::new().await;
    let mut at_once = false;
    for nth in 0..5 {
        let host = [127, 8, host, nth + 1];
        let mut flooder = attacked.dialled_from(host).await.unwrap();
        let start = Instant::now();
        let time = heard_in(&mut flooder, first).await;
        heard_in(&mut flooder, more).await;
        assert!(start.elapsed() >= wait, "{:?}", start.elapsed());
        if time < wait / 2 {
            at_once = true;
            break;
        }
    }
    assert!(at_once, "what is within the limit had to wait");
    let security = attacked.node.status().await.unwrap().security;
    assert!(security.events.is_empty(), "{security:?}");
    attacked.end().await;
}

/// With the pings, which are counted as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_messages_are_heard_at_once_and_the_next_after_600_ms_each() {
    let message = NetworkMessage::SendHeaders;
    let (first, more) = (vec![message.clone(); 99], vec![message]);
    as_fast_as_the_limit(&first, &more, Duration::from_millis(1_200), 11).await;
}

/// The names of things that it was never asked for: as many as fit into a megabyte.
#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_is_heard_at_once_and_the_next_50_kb_after_three_seconds() {
    let message = |names: usize| {
        let name = Inventory::WitnessBlock(BlockHash::all_zeros());
        NetworkMessage::NotFound(vec![name; names])
    };
    let size = |message: &NetworkMessage| {
        let envelope = Envelope::new(spec().magic());
        envelope.encode(message).unwrap().len()
    };
    let (large, ping) = (message(1_388), size(&NetworkMessage::Ping(0)));
    // One name is 36 bytes.
    let last = (1_000_000 - 19 * size(&large) - ping - size(&message(300))) / 36 + 300;
    let mut first = vec![large.clone(); 19];
    first.push(message(last));
    let bytes = first.iter().map(size).sum::<usize>() + ping;
    assert!((999_964..=1_000_000).contains(&bytes), "{bytes}");
    let wait = Duration::from_micros(60 * (bytes + size(&large) + ping - 1_000_000) as u64);
    as_fast_as_the_limit(&first, &[large], wait, 12).await;
}

/// Under mainnet's limits, by blocks of 0.4 MB and then 1.2 MB.
#[tokio::test(flavor = "multi_thread")]
async fn message_flood_of_bytes_is_dropped_half_a_megabyte_after_the_megabyte() {
    let attacked = Attacked::new().await;
    let host = [127, 8, 10, 3];
    let mut flooder = attacked.dialled_from(host).await.unwrap();
    let chain = large_block();
    let block = chain.block(&chain.tip().hash).unwrap().unwrap();
    let block: Block = bitcoin::consensus::deserialize(&block).unwrap();
    // Nobody asked for it, and it is not even on our chain.
    let message = NetworkMessage::Block(block.clone());
    for _ in 0..2 {
        flooder.writer.write(&message).await.unwrap();
    }
    pong(&mut flooder).await;
    let quiet = attacked.node.status().await.unwrap().security;
    assert!(quiet.events.is_empty(), "0.8 MB: {quiet:?}");
    let mut larger = block;
    let outputs = larger.txdata[0].output.clone();
    larger.txdata[0].output = [outputs.clone(), outputs.clone(), outputs].concat();
    // The node may hang up while we write.
    let _ = flooder.writer.write(&NetworkMessage::Block(larger)).await;
    hung_up(&mut flooder).await;
    attacked
        .told(Detector::MessageFlood, Response::Disconnected)
        .await;
    attacked.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn address_spam_by_many_messages_is_slowed_down_dropped_and_banned() {
    let message = addresses::write(&list(1, 0), true);
    slowed_down_dropped_and_banned(message, Detector::AddressSpam, 4).await;
}

/// So many addresses that nobody has, other ones for each `nth`.
fn list(count: usize, nth: u8) -> Vec<Gossip> {
    let time = unix_now() as u32;
    let addr = |n: usize| SocketAddr::from(([127, 100 + nth, (n >> 8) as u8, n as u8], 8333));
    let gossip = |n| Gossip {
        addr: addr(n),
        services: 9,
        time,
    };
    (0..count).map(gossip).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn address_spam_by_long_lists_is_not_believed_and_the_third_ends_it() {
    let attacked = Attacked::new().await;
    let host = [127, 8, 10, 5];
    let mut spammer = attacked.dialled_from(host).await.unwrap();
    for nth in 0..2 {
        let message = addresses::write(&list(MAX_ADDRESSES, nth), true);
        spammer.writer.write(&message).await.unwrap();
    }
    pong(&mut spammer).await;
    let message = addresses::write(&list(MAX_ADDRESSES, 3), true);
    spammer.writer.write(&message).await.unwrap();
    hung_up(&mut spammer).await;
    let event = attacked.told(Detector::AddressSpam, Response::Disconnected);
    assert_eq!(event.await.addr.ip(), IpAddr::from(host));
    let status = attacked.node.status().await.unwrap();
    // One at once, and one in ten seconds.
    let known = status.known_addresses;
    assert!(known < 10, "{known} of 3,000 were believed");
    attacked.end().await;
}
