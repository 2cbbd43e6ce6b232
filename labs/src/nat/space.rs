//! One network namespace, and programs that run in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How often something is looked at.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How many last lines of a program's log are shown when it does not do what it should, and how much of each.
const TAIL: usize = 8;
const LINE: usize = 200;

/// A network namespace; it goes with this.
#[derive(Debug)]
pub(super) struct Space {
    name: String,
}

impl Space {
    /// A new one with loopback, in which addresses are there as soon as they are given: nobody else could have them.
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let space = Self {
            name: name.to_owned(),
        };
        space.set("ipv6/conf/all/accept_dad", "0")?;
        space.set("ipv6/conf/default/accept_dad", "0")?;
        space.ip("link set lo up")?;
        Ok(space)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs commands of `ip` here, one on each line.
    pub(super) fn ip(&self, commands: &str) -> anyhow::Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name, "-batch", "-"]);
        feed(ip, commands).with_context(|| format!("in {}:\n{commands}", self.name))
    }

    /// Gives nft a script.
    pub(super) fn nft(&self, script: &str) -> anyhow::Result<()> {
        let mut nft = self.command("nft");
        nft.args(["-f", "-"]);
        feed(nft, script).with_context(|| format!("in {}:\n{script}", self.name))
    }

    /// Sets a value below /proc/sys/net, which are those of the namespace that the writer is in.
    pub(super) fn set(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.within(|| std::fs::write(&path, value))?
            .with_context(|| format!("can't set {key} in {}", self.name))
    }

    /// A program that will run here. It sees the devices of this network in /sys too, which is a mount, and not its own: the numbers
    /// of network interfaces are looked up there.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// What a program says that ends by itself within `limit`, whether it is content or not.
    pub(super) fn said(
        &self,
        program: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> anyhow::Result<String> {
        let mut command = Command::new("timeout");
        command.arg(limit.as_secs_f64().to_string());
        let inner = self.command(program);
        command
            .arg(inner.get_program())
            .args(inner.get_args())
            .args(arguments);
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("{program} can't be run"))?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// Does something in this namespace. Sockets made there stay there.
    pub(super) fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let file = File::open(self.path()).with_context(|| format!("no network {}", self.name))?;
        let inside = || -> anyhow::Result<T> {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(what())
        };
        // A thread's namespace is its own, and this one ends with what it does.
        std::thread::scope(|scope| scope.spawn(inside).join())
            .map_err(|_| anyhow!("something panicked in {}", self.name))?
    }

    /// The same for what needs a runtime.
    pub(super) fn block_on<T: Send, F: Future<Output = anyhow::Result<T>>>(
        &self,
        what: impl FnOnce() -> F + Send,
    ) -> anyhow::Result<T> {
        self.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(what())
        })?
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // One that is gone need not go.
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .stderr(Stdio::null())
            .status();
    }
}

/// A program that runs until it is told to end, or this goes.
#[derive(Debug)]
pub(super) struct Program {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// What it says goes to a file in `room`.
    pub(super) fn start(mut command: Command, what: &str, room: &Path) -> anyhow::Result<Self> {
        let log = room.join(format!("{what}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{what} can't be started"))?;
        Ok(Self {
            what: what.to_owned(),
            child,
            log,
        })
    }

    /// Fails when it has ended.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.what, self.tail()),
        }
    }

    /// Asks it to end, as a service manager does, and gives how long that took.
    pub(super) fn terminate(mut self, limit: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .with_context(|| format!("{} had ended before", self.what))?;
        let ended = until(limit, || Ok(self.child.try_wait()?))?;
        let Some(status) = ended else {
            let limit = limit.as_secs();
            bail!("{} did not end in {limit} s\n{}", self.what, self.tail());
        };
        let tail = self.tail();
        ensure!(status.success(), "{} ended: {status}\n{tail}", self.what);
        Ok(start.elapsed())
    }

    /// The most memory that it has had, in KiB.
    pub(super) fn most_memory(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next());
        Ok(peak
            .with_context(|| format!("no peak in {path}"))?
            .parse()?)
    }

    /// The end of what it said.
    pub(super) fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        let tail = lines.get(from..).unwrap_or_default().iter();
        tail.flat_map(|line| line.chars().take(LINE).chain(['\n']))
            .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is not there to be killed, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something, at most for `limit`.
pub(super) fn until<T>(
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a command to its end, which must be a good one.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let what = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{what} can't be run"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}", error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that reads `input`.
fn feed(mut command: Command, input: &str) -> anyhow::Result<()> {
    let what = format!("{:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{what} can't be run"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}", error.trim());
    Ok(())
}
