//! `chain check`, `chain export` and `chain import`: work on a data directory that no node is using.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::service::logging::{self, LogOptions};
use quantumcoin::service::spec;
use quantumcoin_node::config::data_dir;

use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum ChainCommand {
    /// Read every byte of the chain and compare the unspent outputs with what the blocks leave
    Check {
        #[command(flatten)]
        place: Place,
        /// Check all signatures again, too
        #[arg(long)]
        signatures: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the verified blocks to a file, in the format of bootstrap.dat
    Export {
        #[command(flatten)]
        place: Place,
        /// The file to make; - for standard output
        file: PathBuf,
    },
    /// Take in the blocks of an exported file, verifying each
    Import {
        #[command(flatten)]
        place: Place,
        /// The file to read; - for standard input
        file: PathBuf,
    },
}

/// Which chain, and where it is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Built-in network: mainnet, testnet or devnet [default: mainnet]
    #[arg(long, env = "QTC_NETWORK")]
    network: Option<String>,
    /// Chain spec file, in place of a built-in network
    #[arg(long, env = "QTC_CHAIN_SPEC", value_name = "FILE")]
    chain_spec: Option<PathBuf>,
    /// The node's data directory [default: by XDG]
    #[arg(long, env = "QTC_NODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What helps when nothing is there.
pub(super) const WHICH: &str =
    "name a node's data directory with --data-dir, and its network with --network";

impl Place {
    /// The spec and the data directory, which need not exist without `create`. Warnings go to the log from here on.
    pub(super) async fn find(&self, create: bool) -> anyhow::Result<(ChainSpec, PathBuf)> {
        logging::init(&LogOptions {
            level: "warn".into(),
            ..LogOptions::default()
        })?;
        let spec = spec::choose(self.network.as_deref(), self.chain_spec.as_deref()).await?;
        let dir = data_dir(&spec, self.data_dir.as_deref(), create)?;
        Ok((spec, dir))
    }

    /// Opens the chain; without `create` there must be one.
    pub(super) async fn open(self, create: bool) -> anyhow::Result<Blockchain> {
        let (spec, dir) = self.find(create).await?;
        let dir = dir.join("chain");
        if !create && !dir.join("chain.state").exists() {
            bail!("{}: there is no chain\n  help: {WHICH}", dir.display());
        }
        tokio::task::spawn_blocking(move || Ok(Blockchain::open(Arc::new(spec), &dir)?)).await?
    }
}

pub(super) async fn run(command: ChainCommand) -> anyhow::Result<()> {
    match command {
        ChainCommand::Check {
            place,
            signatures,
            json,
        } => {
            let chain = place.open(false).await?;
            let report = tokio::task::spawn_blocking(move || {
                let total = u64::from(chain.tip().height);
                chain.check_files(signatures, show::progress("blocks read", total))
            });
            show::check_report(&report.await??, json);
            Ok(())
        }
        ChainCommand::Export { place, file } => {
            let chain = place.open(false).await?;
            tokio::task::spawn_blocking(move || export(&chain, &file)).await?
        }
        ChainCommand::Import { place, file } => {
            let input: Box<dyn Read + Send> = if file == Path::new("-") {
                Box::new(io::stdin())
            } else {
                let file =
                    File::open(&file).with_context(|| format!("can't open {}", file.display()))?;
                Box::new(BufReader::with_capacity(1 << 20, file))
            };
            let chain = place.open(true).await?;
            tokio::task::spawn_blocking(move || import(&chain, input)).await?
        }
    }
}

/// The file appears under its name only when it is whole.
fn export(chain: &Blockchain, file: &Path) -> anyhow::Result<()> {
    let total = u64::from(chain.tip().height);
    let mut progress = show::progress("blocks written", total);
    let tick = |height: u32| progress(height.into());
    if file == Path::new("-") {
        chain.export(&mut BufWriter::new(io::stdout().lock()), tick)?;
        return Ok(());
    }
    if file.exists() {
        bail!(
            "{} exists already; remove it or name another file",
            file.display()
        );
    }
    let mut aside = file.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    let out = File::create(&aside).with_context(|| format!("can't create {}", aside.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let last = chain.export(&mut out, tick)?;
    out.flush()
        .and_then(|()| out.get_ref().sync_all())
        .and_then(|()| fs::rename(&aside, file))
        .with_context(|| format!("can't write {}", file.display()))?;
    show::exported(last, file);
    Ok(())
}

fn import(chain: &Blockchain, mut input: Box<dyn Read + Send>) -> anyhow::Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut progress = show::progress("block", 0);
    // Seconds fit 32 bits until 2106, as in headers.
    let tip = chain.import(&mut input, now.as_secs() as u32, |height| {
        progress(height.into());
    })?;
    show::imported(tip);
    Ok(())
}
