//! Log output: for people on a terminal, JSON lines otherwise; always to standard error.
//!
//! Standard output belongs to a command's result, so that `--json` can be piped. The filter comes from the
//! environment ([`LOG_ENV`]) before the options, in the syntax of `tracing_subscriber`'s `EnvFilter`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Environment variable whose filter replaces [`LogOptions::level`], e.g. `QTC_LOG=debug,sqlx=warn`.
pub const LOG_ENV: &str = "QTC_LOG";

/// Libraries that log each query or statement at `info`, client addresses included: held to warnings, so
/// that logs stay small and private; what the resolver's parts warn of stands in our own report, with seed and provider, or is
/// nothing that anybody could mend, such as upstreams without DNSSEC. A filter in [`LOG_ENV`] may name them again.
const QUIET: &str = "hickory_server=warn,hickory_net=error,hickory_proto=error,hickory_resolver=error,\
                     sqlx=warn,hyper=warn,hyper_util=warn,fjall=warn,lsm_tree=warn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// [`LogFormat::Human`] when standard error is a terminal, else [`LogFormat::Json`].
    #[default]
    Auto,
    /// One coloured line an event (coloured as [`super::output::colour`] says).
    Human,
    /// One JSON object an event.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!(
                "{other:?} is no log format: use auto, human or json"
            )),
        }
    }
}

/// What to log and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// A level or a whole filter, e.g. `info` or `info,quantumcoin=debug`.
    pub level: String,
    /// The look of a line.
    pub format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// A filter that can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the log filter {filter:?} (from {origin}) can't be read: {source}; \
     write a level such as `info`, or `info,quantumcoin=debug`"
)]
pub struct LogError {
    filter: String,
    origin: &'static str,
    source: tracing_subscriber::filter::ParseError,
}

/// Installs the process-wide log output. Calling it again does nothing, so tests may call it freely.
///
/// # Errors
/// [`LogError`] when the filter of the environment or of `options` can't be parsed.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let from_env = std::env::var(LOG_ENV)
        .ok()
        .filter(|text| !text.trim().is_empty());
    let (text, origin) = match from_env {
        Some(text) => (text, LOG_ENV),
        None => (options.level.clone(), "the log level option"),
    };
    let filter = filter(&text, origin)?;

    let terminal = std::io::stderr().is_terminal();
    let human = match options.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    // Fails only if a subscriber is installed already, which is what "again does nothing" means.
    let _already = if human {
        let colour = super::output::colour(&std::io::stderr());
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colour);
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    Ok(())
}

/// Whether this is a filter.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(text: &str) -> Result<(), String> {
    let read = EnvFilter::try_new(text);
    read.map(drop)
        .map_err(|error| format!("{text:?} is no log filter: {error}"))
}

fn filter(text: &str, origin: &'static str) -> Result<EnvFilter, LogError> {
    let whole = format!("{QUIET},{text}");
    EnvFilter::try_new(whole).map_err(|source| LogError {
        filter: text.to_owned(),
        origin,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_a_filter_are_accepted_and_nonsense_is_not() {
        assert!(filter("info", "test").is_ok());
        assert!(filter("warn,quantumcoin=debug", "test").is_ok());
        let error = filter("quantumcoin=loudest", "test")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("quantumcoin=loudest") && error.contains("info"),
            "{error}"
        );
    }

    #[test]
    fn the_operators_filter_wins_over_the_quiet_list() {
        let shown = filter("hickory_server=info", "test").unwrap().to_string();
        assert!(shown.contains("hickory_server=info"), "{shown}");
        assert!(!shown.contains("hickory_server=warn"), "{shown}");
        let shown = filter("debug", "test").unwrap().to_string();
        assert!(shown.contains("hickory_server=warn"), "{shown}");
    }

    #[test]
    fn init_may_be_repeated() {
        init(&LogOptions::default()).unwrap();
        init(&LogOptions::default()).unwrap();
    }

    #[test]
    fn formats_are_read_by_name() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
