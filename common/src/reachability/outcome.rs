//! How a probe ended. Each probe ends in exactly one [`Outcome`], reached at one [`Stage`].
//!
//! Both lists are closed and their texts are stored, exported and used as metric labels: a text never
//! changes its meaning.

use std::fmt;
use std::str::FromStr;

/// Declares a closed list of values with their stored text.
macro_rules! closed_list {
    ($(#[$meta:meta])* $name:ident: $what:literal { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable text: stored, exported and used as a metric label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl FromStr for $name {
            type Err = UnknownValue;

            fn from_str(text: &str) -> Result<Self, UnknownValue> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownValue { what: $what, text: text.chars().take(64).collect() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

closed_list! {
    /// How one probe ended.
    Outcome: "outcome" {
        /// Every stage passed: the peer is reachable, speaks our protocol and proved our chain.
        Ok = "ok",
        /// The host answered that nothing listens there.
        Refused = "refused",
        /// No route to the host or its network, as reported by a router.
        Unreachable = "unreachable",
        /// TCP did not connect within the time limit.
        TimeoutConnect = "timeout_connect",
        /// Connected, but the secure handshake did not end within the time limit.
        TimeoutHandshake = "timeout_handshake",
        /// Secured, but the conversation did not end within the time limit.
        TimeoutProtocol = "timeout_protocol",
        /// The secure handshake failed: junk, a forged identity, or another protocol.
        NoiseFailed = "noise_failed",
        /// It speaks no Noise, and the handshake by TLS failed.
        TlsFailed = "tls_failed",
        /// The peer closed the connection before the conversation ended.
        Disconnected = "disconnected",
        /// The peer broke the message protocol.
        ProtocolError = "protocol_error",
        /// The peer belongs to another network.
        WrongNetwork = "wrong_network",
        /// The peer could not prove that it holds our chain.
        WrongChain = "wrong_chain",
        /// It did not give a block that it must have, or gave another.
        NoBlock = "no_block",
        /// On our chain, but too many blocks behind it.
        Behind = "behind",
        /// Its protocol version is below the minimum.
        TooOld = "too_old",
        /// We reached ourselves.
        SelfConnection = "self",
        /// The proxy to an overlay network can't be used, so the result says nothing about the peer.
        ProxyDown = "proxy_down",
        /// Our own network was down, so the result says nothing about the peer.
        LocalNetworkDown = "local_network_down",
    }
}

impl Outcome {
    /// Whether the probe passed.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Ok)
    }

    /// Whether the outcome says anything about the peer. One that does not leaves the statistics alone.
    pub const fn counts(self) -> bool {
        !matches!(
            self,
            Self::LocalNetworkDown | Self::ProxyDown | Self::SelfConnection
        )
    }

    /// Whether the peer answered at TCP level, however it went on.
    pub const fn was_connected(self) -> bool {
        !matches!(
            self,
            Self::Refused
                | Self::Unreachable
                | Self::TimeoutConnect
                | Self::ProxyDown
                | Self::LocalNetworkDown
        )
    }

    /// Whether such a failure may be caused by our own network instead of the peer's.
    pub const fn may_be_local(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimeoutConnect)
    }
}

closed_list! {
    /// How far a probe came.
    Stage: "stage" {
        /// TCP.
        Dial = "dial",
        /// The secure handshake.
        Secure = "secure",
        /// `version` and `verack`.
        Version = "version",
        /// Proof of our chain by headers.
        Chain = "chain",
        /// An old block.
        Block = "block",
        /// `getaddr`.
        Addresses = "addresses",
        /// Ping round trip.
        Ping = "ping",
        /// Everything was done.
        Done = "done",
    }
}

/// A text that is in no closed list, e.g. in a store written by a newer program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}")]
pub struct UnknownValue {
    /// Which list was meant.
    pub what: &'static str,
    /// The text, cut to 64 characters.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_parses_back_and_is_unique() {
        for &outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        for &stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
    }

    #[test]
    fn an_unknown_text_is_refused_and_cut() {
        let error = "x".repeat(1000).parse::<Outcome>().unwrap_err();
        assert_eq!(error.text.len(), 64);
        assert!("OK".parse::<Outcome>().is_err());
    }

    #[test]
    fn only_ok_is_success_and_local_faults_never_count() {
        let successes: Vec<_> = Outcome::ALL.iter().filter(|o| o.is_success()).collect();
        assert_eq!(successes, [&Outcome::Ok]);
        assert!(!Outcome::LocalNetworkDown.counts() && !Outcome::ProxyDown.counts());
        assert!(!Outcome::ProxyDown.was_connected());
        assert!(!Outcome::SelfConnection.counts());
        assert!(Outcome::Refused.counts());
    }
}
