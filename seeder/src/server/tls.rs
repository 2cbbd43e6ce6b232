//! DNS over TLS (RFC 7858) as an authoritative server offers it to resolvers that look whether it does (RFC 9539): the
//! handshake, and the certificate that is shown, which is renewed while connections go on.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use quantumcoin::service::{
    bind,
    health::{Check, Health},
    metrics::Metrics,
};
use rustls::{ServerConfig, server::Acceptor};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{SeederError, counters::Handshake};
use crate::{
    config::{ConfigError, SeederConfig},
    follow::unix_now,
    guard::{
        Network,
        rate::{Allowance, RateLimiter},
    },
    tls::{Certificate, Stamp, TlsOptions, Validity, date},
};

/// Handshakes a second of one client network (/24 or /56). A signature by RSA takes a millisecond, so that one network
/// takes at most a twentieth of a core; resolvers keep their connections, or resume.
const HANDSHAKES: u32 = 50;

/// Shakes hands with the certificate of the moment.
#[derive(Debug)]
pub(super) struct Tls {
    current: ArcSwap<ServerConfig>,
    pace: RateLimiter,
    watch: Mutex<Watch>,
    check: Check,
    expires: IntGauge,
}

/// What is known of the files.
#[derive(Debug)]
struct Watch {
    options: TlsOptions,
    /// Time between two looks.
    every: Duration,
    taken: Stamp,
    validity: Validity,
    /// Why what is in the files now is not shown.
    refused: Option<String>,
    /// What the log has last said.
    told: Option<String>,
}

/// TLS and the sockets that it is spoken on.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) tls: Arc<Tls>,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) addrs: Vec<SocketAddr>,
}

impl Bound {
    /// `None` when the configuration has no `[tls]`.
    pub(super) fn new(
        config: &SeederConfig,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<Option<Self>, SeederError> {
        let Some(options) = &config.tls else {
            return Ok(None);
        };
        if options.listen.is_empty() {
            return Err(ConfigError::NoTlsListen.into());
        }
        let certificate = Certificate::load(options)?;
        let (mut listeners, mut addrs) = (Vec::new(), Vec::new());
        for addr in &options.listen {
            let listener = bind::tcp(*addr, "the DNS server (over TLS)")?;
            addrs.push(listener.local_addr().unwrap_or(*addr));
            listeners.push(listener);
        }
        let expires = metrics.gauge(
            "tls_certificate_expires_seconds",
            "Unix time until which the certificate of DNS over TLS is valid.",
        )?;
        let every = Duration::from_secs(config.refresh_seconds);
        let check = health.check("tls");
        let tls = Tls::new(options.clone(), certificate, every, check, expires);
        tls.report(&mut tls.watch(), unix_now());
        Ok(Some(Self {
            tls: Arc::new(tls),
            listeners,
            addrs,
        }))
    }
}

impl Tls {
    fn new(
        options: TlsOptions,
        certificate: Certificate,
        every: Duration,
        check: Check,
        expires: IntGauge,
    ) -> Self {
        let Certificate {
            config,
            validity,
            stamp,
        } = certificate;
        let pace = NonZeroU32::new(HANDSHAKES).unwrap_or(NonZeroU32::MIN);
        Self {
            current: ArcSwap::new(config),
            pace: RateLimiter::new(pace, &rand::random()),
            watch: Mutex::new(Watch {
                options,
                every,
                taken: stamp,
                validity,
                refused: None,
                told: None,
            }),
            check,
            expires,
        }
    }

    /// Shakes hands. Whoever calls sets a limit of time; `now` are microseconds of a clock that never goes back.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        now: impl Fn() -> u64,
    ) -> Result<TlsStream<TcpStream>, (Handshake, io::Error)> {
        let failed = |error| (Handshake::Failed, error);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream)
            .await
            .map_err(failed)?;
        // Until here nothing was computed for the client.
        if self.pace.take(Network::of(client.ip()), now()) != Allowance::Full {
            let error = io::Error::other("too many handshakes from one network");
            return Err((Handshake::Limited, error));
        }
        let config = self.current.load_full();
        hello.into_stream(config).await.map_err(failed)
    }

    /// Whether it is spoken where this configuration wants it.
    pub(super) fn listens_as(&self, options: &TlsOptions) -> bool {
        self.watch().options.listen == options.listen
    }

    /// Until when the certificate is valid, as a day.
    pub(super) fn valid_until(&self) -> String {
        date(self.watch().validity.until)
    }

    /// Shows a certificate to all who come from now on; connections that are open stay.
    pub(super) fn take_up(&self, config: &SeederConfig, options: &TlsOptions, new: Certificate) {
        let mut watch = self.watch();
        watch.options = options.clone();
        watch.every = Duration::from_secs(config.refresh_seconds);
        self.show(&mut watch, new);
        self.report(&mut watch, unix_now());
    }

    /// Looks at the files at each interval until `stop`, so that a renewal needs nobody to tell us.
    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let every = self.watch().every;
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            let tls = Arc::clone(&self);
            // A disk may be slow. A panic in there leaves the certificate that is shown.
            let _ = tokio::task::spawn_blocking(move || tls.look(unix_now())).await;
        }
    }

    /// Takes up what is new in the files. What can't be used is told, and tried again at the next look.
    fn look(&self, now: i64) {
        let mut watch = self.watch();
        if Stamp::of(&watch.options) == watch.taken {
            watch.refused = None;
        } else {
            match Certificate::load(&watch.options) {
                Ok(new) => self.show(&mut watch, new),
                Err(error) => watch.refused = Some(error.to_string()),
            }
        }
        self.report(&mut watch, now);
    }

    fn show(&self, watch: &mut Watch, new: Certificate) {
        let Certificate {
            config,
            validity,
            stamp,
        } = new;
        if stamp != watch.taken {
            tracing::info!(expires = date(validity.until), "showing a new certificate");
        }
        self.current.store(config);
        (watch.validity, watch.taken, watch.refused) = (validity, stamp, None);
    }

    /// Sets metric and health, and tells each trouble once.
    fn report(&self, watch: &mut Watch, now: i64) {
        self.expires.set(watch.validity.until);
        let refused = watch.refused.as_ref();
        let refused = refused.map(|why| format!("showing the certificate of before: {why}"));
        let words: Vec<String> = refused
            .into_iter()
            .chain(watch.validity.complaint(now))
            .collect();
        let words = Some(words.join("; ")).filter(|words| !words.is_empty());
        match &words {
            None => self.check.ok(),
            Some(why) => self.check.degraded(why),
        }
        if words != watch.told {
            match &words {
                None => tracing::info!("the certificate is in order again"),
                Some(why) => tracing::warn!("DNS over TLS: {why}"),
            }
            watch.told = words;
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // Each change is an assignment.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
