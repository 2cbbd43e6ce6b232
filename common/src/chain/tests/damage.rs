//! Files cut off at every place and flipped in every place: a torn tail is mended, damage is reported, and
//! the chain that opens is never one that was not stored.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::small;
use super::grow;
use super::wallet::Wallet;
use crate::chain::{Blockchain, CheckReport, StoreError};

/// A closed directory of `flushed` flushed blocks and `more` that were never flushed, as a crash leaves it.
fn crashed(dir: &Path, flushed: usize, more: usize) -> Vec<bitcoin::BlockHash> {
    let chain = small(dir).unwrap();
    grow(&chain, flushed, 1);
    chain.flush().unwrap();
    let aside = tempfile::tempdir().unwrap();
    copy_into(&dir.join("coins"), aside.path());
    grow(&chain, more, 1);
    let hashes = (0..=(flushed + more) as u32)
        .map(|height| chain.block_at(height).unwrap())
        .collect();
    drop(chain);
    // As if the last flush, the one of closing, had not been.
    fs::remove_dir_all(dir.join("coins")).unwrap();
    copy_into(aside.path(), &dir.join("coins"));
    hashes
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_into(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

/// All files below `dir` but the locks.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.retain(|path| !path.ends_with("LOCK") && !path.ends_with("lock"));
    files.sort();
    files
}

/// What opened is a prefix of what was stored.
fn is_prefix(chain: &Blockchain, hashes: &[bitcoin::BlockHash]) -> bool {
    let tip = chain.tip();
    (0..=tip.height).all(|height| chain.block_at(height) == hashes.get(height as usize).copied())
}

#[test]
fn a_tail_cut_anywhere_is_mended() {
    let source = tempfile::tempdir().unwrap();
    // Eight blocks fit one small file; the last three are above the flushed mark.
    let hashes = crashed(source.path(), 5, 3);
    for name in ["blk00000.dat", "headers.dat"] {
        let whole = fs::read(source.path().join(name)).unwrap();
        let (mut mended, mut reported) = (0, 0);
        // A step that meets every place within a record's head and data.
        for len in (0..whole.len()).step_by(7) {
            let dir = copy(source.path());
            fs::write(dir.path().join(name), &whole[..len]).unwrap();
            match small(dir.path()) {
                Ok(chain) => {
                    assert!(
                        chain.tip().height >= 5 && is_prefix(&chain, &hashes),
                        "{name} cut to {len}"
                    );
                    // It goes on from there.
                    grow(&chain, 1, 1);
                    let tip = chain.tip();
                    drop(chain);
                    assert_eq!(small(dir.path()).unwrap().tip(), tip);
                    mended += 1;
                }
                Err(StoreError::Damaged { path, .. }) => {
                    assert_eq!(path, dir.path().join(name));
                    reported += 1;
                }
                Err(error) => panic!("{name} cut to {len}: {error}"),
            }
        }
        assert!(
            mended > 30 && reported > 60,
            "{name}: {mended} mended, {reported} reported"
        );
    }
}

#[test]
fn a_garbage_tail_is_cut_off() {
    let source = tempfile::tempdir().unwrap();
    crashed(source.path(), 5, 0);
    for garbage in [
        vec![0; 5_000],
        vec![0xff; 17],
        b"QTCD\xff\xff\xff\xff".to_vec(),
        b"QTCD\x10\0\0\0".to_vec(),
    ] {
        for name in ["blk00000.dat", "headers.dat"] {
            let dir = copy(source.path());
            let path = dir.path().join(name);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, [whole.clone(), garbage.clone()].concat()).unwrap();
            assert_eq!(small(dir.path()).unwrap().tip().height, 5);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
}

/// A closed directory with several files of each kind, coins that were spent, and a reorganisation behind it.
fn lived(dir: &Path) -> Vec<bitcoin::BlockHash> {
    let chain = small(dir).unwrap();
    let mut wallet = Wallet::new(3);
    wallet.mine(&chain, 110);
    wallet.spend_some(&chain, 6);
    (0..=chain.tip().height)
        .map(|height| chain.block_at(height).unwrap())
        .collect()
}

/// Whether opening or the integrity check reports damage; if neither does, nothing may have changed.
fn reported(dir: &Path, hashes: &[bitcoin::BlockHash], sound: &CheckReport) -> bool {
    let chain = match small(dir) {
        Ok(chain) => chain,
        Err(
            StoreError::Damaged { .. }
            | StoreError::Database { .. }
            | StoreError::NewerFormat { .. },
        ) => return true,
        Err(error) => panic!("{error}"),
    };
    match chain.check_files(true, |_| ()) {
        Ok(report) => {
            assert_eq!(report, *sound, "changed silently");
            assert!(chain.tip().height as usize + 1 == hashes.len() && is_prefix(&chain, hashes));
            false
        }
        Err(StoreError::Damaged { .. } | StoreError::Database { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_flipped_bit_of_our_files_is_reported() {
    let source = tempfile::tempdir().unwrap();
    let hashes = lived(source.path());
    let sound = small(source.path())
        .unwrap()
        .check_files(true, |_| ())
        .unwrap();
    assert!(sound.signatures >= 6 && sound.coins > 100, "{sound:?}");
    let dir = copy(source.path());
    let mut tried = 0;
    for path in files(source.path()) {
        let name = path.strip_prefix(source.path()).unwrap();
        if name.starts_with("coins") {
            continue;
        }
        let whole = fs::read(&path).unwrap();
        // A prime step: all offsets within a record and all bits get their turn.
        for position in (0..whole.len() * 8).step_by(5_003) {
            let mut flipped = whole.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            fs::write(dir.path().join(name), flipped).unwrap();
            assert!(
                reported(dir.path(), &hashes, &sound),
                "{}: bit {position} is covered by no checksum",
                name.display()
            );
            tried += 1;
        }
        fs::write(dir.path().join(name), whole).unwrap();
    }
    assert!(tried > 60, "{tried}");
    assert!(!reported(dir.path(), &hashes, &sound));
}

#[test]
fn a_flipped_bit_of_the_database_is_reported_or_harmless() {
    let source = tempfile::tempdir().unwrap();
    let hashes = lived(source.path());
    let sound = small(source.path())
        .unwrap()
        .check_files(true, |_| ())
        .unwrap();
    let (mut tried, mut noticed) = (0, 0);
    for path in files(&source.path().join("coins")) {
        let name = path.strip_prefix(source.path()).unwrap();
        let whole = fs::read(&path).unwrap();
        let used = whole
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        // Some places of each file.
        for position in (0..used * 8).step_by(used.max(1) | 1) {
            let dir = copy(source.path());
            let mut flipped = whole.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            fs::write(dir.path().join(name), flipped).unwrap();
            noticed += usize::from(reported(dir.path(), &hashes, &sound));
            tried += 1;
        }
    }
    println!("{noticed} of {tried} flips reported, the others harmless");
    assert!(tried >= 60 && noticed > 0, "{noticed} of {tried}");
}

#[test]
fn a_lost_database_is_made_anew_from_the_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let hashes = lived(dir.path());
    let sound = small(dir.path())
        .unwrap()
        .check_files(true, |_| ())
        .unwrap();
    fs::remove_dir_all(dir.path().join("coins")).unwrap();
    assert!(!reported(dir.path(), &hashes, &sound));
}

#[test]
fn damage_names_file_offset_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let chain = small(dir.path()).unwrap();
    grow(&chain, 3, 1);
    drop(chain);
    let path = dir.path().join("blk00000.dat");
    let mut bytes = fs::read(&path).unwrap();
    let second = 16 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    bytes[second + 40] ^= 4;
    fs::write(&path, bytes).unwrap();
    let chain = small(dir.path()).unwrap();
    let error = chain.check_files(false, |_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { offset, .. } if offset == second as u64));
    let text = error.to_string();
    for part in ["blk00000.dat", &format!("byte {second}"), "help: "] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_block_damaged_while_open_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let chain = small(dir.path()).unwrap();
    let blocks = grow(&chain, 3, 1);
    let path = dir.path().join("blk00000.dat");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        chain.block(&blocks[0].block_hash()),
        Err(StoreError::Damaged { .. })
    ));
    assert!(chain.block(&blocks[1].block_hash()).unwrap().is_some());
}

#[test]
fn a_missing_blocks_file_is_reported() {
    let source = tempfile::tempdir().unwrap();
    let chain = small(source.path()).unwrap();
    grow(&chain, 40, 1);
    drop(chain);
    let blocks: Vec<_> = files(source.path())
        .into_iter()
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("blk")
        })
        .collect();
    assert!(blocks.len() >= 3);
    for path in blocks {
        let dir = copy(source.path());
        let copy = dir.path().join(path.file_name().unwrap());
        fs::remove_file(&copy).unwrap();
        let error = small(dir.path()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { path, .. } if *path == copy),
            "{error}"
        );
    }
}
