//! Fills the due queue from the store.

use quantumcoin::store::{StoreError, StoreReader, StoredAddress};

use super::{Builder, Entry, Frontier};

/// Every address that the store has, with what `entry_of` makes of it.
///
/// # Errors
/// The file can't be read.
pub async fn load(
    reader: &StoreReader,
    mut entry_of: impl FnMut(&StoredAddress) -> Entry,
) -> Result<Frontier, StoreError> {
    let mut builder = Builder::new(reader.known().await?);
    let take = |stored: StoredAddress| builder.add(stored.addr, entry_of(&stored));
    reader.addresses(take).await?;
    Ok(builder.build())
}

impl Entry {
    /// Of an address in the store, due when it says.
    pub fn of(stored: &StoredAddress) -> Self {
        let class = match (stored.tried, stored.last_ok) {
            (false, _) => super::Class::New,
            (true, true) => super::Class::Good,
            (true, false) => super::Class::Rest,
        };
        Self {
            failures: stored.failures,
            last_ok_at: stored.last_ok_at,
            told_addresses_at: stored.told_addresses_at,
            class,
            ..Self::new(stored.next_due)
        }
    }
}
