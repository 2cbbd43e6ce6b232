//! Which network a program joins: `--network NAME`, `--chain-spec FILE`, or neither (mainnet).

use std::path::Path;

use crate::chain_spec::{ChainSpec, ChainSpecError};

/// A choice that leads to no network.
#[derive(Debug, thiserror::Error)]
pub enum SpecChoiceError {
    /// No built-in network has this name.
    #[error(
        "there is no built-in network {0:?}: choose mainnet, testnet or devnet, \
         or name a chain spec file with --chain-spec"
    )]
    UnknownNetwork(String),
    /// The file can't be used.
    #[error(transparent)]
    Spec(#[from] ChainSpecError),
    /// Name and file were given and disagree.
    #[error(
        "--network {wanted} does not go with the chain spec {file}, which describes {found}: \
         leave one of them out"
    )]
    Mismatch {
        /// Name given.
        wanted: String,
        /// File given.
        file: String,
        /// Name in the file.
        found: String,
    },
}

impl SpecChoiceError {
    /// The setting that is to be changed.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::UnknownNetwork(_) | Self::Mismatch { .. } => "network",
            Self::Spec(_) => "chain_spec",
        }
    }
}

/// The chain spec of the network that the options name.
///
/// A file that was asked for must exist: falling back to another network would serve the wrong one.
///
/// # Errors
/// [`SpecChoiceError`] when the name is unknown, the file is absent or wrong, or both disagree.
pub async fn choose(
    network: Option<&str>,
    file: Option<&Path>,
) -> Result<ChainSpec, SpecChoiceError> {
    let Some(file) = file else {
        let name = network.unwrap_or("mainnet");
        return ChainSpec::by_name(name)
            .ok_or_else(|| SpecChoiceError::UnknownNetwork(name.to_owned()));
    };
    let spec = ChainSpec::load(file).await?;
    match network {
        Some(wanted) if wanted != spec.network => Err(SpecChoiceError::Mismatch {
            wanted: wanted.to_owned(),
            file: file.display().to_string(),
            found: spec.network,
        }),
        _ => Ok(spec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_files_and_nothing_choose_a_network() {
        assert_eq!(choose(None, None).await.unwrap().network, "mainnet");
        assert_eq!(
            choose(Some("devnet"), None).await.unwrap().network,
            "devnet"
        );
        let words = choose(Some("nonet"), None).await.unwrap_err().to_string();
        assert!(
            words.contains("nonet") && words.contains("devnet"),
            "{words}"
        );

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spec.toml");
        assert!(
            choose(None, Some(&path)).await.is_err(),
            "an absent file is no other network"
        );
        std::fs::write(&path, ChainSpec::testnet().to_toml()).unwrap();
        assert_eq!(choose(None, Some(&path)).await.unwrap().network, "testnet");
        let words = choose(Some("mainnet"), Some(&path))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            words.contains("testnet") && words.contains("leave one"),
            "{words}"
        );
    }
}
