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
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::CertificateDer,
    server::{Acceptor, ProducesTickets},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{SeederError, counters::Handshake};
use crate::{
    config::{ConfigError, SeederConfig},
    follow::unix_now,
    guard::{
        Network,
        rate::{Allowance, Pace, RateLimiter},
    },
    tls::{Certificate, Stamp, TlsError, TlsOptions, Validity},
    words::date,
};

/// Handshakes a second of one client network (/24 or /56); resolvers keep their connections, or resume. At most a quarter of
/// what all together get.
const HANDSHAKES: u32 = 50;

/// Handshakes a second of all clients together, a second's worth at once: what strangers from many networks can make us
/// compute. One takes a fifth of a millisecond with a key of ECDSA or Ed25519, or when a session is resumed; almost one
/// with RSA of 2048 bits, five with 4096. So it is at most a twentieth of a core, a fifth, or a whole one. Two thousand
/// resolvers that each keep a connection for ten seconds begin as many. Who is over it may ask without TLS.
const ALL_HANDSHAKES: u64 = 200;

/// Shakes hands with the certificate of the moment.
#[derive(Debug)]
pub(super) struct Tls {
    current: ArcSwap<ServerConfig>,
    /// Sessions are resumed by tickets that hold them, encrypted by keys of this process, which change each six hours and
    /// are forgotten after twelve. So their number needs no memory, and they outlive a renewal: whoever has one has talked
    /// to us before. A ticket alone opens nothing, as keys are exchanged anew (rustls knows no other way).
    tickets: Arc<dyn ProducesTickets>,
    networks: RateLimiter,
    all: Pace,
    /// Held by whoever reads the files, so that what is read later is shown later. Never taken by tasks: disks may hang.
    reading: Mutex<()>,
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
    /// Of what is shown; `None` when what the options name could not be shown, and is tried at each look.
    taken: Option<Stamp>,
    own: CertificateDer<'static>,
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
    pub(super) async fn new(
        config: &SeederConfig,
        metrics: &Metrics,
        health: &Health,
    ) -> Result<Option<Self>, SeederError> {
        let Some(options) = &config.tls else {
            return Ok(None);
        };
        let certificate = check(options).await?;
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
        let tls = Tls::new(options.clone(), certificate, every, check, expires)
            .map_err(SeederError::Tickets)?;
        tls.report(&mut tls.watch(), unix_now());
        Ok(Some(Self {
            tls: Arc::new(tls),
            listeners,
            addrs,
        }))
    }
}

/// What the options name, when it can be used.
pub(super) async fn check(options: &TlsOptions) -> Result<Certificate, SeederError> {
    if options.listen.is_empty() {
        return Err(ConfigError::NoTlsListen.into());
    }
    Ok(Certificate::load_aside(options).await?)
}

impl Tls {
    fn new(
        options: TlsOptions,
        certificate: Certificate,
        every: Duration,
        check: Check,
        expires: IntGauge,
    ) -> Result<Self, rustls::Error> {
        let Certificate {
            config,
            own,
            validity,
            stamp,
        } = certificate;
        let tickets = Ticketer::new()?;
        let pace = NonZeroU32::new(HANDSHAKES).unwrap_or(NonZeroU32::MIN);
        Ok(Self {
            current: ArcSwap::from_pointee(with_tickets(config, &tickets)),
            tickets,
            networks: RateLimiter::new(pace, &rand::random()),
            all: Pace::default(),
            reading: Mutex::new(()),
            watch: Mutex::new(Watch {
                options,
                every,
                taken: Some(stamp),
                own,
                validity,
                refused: None,
                told: None,
            }),
            check,
            expires,
        })
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
        let limited = |why| Err((Handshake::Limited, io::Error::other(why)));
        let now = now();
        if self.networks.take(Network::of(client.ip()), now) != Allowance::Full {
            return limited("too many handshakes from one network");
        }
        if !self.all.take(now, 1_000_000 / ALL_HANDSHAKES, 1_000_000) {
            return limited("too many handshakes from all networks together");
        }
        let config = self.current.load_full();
        hello.into_stream(config).await.map_err(failed)
    }

    /// Whether it is spoken where this configuration wants it.
    pub(super) fn listens_as(&self, options: &TlsOptions) -> bool {
        self.watch().options.listen == options.listen
    }

    /// Until when the certificate is valid, Unix seconds, as it is at any time.
    pub(super) fn expires(&self) -> IntGauge {
        self.expires.clone()
    }

    /// Until when it is valid, in words.
    pub(super) fn valid_until(&self) -> String {
        date(self.watch().validity.until)
    }

    /// Goes over to other options, and shows what is in their files now to all who come from then on; connections that are
    /// open stay. Whoever calls has looked whether it can be used; if it can't any more, it is tried at each look.
    pub(super) async fn take_up(self: &Arc<Self>, config: &SeederConfig, options: &TlsOptions) {
        let every = Duration::from_secs(config.refresh_seconds);
        let (tls, options) = (Arc::clone(self), options.clone());
        let turned = move || tls.turn_to(options, every, unix_now());
        // As in `follow`.
        let _ = tokio::task::spawn_blocking(turned).await;
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
            let looking = tokio::task::spawn_blocking(move || tls.look(unix_now()));
            tokio::select! {
                _ = looking => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes up what is new in the files. What can't be used is told, and tried again at the next look.
    fn look(&self, now: i64) {
        let _reading = lock(&self.reading);
        let (options, taken) = {
            let watch = self.watch();
            (watch.options.clone(), watch.taken.clone())
        };
        let changed = taken != Some(Stamp::of(&options));
        let new = changed.then(|| Certificate::load(&options));
        self.settle(&mut self.watch(), new, now);
    }

    fn turn_to(&self, options: TlsOptions, every: Duration, now: i64) {
        let _reading = lock(&self.reading);
        let new = Certificate::load(&options);
        let mut watch = self.watch();
        (watch.options, watch.every) = (options, every);
        self.settle(&mut watch, Some(new), now);
    }

    /// Shows what was read, if anything, or says why not.
    fn settle(&self, watch: &mut Watch, new: Option<Result<Certificate, TlsError>>, now: i64) {
        match new {
            None => {}
            Some(Ok(new)) => self.show(watch, new),
            Some(Err(error)) => (watch.taken, watch.refused) = (None, Some(error.to_string())),
        }
        self.report(watch, now);
    }

    fn show(&self, watch: &mut Watch, new: Certificate) {
        let Certificate {
            config,
            own,
            validity,
            stamp,
        } = new;
        if own != watch.own {
            tracing::info!(expires = date(validity.until), "showing a new certificate");
        }
        self.current
            .store(Arc::new(with_tickets(config, &self.tickets)));
        (watch.own, watch.validity) = (own, validity);
        (watch.taken, watch.refused) = (Some(stamp), None);
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
        lock(&self.watch)
    }
}

/// Each change of what is inside is an assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_tickets(mut config: ServerConfig, tickets: &Arc<dyn ProducesTickets>) -> ServerConfig {
    config.ticketer = Arc::clone(tickets);
    config
}

#[cfg(test)]
mod tests;
