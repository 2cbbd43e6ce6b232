//! Which cores a process runs on: some for the victim, the others for everybody else.

use std::str::FromStr;

use anyhow::Context;

/// Numbers of cores; empty where they can't be told or chosen, and then all processes share what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cores(Vec<usize>);

impl Cores {
    /// The cores that this process may use, in two halves. Both are empty when there is only one.
    pub(super) fn halves() -> (Self, Self) {
        let all = usable();
        if all.len() < 2 {
            eprintln!("the cores can't be divided: victim and crowd take time from each other");
            return (Self(Vec::new()), Self(Vec::new()));
        }
        let (first, second) = all.split_at(all.len() / 2);
        (Self(first.to_vec()), Self(second.to_vec()))
    }

    /// Keeps this process to them, and what it starts from here on.
    pub(super) fn keep_to(&self) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        keep_to(&self.0)
    }

    /// As an argument.
    pub(super) fn argument(&self) -> String {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        format!("--cores={}", numbers.join(","))
    }
}

impl FromStr for Cores {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let numbers = text.split(',').filter(|number| !number.is_empty());
        let numbers: Result<_, _> = numbers.map(str::parse).collect();
        Ok(Self(
            numbers.context("cores are numbers with commas between them")?,
        ))
    }
}

#[cfg(target_os = "linux")]
fn usable() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

#[cfg(target_os = "linux")]
fn keep_to(cores: &[usize]) -> anyhow::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    for core in cores {
        anyhow::ensure!(*core < CpuSet::MAX_CPU, "there is no core {core}");
        set.set(*core);
    }
    sched_setaffinity(None, &set).context("can't choose the cores")
}

#[cfg(not(target_os = "linux"))]
fn usable() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn keep_to(_cores: &[usize]) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_told_as_an_argument() {
        for numbers in [vec![], vec![0], vec![3, 4, 17]] {
            let cores = Cores(numbers);
            let argument = cores.argument();
            let text = argument.strip_prefix("--cores=").unwrap();
            assert_eq!(text.parse::<Cores>().unwrap(), cores);
        }
        assert!("1,x".parse::<Cores>().is_err());
    }

    #[test]
    fn the_halves_are_all_and_share_none() {
        let (Cores(first), Cores(second)) = Cores::halves();
        if !first.is_empty() {
            assert_eq!([first, second].concat(), usable());
        }
    }
}
