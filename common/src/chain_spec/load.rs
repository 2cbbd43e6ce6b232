//! Reading a chain spec from a file, with bounds on what is read.

use std::io;
use std::path::Path;

use tokio::io::AsyncReadExt;

use super::{ChainSpec, ChainSpecError};

/// Most bytes of a chain spec file: mainnet's has about 4,000. Guards memory against a wrong path.
pub const MAX_SPEC_BYTES: u64 = 1 << 20;

impl ChainSpec {
    /// Reads and proves the chain spec in the file at `path`.
    ///
    /// # Errors
    /// Any [`ChainSpecError`]; a file that is absent is [`ChainSpecError::NotFound`].
    pub async fn load(path: impl AsRef<Path>) -> Result<Self, ChainSpecError> {
        let path = path.as_ref();
        let text = read_text(path).await?;
        let spec = Self::from_toml(&text, &path.display().to_string())?;
        tracing::info!(path = %path.display(), network = %spec.network, genesis = %spec.genesis_hash(), "chain spec loaded");
        warn_of_shared_prefix(&spec);
        Ok(spec)
    }

    /// As [`ChainSpec::load`], but a file that is absent gives the built-in mainnet and a warning in the
    /// log that says so. A file that is there and faulty is an error, never ignored.
    ///
    /// # Errors
    /// Any [`ChainSpecError`] but [`ChainSpecError::NotFound`].
    pub async fn load_or_default(path: impl AsRef<Path>) -> Result<Self, ChainSpecError> {
        match Self::load(path.as_ref()).await {
            Err(ChainSpecError::NotFound { path }) => {
                let spec = Self::mainnet();
                tracing::warn!(
                    path = %path.display(),
                    network = %spec.network,
                    genesis = %spec.genesis_hash(),
                    "no chain spec file there: using the built-in mainnet"
                );
                Ok(spec)
            }
            other => other,
        }
    }
}

/// A spec without `address_prefix` has mainnet's, as with every key that may be left out. On another network
/// that invites payments to the wrong one.
fn warn_of_shared_prefix(spec: &ChainSpec) {
    let mainnet = ChainSpec::mainnet();
    if spec.network != mainnet.network && spec.address_prefix == mainnet.address_prefix {
        tracing::warn!(
            network = %spec.network,
            address_prefix = %spec.address_prefix,
            "addresses of this network look like mainnet's: give its chain spec an address_prefix of its own"
        );
    }
}

async fn read_text(path: &Path) -> Result<String, ChainSpecError> {
    let metadata = tokio::fs::metadata(path)
        .await
        .map_err(|source| read_error(path, source))?;
    if !metadata.is_file() {
        return Err(ChainSpecError::NotAFile { path: path.into() });
    }
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|source| read_error(path, source))?;
    let mut bytes = Vec::new();
    file.take(MAX_SPEC_BYTES + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(|source| read_error(path, source))?;
    if bytes.len() as u64 > MAX_SPEC_BYTES {
        return Err(ChainSpecError::TooLarge {
            path: path.into(),
            bytes: metadata.len().max(bytes.len() as u64),
            limit: MAX_SPEC_BYTES,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = 1 + error
            .as_bytes()
            .iter()
            .take(offset)
            .filter(|byte| **byte == b'\n')
            .count();
        ChainSpecError::NotUtf8 {
            path: path.into(),
            line,
            offset,
        }
    })
}

fn read_error(path: &Path, source: io::Error) -> ChainSpecError {
    match source.kind() {
        io::ErrorKind::NotFound => ChainSpecError::NotFound { path: path.into() },
        _ => ChainSpecError::Read {
            path: path.into(),
            source,
        },
    }
}
