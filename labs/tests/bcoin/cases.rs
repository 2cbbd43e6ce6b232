//! The table: blocks that are honest or break one rule, what each judge must say of them, and why where that
//! differs. Empty text stands for acceptance and agreement.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::block::Version;
use bitcoin::{Amount, Block, CompactTarget, OutPoint, Witness};

use crate::candidates::{
    coinbase_script, edited, is_commitment, long_height, op_return, output, remined, resealed,
    spend, unmined, witness, wrong_commitment,
};

/// A block and what each judge must say of it.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) block: Block,
    /// bcoin's reason; empty if it accepts.
    pub(crate) theirs: &'static str,
    /// The name of our error; empty if we accept.
    pub(crate) ours: &'static str,
    /// Why the verdicts differ; empty where they do not.
    pub(crate) differs: &'static str,
}

pub(crate) fn both_accept(what: &'static str, block: Block) -> Case {
    Case {
        what,
        block,
        theirs: "",
        ours: "",
        differs: "",
    }
}

pub(crate) fn both_refuse(
    what: &'static str,
    block: Block,
    theirs: &'static str,
    ours: &'static str,
) -> Case {
    Case {
        what,
        block,
        theirs,
        ours,
        differs: "",
    }
}

pub(crate) fn only_we_refuse(
    what: &'static str,
    block: Block,
    ours: &'static str,
    differs: &'static str,
) -> Case {
    Case {
        what,
        block,
        theirs: "",
        ours,
        differs,
    }
}

pub(crate) fn only_bcoin_refuses(
    what: &'static str,
    block: Block,
    theirs: &'static str,
    differs: &'static str,
) -> Case {
    Case {
        what,
        block,
        theirs,
        ours: "",
        differs,
    }
}

pub(crate) fn headers(honest: &Block, median: u32, parent_time: u32) -> Vec<Case> {
    let at = |time| remined(honest, |block| block.header.time = time);
    let version = |version| {
        remined(honest, |block| {
            block.header.version = Version::from_consensus(version);
        })
    };
    let harder = CompactTarget::from_consensus(0x207f_fffe);
    vec![
        both_accept("as mined", honest.clone()),
        both_accept("time: median + 1", at(median + 1)),
        both_accept(
            "time: the parent's, above the median",
            at(parent_time.max(median + 1)),
        ),
        both_refuse("time: the median", at(median), "time-too-old", "TimeTooOld"),
        both_accept("time: 7,100 s ahead", at(now() + 7_100)),
        both_refuse(
            "time: 7,300 s ahead",
            at(now() + 7_300),
            "time-too-new",
            "TimeTooNew",
        ),
        both_refuse(
            "no proof of work",
            unmined(honest),
            "high-hash",
            "ProofOfWork",
        ),
        both_refuse(
            "bits: harder than the schedule",
            remined(honest, |block| block.header.bits = harder),
            "bad-diffbits",
            "Bits",
        ),
        both_accept("version 4", version(4)),
        both_refuse("version 0", version(0), "bad-version", "Version"),
        only_bcoin_refuses(
            "version 1",
            version(1),
            "bad-version",
            "BIP34's version rule came by soft fork; here heights bind from block 1 in any version",
        ),
        only_we_refuse(
            "version -1",
            version(-1),
            "Version",
            "bcoin reads versions as unsigned; Bitcoin Core refuses them as too low",
        ),
    ]
}

pub(crate) fn coinbases(honest: &Block) -> Vec<Case> {
    let script = |script: bitcoin::ScriptBuf| {
        edited(honest, |block| {
            block.txdata[0].input[0].script_sig = script.clone();
        })
    };
    let pays = |change: i64| {
        edited(honest, |block| {
            let value = &mut block.txdata[0].output[0].value;
            *value = Amount::from_sat(value.to_sat().checked_add_signed(change).unwrap());
        })
    };
    vec![
        both_accept("coinbase script of 2 bytes", script(coinbase_script(13, 2))),
        both_accept(
            "coinbase script of 100 bytes",
            script(coinbase_script(13, 100)),
        ),
        both_refuse(
            "coinbase script of 1 byte",
            script(coinbase_script(13, 1)),
            "bad-cb-length",
            "CoinbaseScript",
        ),
        both_refuse(
            "coinbase script of 101 bytes",
            script(coinbase_script(13, 101)),
            "bad-cb-length",
            "CoinbaseScript",
        ),
        both_refuse(
            "height 12",
            script(coinbase_script(12, 8)),
            "bad-cb-height",
            "CoinbaseHeight",
        ),
        both_refuse(
            "height 14",
            script(coinbase_script(14, 8)),
            "bad-cb-height",
            "CoinbaseHeight",
        ),
        both_refuse(
            "height pushed the long way",
            script(long_height(13)),
            "bad-cb-height",
            "CoinbaseHeight",
        ),
        both_accept("pays one less", pays(-1)),
        both_refuse("pays one more", pays(1), "bad-cb-amount", "Subsidy"),
        both_refuse(
            "pays more than can exist",
            pays(2_100_000_000_000_000),
            "bad-txns-vout-toolarge",
            "Value",
        ),
    ]
}

pub(crate) fn commitments(honest: &Block) -> Vec<Case> {
    let reserved = |items: Witness| {
        resealed(honest, |block| {
            block.txdata[0].input[0].witness = items.clone();
        })
    };
    let no_commitment = |block: &mut Block| {
        block.txdata[0]
            .output
            .retain(|output| !is_commitment(&output.script_pubkey));
    };
    vec![
        both_refuse(
            "another commitment",
            resealed(honest, |block| {
                block.txdata[0].output[1] = wrong_commitment();
            }),
            "bad-witness-merkle-match",
            "WitnessCommitment",
        ),
        both_accept(
            "two commitments, the last is right",
            edited(honest, |block| {
                block.txdata[0].output.insert(0, wrong_commitment());
            }),
        ),
        both_refuse(
            "two commitments, the first is right",
            resealed(honest, |block| {
                block.txdata[0].output.push(wrong_commitment());
            }),
            "bad-witness-merkle-match",
            "WitnessCommitment",
        ),
        both_accept(
            "a commitment with more bytes behind it",
            edited(honest, |block| {
                let mut script = block.txdata[0].output[1].script_pubkey.to_bytes();
                script.extend_from_slice(&[4, 1, 2, 3, 4]);
                block.txdata[0].output[1].script_pubkey = script.into();
            }),
        ),
        both_refuse(
            "another reserved value",
            reserved(Witness::from_slice(&[[9_u8; 32]])),
            "bad-witness-merkle-match",
            "WitnessCommitment",
        ),
        both_refuse(
            "a reserved value of 31 bytes",
            reserved(Witness::from_slice(&[[0_u8; 31]])),
            "bad-witness-nonce-size",
            "WitnessReservedValue",
        ),
        both_refuse(
            "no reserved value",
            reserved(Witness::new()),
            "bad-witness-nonce-size",
            "WitnessReservedValue",
        ),
        both_refuse(
            "two reserved values",
            reserved(Witness::from_slice(&[[0_u8; 32], [0; 32]])),
            "bad-witness-nonce-size",
            "WitnessReservedValue",
        ),
        both_refuse(
            "a witness that nothing commits to",
            resealed(honest, no_commitment),
            "unexpected-witness",
            "NoWitnessCommitment",
        ),
        only_we_refuse(
            "neither commitment nor witness",
            resealed(honest, |block| {
                no_commitment(block);
                block.txdata[0].input[0].witness.clear();
            }),
            "NoWitnessCommitment",
            "BIP141 asks for a commitment only where there are witnesses; ours is mandatory",
        ),
    ]
}

pub(crate) fn bodies(honest: &Block) -> Vec<Case> {
    let extra = spend(OutPoint::new(honest.txdata[0].compute_txid(), 0), 1);
    // Three leaves and the third once more have the same root.
    let mut doubled = resealed(honest, |block| {
        let other = spend(OutPoint::new(honest.txdata[0].compute_txid(), 0), 2);
        block.txdata.extend([extra.clone(), other]);
    });
    doubled.txdata.push(doubled.txdata[2].clone());
    vec![
        both_refuse(
            "a body that its header does not commit to",
            remined(honest, |block| {
                block.txdata[0].output[0].value = Amount::from_sat(1);
            }),
            "bad-txnmrklroot",
            "MerkleRoot",
        ),
        both_refuse(
            "no transaction",
            resealed(honest, |block| block.txdata.clear()),
            "bad-blk-length",
            "Empty",
        ),
        both_refuse(
            "no coinbase",
            resealed(honest, |block| block.txdata[0] = extra.clone()),
            "bad-cb-missing",
            "FirstNotCoinbase",
        ),
        both_refuse(
            "a second coinbase",
            edited(honest, |block| {
                let mut second = block.txdata[0].clone();
                second.input[0].script_sig = coinbase_script(13, 9);
                second.input[0].witness.clear();
                block.txdata.push(second);
            }),
            "bad-cb-multiple",
            "SecondCoinbase",
        ),
        both_refuse(
            "a transaction twice (CVE-2012-2459)",
            doubled,
            "bad-txns-duplicate",
            "DuplicateTransactions",
        ),
        both_accept(
            "1,000,000 bytes without witness, nearly",
            large(honest, 19_550),
        ),
        only_bcoin_refuses(
            "1,020,000 bytes without witness",
            large(honest, 20_000),
            "bad-blk-length",
            "bcoin counts weight; here a block has 4,000,000 bytes, witness included, at no discount",
        ),
        both_refuse(
            "4,080,000 bytes",
            large(honest, 80_000),
            "bad-blk-length",
            "TooLarge",
        ),
    ]
}

/// A coinbase with so many outputs more, of 51 bytes each.
fn large(honest: &Block, outputs: usize) -> Block {
    edited(honest, |block| {
        let more = std::iter::repeat_with(|| output(0, witness(4, 40))).take(outputs);
        block.txdata[0].output.extend(more);
    })
}

pub(crate) fn outputs(honest: &Block) -> Vec<Case> {
    const WHY: &str = "only pay-to-ML-DSA, OP_RETURN and witness versions 4 to 16 may be made here";
    let also = |value, script| {
        edited(honest, |block| {
            block.txdata[0].output[0].value -= Amount::from_sat(value);
            block.txdata[0].output.push(output(value, script));
        })
    };
    let mut pay_to_hash = vec![0x76, 0xa9, 20];
    pay_to_hash.extend_from_slice(&[7; 20]);
    pay_to_hash.extend_from_slice(&[0x88, 0xac]);
    let mut cases = vec![
        both_accept("pays to ML-DSA", also(1, witness(3, 32))),
        both_accept("pays to version 4, 2 bytes", also(1, witness(4, 2))),
        both_accept("pays to version 16, 40 bytes", also(1, witness(16, 40))),
        both_accept("OP_RETURN of 83 bytes", also(0, op_return(83))),
    ];
    let refused = [
        ("OP_RETURN of 84 bytes", 0, op_return(84)),
        ("OP_RETURN of value 1", 1, op_return(10)),
        ("pays to a key's hash", 1, pay_to_hash),
        ("pays to version 0, 20 bytes", 1, witness(0, 20)),
        ("pays to version 1, 32 bytes", 1, witness(1, 32)),
        ("pays to version 2, 32 bytes", 1, witness(2, 32)),
        ("pays to version 3, 20 bytes", 1, witness(3, 20)),
        ("pays to version 4, 41 bytes", 1, witness(4, 41)),
        ("pays to nobody in particular", 1, Vec::new()),
    ];
    for (what, value, script) in refused {
        cases.push(only_we_refuse(what, also(value, script), "Output", WHY));
    }
    cases
}

/// 5,000,000,000 base units halve once: at block 150 in bcoin, at block 151 in ours.
pub(crate) fn subsidies_at_150(honest: &Block) -> Vec<Case> {
    let pays = |value| paying(honest, value);
    vec![
        both_accept("block 150 pays half", pays(2_500_000_000)),
        only_bcoin_refuses(
            "block 150 pays in full",
            pays(5_000_000_000),
            "bad-cb-amount",
            "an era is blocks 1 to 150 here, since block 0 pays nothing; 0 to 149 in Bitcoin",
        ),
        both_refuse(
            "block 150 pays one more",
            pays(5_000_000_001),
            "bad-cb-amount",
            "Subsidy",
        ),
    ]
}

pub(crate) fn subsidies_at_151(honest: &Block) -> Vec<Case> {
    let pays = |value| paying(honest, value);
    vec![
        both_accept("block 151 pays half", pays(2_500_000_000)),
        both_refuse(
            "block 151 pays half and one",
            pays(2_500_000_001),
            "bad-cb-amount",
            "Subsidy",
        ),
        both_refuse(
            "block 151 pays in full",
            pays(5_000_000_000),
            "bad-cb-amount",
            "Subsidy",
        ),
    ]
}

fn paying(honest: &Block, value: u64) -> Block {
    edited(honest, |block| {
        block.txdata[0].output[0].value = Amount::from_sat(value);
    })
}

/// Our clock, Unix seconds.
pub(crate) fn now() -> u32 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from(elapsed.as_secs()).unwrap()
}
