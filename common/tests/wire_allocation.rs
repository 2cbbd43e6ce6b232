//! Measures what decoding hostile messages allocates.
//!
//! A test program of its own, because it counts every allocation of the process: one test, one thread.
#![expect(
    unsafe_code,
    reason = "an allocator that counts can be made in no other way"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bitcoin::hashes::{Hash, sha256d};
use bitcoin::p2p::Magic;
use quantumcoin::wire::Envelope;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes held at once while `f` runs, beyond those held before.
fn peak<T>(f: impl FnOnce() -> T) -> usize {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = f();
    let peak = PEAK.load(Relaxed) - before;
    drop(result);
    peak
}

fn framed(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"QTCM".to_vec();
    bytes.extend_from_slice(command.as_bytes());
    bytes.resize(16, 0);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&sha256d::Hash::hash(payload).to_byte_array()[..4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// 63 bytes of transaction (87 with their envelope) that claim a witness of 4,000,000 items.
fn hostile_transaction() -> Vec<u8> {
    let witness = [&[0xfe][..], &4_000_000_u32.to_le_bytes()].concat();
    let bytes = [
        &[1, 0, 0, 0, 0, 1, 1][..],
        &[0; 41],
        &[1],
        &[0; 8],
        &[0],
        &witness[..],
    ]
    .concat();
    assert_eq!(bytes.len(), 63);
    bytes
}

#[test]
fn what_a_message_allocates_is_bounded_by_what_arrived() {
    let envelope = Envelope::new(Magic::from_bytes(*b"QTCM"));
    let hostile = hostile_transaction();

    // The codec alone falls for it: this is what the scan is there for.
    let unguarded = peak(|| bitcoin::consensus::deserialize::<bitcoin::Transaction>(&hostile));
    assert!(unguarded >= 16_000_000, "{unguarded}");

    let claims = [
        ("tx", hostile.clone()),
        ("block", [&[0; 80][..], &[1], &hostile].concat()),
        ("blocktxn", [&[0; 32][..], &[1], &hostile].concat()),
        ("cmpctblock", [&[0; 88][..], &[0, 1, 0], &hostile].concat()),
        ("block", [&[0; 80][..], &[0xfd, 0xff, 0xff]].concat()),
        ("headers", vec![0xfd, 0xd0, 0x07]),
        ("inv", vec![0xfd, 0x50, 0xc3]),
        ("addrv2", vec![0xfd, 0xe8, 0x03]),
        ("reject", vec![0xfe, 0xff, 0xff, 0xff, 0x7f]),
        ("getblocktxn", [&[0; 32][..], &[0xfd, 0xff, 0xff]].concat()),
    ];
    for (command, payload) in claims {
        let bytes = framed(command, &payload);
        let used = peak(|| envelope.decode(&bytes).unwrap_err());
        assert!(used <= 1_024, "{command}: {used} bytes for {}", bytes.len());
    }

    // Honest in its counts, but built of whatever takes most memory for its bytes.
    let blocks = [
        (
            "outputs",
            many(&[1, 0, 0, 0, 1], &[0; 41], &[0; 9], &[0; 4]),
        ),
        ("inputs", many(&[1, 0, 0, 0], &[], &[0; 41], &[0; 5])),
        ("transactions", {
            let transaction = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let count = 60_000;
            [
                &[0; 80][..],
                &[0xfd, 0x60, 0xea],
                &transaction.repeat(count),
            ]
            .concat()
        }),
        ("witnesses", {
            let count = 60_000_u32;
            let n = [&[0xfd][..], &u16::try_from(count).unwrap().to_le_bytes()].concat();
            let inputs = [0; 41].repeat(60_000);
            let witnesses = [1, 0].repeat(60_000);
            [
                &[0; 80][..],
                &[1, 1, 0, 0, 0, 0, 1],
                &n,
                &inputs,
                &[0],
                &witnesses,
                &[0; 4],
            ]
            .concat()
        }),
    ];
    for (what, payload) in blocks {
        let bytes = framed("block", &payload);
        let used = peak(|| envelope.decode(&bytes).unwrap());
        let times = used as f64 / bytes.len() as f64;
        println!(
            "{what}: {} bytes make {used} ({times:.1} times)",
            bytes.len()
        );
        assert!(times <= 12.0, "{what}: {times}");
    }
}

/// A block of one transaction: `head`, `before`, a count, so many `entry`, `tail`.
fn many(head: &[u8], before: &[u8], entry: &[u8], tail: &[u8]) -> Vec<u8> {
    let count = (3_900_000 / entry.len()) as u32;
    let mut bytes = [
        &[0; 80][..],
        &[1],
        head,
        before,
        &[0xfe],
        &count.to_le_bytes(),
    ]
    .concat();
    bytes.extend(entry.repeat(count as usize));
    bytes.extend_from_slice(tail);
    bytes
}
