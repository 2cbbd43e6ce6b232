//! How many files and sockets the node may have open: each connection is one, and a crowd must not use them up.

/// What a node may need: 125 connections, 1,024 handshakes in progress, the database's files, and some to spare.
const NEEDED: u64 = 2_048;

/// What is asked for, where the system lets us have it.
const WANTED: u64 = 8_192;

/// Asks for enough: many systems let a process have 1,024 (or fewer) unless it asks for more.
#[cfg(unix)]
pub(super) fn allow_enough() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else {
        return;
    };
    limit.current = Some(WANTED.min(limit.maximum.unwrap_or(WANTED)).max(current));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    if let Some(allowed) = getrlimit(Resource::Nofile).current
        && allowed < NEEDED
    {
        tracing::warn!(
            allowed,
            needed = NEEDED,
            "few open files are allowed: under attack the node may refuse honest peers; raise the \
             limit (LimitNOFILE= in systemd, ulimit -n in a shell)"
        );
    }
}

/// Nothing has to be asked for here.
#[cfg(not(unix))]
pub(super) fn allow_enough() {}
