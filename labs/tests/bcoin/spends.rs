//! Transactions before both judges. bcoin judges a block that holds one; ours judges the transaction by the
//! rules for one, with the coins of bcoin's chain: blocks of this release hold a coinbase only.
//!
//! To bcoin, witness versions that it does not know can be spent by anyone. So are ours from 4 on, and
//! version 3 is not: there the lab's key signs.

use std::collections::HashMap;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, Block, OutPoint, Sequence, Transaction, TxOut, Txid, Witness};
use quantumcoin::chain::consensus::{
    Coin, Rules, check_signatures, check_spends, check_transaction, is_final,
};

use crate::candidates::{edited, output, spend, witness};
use crate::cases::{Case, both_accept, both_refuse, only_bcoin_refuses, only_we_refuse};
use crate::foreign::{Bcoin, ForeignBlock, Settings, spending_key};
use crate::spec;
use crate::verdicts::{judge, median, name};

/// Height of the candidates. Coinbases up to that of block 21 are mature there.
const HEIGHT: u32 = 121;

/// Height of a block that pays to a witness version from 4 on.
const FREE: u32 = 20;

/// Height of a block that pays to the lab's key.
const SIGNED: u32 = 14;

type Coins = HashMap<OutPoint, Coin>;

#[test]
#[ignore = "labs/bcoin/run.sh installs bcoin and runs this"]
fn both_judge_spends_alike_but_where_the_rules_differ() {
    let spec = spec();
    let rules = Rules::new(&spec);
    let mut bcoin = Bcoin::start(&spec, Settings::default());
    bcoin.mine(HEIGHT - 1, None);
    let median = median(&mut bcoin);
    let blocks: Vec<Block> = bcoin.chain(0).iter().map(ForeignBlock::block).collect();
    let coins = coins(&blocks);
    let desk = Desk {
        honest: bcoin.template(),
        blocks,
    };

    let mut cases = desk.coins_and_values();
    cases.extend(desk.locks(median));
    cases.extend(desk.signatures());
    let tally = judge(&mut bcoin, &cases, |_, block| {
        transaction_alone(&rules, &coins, median, &block.txdata[1])
    });
    tally.print();
}

/// All that the chain's coinbases created.
fn coins(blocks: &[Block]) -> Coins {
    let mut coins = Coins::new();
    for (height, block) in (0..).zip(blocks) {
        let txid = block.txdata[0].compute_txid();
        for (index, output) in (0..).zip(&block.txdata[0].output) {
            let coin = Coin {
                output: output.clone(),
                height,
                coinbase: true,
            };
            coins.insert(OutPoint::new(txid, index), coin);
        }
    }
    coins
}

/// The name of the error with which our rules refuse the transaction; empty if they accept it.
fn transaction_alone(rules: &Rules, coins: &Coins, median: u32, tx: &Transaction) -> String {
    let spent = |tx: &Transaction| {
        let found = tx
            .input
            .iter()
            .map_while(|input| coins.get(&input.previous_output));
        found.cloned().collect::<Vec<Coin>>()
    };
    let checked = check_transaction(rules, tx).and_then(|()| {
        let coins = spent(tx);
        check_spends(rules, tx, &coins, HEIGHT)?;
        check_signatures(rules, tx, &coins)
    });
    match checked {
        Err(error) => name(&error),
        Ok(()) if !is_final(tx, HEIGHT, median) => "not final".into(),
        Ok(()) => String::new(),
    }
}

/// Makes candidates: an honest block, with one transaction more.
struct Desk {
    honest: Block,
    blocks: Vec<Block>,
}

impl Desk {
    /// The coinbase's first output at this height.
    fn coin(&self, height: u32) -> (OutPoint, TxOut) {
        let coinbase = &self.blocks[height as usize].txdata[0];
        (
            OutPoint::new(coinbase.compute_txid(), 0),
            coinbase.output[0].clone(),
        )
    }

    /// A block with a transaction that spends the coin of `height` in full, changed by `edit`.
    fn spends(&self, height: u32, edit: impl FnOnce(&mut Transaction)) -> Block {
        let (outpoint, coin) = self.coin(height);
        let mut tx = spend(outpoint, coin.value.to_sat());
        edit(&mut tx);
        edited(&self.honest, |block| block.txdata.push(tx))
    }

    fn coins_and_values(&self) -> Vec<Case> {
        let free = |edit: &dyn Fn(&mut Transaction)| self.spends(FREE, edit);
        let (other, _) = self.coin(FREE - 1);
        let also = |outpoint: OutPoint| {
            free(&|tx| {
                let mut input = tx.input[0].clone();
                input.previous_output = outpoint;
                tx.input.push(input);
            })
        };
        let (own, _) = self.coin(FREE);
        let unknown = OutPoint::new(Txid::from_byte_array([9; 32]), 0);
        vec![
            both_accept("spends version 9 with no witness", free(&|_| ())),
            both_accept(
                "spends version 9 with any witness",
                free(&|tx| tx.input[0].witness = Witness::from_slice(&[[1_u8; 5], [2; 5]])),
            ),
            both_accept("spends two coins", also(other)),
            both_accept("spends a coinbase 100 blocks old", self.spends(21, |_| ())),
            both_refuse(
                "spends a coinbase 99 blocks old",
                self.spends(22, |_| ()),
                "bad-txns-premature-spend-of-coinbase",
                "Immature",
            ),
            both_refuse(
                "creates one more than it spends",
                free(&|tx| tx.output[0].value += Amount::from_sat(1)),
                "bad-txns-in-belowout",
                "Overspent",
            ),
            both_refuse(
                "spends what is not there",
                also(unknown),
                "bad-txns-inputs-missingorspent",
                "MissingCoin",
            ),
            both_refuse(
                "spends a coin twice",
                also(own),
                "bad-txns-inputs-duplicate",
                "RepeatedOutpoint",
            ),
            both_refuse(
                "spends the null outpoint too",
                also(OutPoint::null()),
                "bad-txns-prevout-null",
                "NullOutpoint",
            ),
            both_refuse(
                "creates nothing",
                free(&|tx| tx.output.clear()),
                "bad-txns-vout-empty",
                "NoOutputs",
            ),
            both_refuse(
                "creates more than can exist",
                free(&|tx| tx.output[0].value = Amount::from_sat(2_100_000_000_000_001)),
                "bad-txns-vout-toolarge",
                "OutputValue",
            ),
            both_refuse(
                "creates more than can exist, in two outputs",
                free(&|tx| {
                    tx.output[0].value = Amount::from_sat(2_100_000_000_000_000);
                    tx.output.push(output(1, witness(4, 2)));
                }),
                "bad-txns-txouttotal-toolarge",
                "OutputSum",
            ),
            both_refuse(
                "a script in an input",
                free(&|tx| tx.input[0].script_sig = vec![0x51].into()),
                "mandatory-script-verify-flag-failed",
                "ScriptSig",
            ),
            only_we_refuse(
                "creates an output of version 1",
                free(&|tx| tx.output[0].script_pubkey = witness(1, 32).into()),
                "Output",
                "only pay-to-ML-DSA, OP_RETURN and witness versions 4 to 16 may be made here",
            ),
        ]
    }

    fn locks(&self, median: u32) -> Vec<Case> {
        let locked = |lock: u32, sequence: Sequence| {
            self.spends(FREE, |tx| {
                tx.lock_time = LockTime::from_consensus(lock);
                tx.input[0].sequence = sequence;
            })
        };
        let open = Sequence::ENABLE_LOCKTIME_NO_RBF;
        let aged = |blocks| locked(0, Sequence::from_height(blocks));
        vec![
            both_accept("locked until the height before", locked(HEIGHT - 1, open)),
            both_refuse(
                "locked until this height",
                locked(HEIGHT, open),
                "bad-txns-nonfinal",
                "not final",
            ),
            both_accept(
                "the same, with final sequences",
                locked(HEIGHT, Sequence::MAX),
            ),
            both_accept(
                "locked until before the median time",
                locked(median - 1, open),
            ),
            both_refuse(
                "locked until the median time",
                locked(median, open),
                "bad-txns-nonfinal",
                "not final",
            ),
            both_accept("a relative lock that is over", aged(50)),
            only_bcoin_refuses(
                "a relative lock of 200 blocks",
                aged(200),
                "bad-txns-nonfinal",
                "sequences lock nothing here (no BIP68)",
            ),
        ]
    }

    fn signatures(&self) -> Vec<Case> {
        const WHY: &str = "bcoin does not know witness version 3: to it, anyone can spend it";
        let (_, coin) = self.coin(SIGNED);
        let key = spending_key();
        assert_eq!(
            coin.script_pubkey,
            key.script(),
            "bcoin pays to the lab's key"
        );
        let genesis = self.blocks[0].block_hash();
        let signed = |edit: &dyn Fn(&mut Transaction)| {
            self.spends(SIGNED, |tx| {
                key.sign_input(genesis, tx, std::slice::from_ref(&coin), 0)
                    .unwrap();
                edit(tx);
            })
        };
        let tampered = |what, ours, edit: &dyn Fn(&mut Transaction)| {
            only_we_refuse(what, signed(edit), ours, WHY)
        };
        vec![
            both_accept("spends ML-DSA, signed", signed(&|_| ())),
            tampered(
                "spends ML-DSA, a bit of the signature flipped",
                "Signature",
                &|tx| {
                    let mut items = tx.input[0].witness.to_vec();
                    items[0][1_000] ^= 1;
                    tx.input[0].witness = Witness::from_slice(&items);
                },
            ),
            tampered(
                "spends ML-DSA, the amount changed afterwards",
                "Signature",
                &|tx| {
                    tx.output[0].value -= Amount::from_sat(1);
                },
            ),
            tampered("spends ML-DSA with no witness", "WitnessItems", &|tx| {
                tx.input[0].witness.clear();
            }),
        ]
    }
}
