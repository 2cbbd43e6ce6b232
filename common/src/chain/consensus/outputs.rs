//! Which output scripts a block may create.

use bitcoin::opcodes::all::{
    OP_PUSHBYTES_32, OP_PUSHNUM_3, OP_PUSHNUM_4, OP_PUSHNUM_16, OP_RETURN,
};
use bitcoin::{Amount, Script, ScriptBuf, TxOut};

/// Most bytes of an `OP_RETURN` script, the opcode included.
pub const MAX_OP_RETURN_BYTES: usize = 83;

/// Whether consensus allows this output: pay-to-ML-DSA (`OP_3` and a 32-byte program), `OP_RETURN` of value
/// zero, or a witness version from 4 to 16 (2 to 40 bytes), which later rules may give a meaning.
#[must_use]
pub fn is_allowed_output(output: &TxOut) -> bool {
    let script = &output.script_pubkey;
    if script.as_bytes().first() == Some(&OP_RETURN.to_u8()) {
        return output.value == Amount::ZERO && script.len() <= MAX_OP_RETURN_BYTES;
    }
    is_p2mldsa(script) || is_future_witness(script)
}

/// The script that pays to an ML-DSA-44 public key, given the 32-byte tagged hash of the key.
#[must_use]
pub fn p2mldsa_script(program: [u8; 32]) -> ScriptBuf {
    let mut bytes = vec![OP_PUSHNUM_3.to_u8(), OP_PUSHBYTES_32.to_u8()];
    bytes.extend_from_slice(&program);
    ScriptBuf::from_bytes(bytes)
}

fn is_p2mldsa(script: &Script) -> bool {
    matches!(script.as_bytes(), [version, push, program @ ..]
        if *version == OP_PUSHNUM_3.to_u8() && *push == OP_PUSHBYTES_32.to_u8() && program.len() == 32)
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
