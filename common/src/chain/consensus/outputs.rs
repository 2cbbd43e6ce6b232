//! Which output scripts a block may create.

use bitcoin::opcodes::all::{OP_PUSHNUM_4, OP_PUSHNUM_16, OP_RETURN};
use bitcoin::{Amount, Script, ScriptBuf, TxOut};

use crate::chain::p2mldsa::{self, PROGRAM_BYTES};

/// Most bytes of an `OP_RETURN` script, the opcode included.
pub const MAX_OP_RETURN_BYTES: usize = 83;

/// What an output script is, as far as consensus knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// Pay-to-ML-DSA: `OP_3` and the 32-byte program given here.
    P2mldsa([u8; PROGRAM_BYTES]),
    /// `OP_RETURN` and at most 82 bytes more: data. Nobody can spend it.
    OpReturn,
    /// A witness version from 4 to 16 with 2 to 40 bytes. Anyone can spend it, until later rules give the
    /// version a meaning.
    FutureWitness,
}

/// What kind of output this script makes; `None` if consensus allows no such output.
#[must_use]
pub fn output_kind(script: &Script) -> Option<OutputKind> {
    if let Some(program) = p2mldsa::program_of(script) {
        return Some(OutputKind::P2mldsa(program));
    }
    if script.as_bytes().first() == Some(&OP_RETURN.to_u8()) {
        return (script.len() <= MAX_OP_RETURN_BYTES).then_some(OutputKind::OpReturn);
    }
    is_future_witness(script).then_some(OutputKind::FutureWitness)
}

/// Whether consensus allows this output: any [`OutputKind`], `OP_RETURN` with value zero only.
#[must_use]
pub fn is_allowed_output(output: &TxOut) -> bool {
    match output_kind(&output.script_pubkey) {
        Some(OutputKind::OpReturn) => output.value == Amount::ZERO,
        kind => kind.is_some(),
    }
}

/// The script that pays to an ML-DSA-44 public key, given its [`p2mldsa::program`].
#[must_use]
pub fn p2mldsa_script(program: [u8; PROGRAM_BYTES]) -> ScriptBuf {
    p2mldsa::script(program)
}

fn is_future_witness(script: &Script) -> bool {
    matches!(script.as_bytes(), [version, push, program @ ..]
        if (OP_PUSHNUM_4.to_u8()..=OP_PUSHNUM_16.to_u8()).contains(version)
            && (2..=40).contains(push)
            && program.len() == usize::from(*push))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(value: u64, script: Vec<u8>) -> bool {
        is_allowed_output(&TxOut {
            value: Amount::from_sat(value),
            script_pubkey: ScriptBuf::from_bytes(script),
        })
    }

    fn witness(version: u8, length: u8) -> Vec<u8> {
        let mut script = vec![0x50 + version, length];
        script.resize(2 + usize::from(length), 7);
        script
    }

    #[test]
    fn pay_to_mldsa_is_exact() {
        assert!(allowed(1, p2mldsa_script([9; 32]).into_bytes()));
        assert!(!allowed(1, witness(3, 31)));
        assert!(!allowed(1, witness(3, 33)));
        let mut trailing = witness(3, 32);
        trailing.push(0);
        assert!(!allowed(1, trailing));
    }

    #[test]
    fn op_return_is_small_and_worth_nothing() {
        let script = |length: usize| {
            let mut bytes = vec![0x6a; 1];
            bytes.resize(length, 0);
            bytes
        };
        assert!(allowed(0, script(1)));
        assert!(allowed(0, script(83)));
        assert!(!allowed(0, script(84)));
        assert!(!allowed(1, script(1)));
    }

    #[test]
    fn later_witness_versions_are_open() {
        for version in 4..=16 {
            assert!(allowed(5, witness(version, 2)) && allowed(5, witness(version, 40)));
            assert!(!allowed(5, witness(version, 1)) && !allowed(5, witness(version, 41)));
        }
    }

    #[test]
    fn all_else_is_refused() {
        let mut version_0 = vec![0, 20];
        version_0.resize(22, 1);
        for script in [
            vec![],
            vec![0x51],
            version_0,
            witness(1, 32),
            witness(2, 32),
            vec![0x76, 0xa9],
        ] {
            assert!(!allowed(0, script.clone()), "{script:?}");
        }
    }
}
