//! Zones that are to become unsigned (RFC 8078, 4): the first step, and the way back.

use std::{fmt::Write as _, path::Path};

use anyhow::{bail, ensure};

use super::load;
use crate::{
    dnssec::{keyring::Keyring, leaving, times::written},
    zone::Zone,
};

/// Fails when one of the zones is to become unsigned: new keys have no sense there.
pub(super) fn refuse(ring: &Keyring, zones: &[Zone]) -> anyhow::Result<()> {
    let mut zones = zones.iter();
    match zones.find(|zone| ring.leaving(zone.apex_wire()).is_some()) {
        None => Ok(()),
        Some(zone) => bail!(
            "{} is to become unsigned; `keys unsign --undo` keeps it signed",
            zone.apex()
        ),
    }
}

/// Has the parents asked to drop their DS from now on.
pub(super) fn begin(dir: &Path, zones: &[Zone], now: i64) -> anyhow::Result<String> {
    let ring = load(dir, zones)?;
    for zone in zones {
        let apex = zone.apex();
        // Without a signature nobody believes the request.
        let signs = ring.current(zone.apex_wire(), now)?.is_some();
        ensure!(
            signs,
            "{apex} is not signed; name one zone that is with --zone"
        );
        if let Some(since) = ring.leaving(zone.apex_wire()) {
            bail!(
                "{apex} is to become unsigned since {} already",
                written(since)
            );
        }
    }
    let mut text = String::new();
    for zone in zones {
        leaving::begin(dir, zone.apex_wire(), now)?;
        writeln!(
            text,
            "CDS and CDNSKEY of {} ask the parent to drop its DS, from the seeder's next refresh on.",
            zone.apex()
        )?;
    }
    text.push_str(
        "A parent that does not read them has to be told by hand. Leave the keys where they are until the DS is gone and has left the \
         caches; `quantumcoin-seeder check` tells.\n",
    );
    Ok(text)
}

/// Takes that back.
pub(super) fn undo(dir: &Path, zones: &[Zone], now: i64) -> anyhow::Result<String> {
    let ring = load(dir, zones)?;
    for zone in zones {
        ensure!(
            ring.leaving(zone.apex_wire()).is_some(),
            "{} is not to become unsigned",
            zone.apex()
        );
    }
    let mut text = String::new();
    for zone in zones {
        let apex = zone.apex();
        leaving::undo(dir, zone.apex_wire())?;
        if ring.current(zone.apex_wire(), now)?.is_some() {
            writeln!(text, "{apex} stays signed.")?;
        } else {
            writeln!(
                text,
                "{apex} has no keys to sign with: a running seeder goes on asking the parent to drop its DS, and serves the zone \
                 unsigned when it is started again. Put the keys back first."
            )?;
        }
    }
    text.push_str("CDS and CDNSKEY name the keys again from the seeder's next refresh on. If the parent has dropped its DS, put it back: `keys ds`.\n");
    Ok(text)
}
