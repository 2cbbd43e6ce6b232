//! Signals: SIGTERM and SIGINT end the program in order, SIGHUP asks it to reload.
//!
//! The first SIGTERM or SIGINT cancels the token, and each part drains and stops. A second one means that
//! the person does not want to wait: the process exits at once.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled on SIGTERM or SIGINT (Ctrl-C). Must be called within a tokio runtime.
///
/// A second signal exits the process with 128 + its number, as a shell reports it.
#[must_use]
pub fn signals() -> CancellationToken {
    let token = CancellationToken::new();
    tokio::spawn(wait(token.clone()));
    token
}

/// Counts SIGHUPs: each change of the value asks for a reload. Every clone of the receiver sees each
/// change (changes that follow one another quickly may be seen as one).
#[must_use]
pub fn reloads() -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(count_hangups(sender));
    receiver
}

#[cfg(unix)]
async fn wait(token: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "signals can't be watched: the program will end without draining");
            return;
        }
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    };
    let (name, _) = next().await;
    tracing::info!(
        signal = name,
        "stopping; send the signal again to stop at once"
    );
    token.cancel();
    let (name, kind) = next().await;
    tracing::warn!(signal = name, "second signal: stopping at once");
    std::process::exit(128 + kind.as_raw_value());
}

#[cfg(not(unix))]
async fn wait(token: CancellationToken) {
    if tokio::signal::ctrl_c().await.is_ok() {
        token.cancel();
    }
}

#[cfg(unix)]
async fn count_hangups(sender: watch::Sender<u64>) {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP can't be watched: reload needs a restart");
            return;
        }
    };
    loop {
        tokio::select! {
            received = hangup.recv() => if received.is_none() { return },
            () = sender.closed() => return,
        }
        sender.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(not(unix))]
async fn count_hangups(sender: watch::Sender<u64>) {
    sender.closed().await;
}
