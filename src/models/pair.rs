//! A network and its contract: two files that belong together, written and read as a pair.
//!
//! The contract names the digest of its network. Both are staged and synced; then the contract gets its name, and
//! after it the network:
//!
//! ```text
//! old contract, old network ─▶ new contract, old network ─▶ new contract, new network
//!                              no digest fits: refused
//! ```
//!
//! So a crash leaves the old pair, the new one, or one that is refused, also where the old contract named no digest.
//! Reading goes the other way round, the network first: whoever reads while a pair is replaced finds one of these
//! three as well, and never the old contract with the new network.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::file::{Staged, cannot_write, refuse_existing};
use super::network::{Network, unusable};
use crate::vocabulary::contract::Contract;
use crate::vocabulary::error::{Error, Result};

/// Between the names of contract and network a disk syncs a folder; whoever reads just then looks again after this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// How far writing a pair has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is written.
    Begun,
    /// The contract lies in a file of another name.
    ContractStaged,
    /// So does the network.
    BothStaged,
    /// The contract has its name.
    ContractNamed,
    /// So has the network.
    BothNamed,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 5] =
        [Self::Begun, Self::ContractStaged, Self::BothStaged, Self::ContractNamed, Self::BothNamed];
}

/// Writes a network, and its contract beside it; `reached` is told of each step, for tests that end the process there.
///
/// - `path`: where the network goes
/// - `digest`: what identifies it
/// - `replace`: whether files of these names may be replaced
///
/// # Errors
///
/// [`Kind::Usage`](crate::vocabulary::error::Kind::Usage) where a file exists and may not be replaced; otherwise what
/// [`super::file::write()`] says.
pub fn write(
    path: &Path,
    network: &[u8],
    digest: &str,
    contract: &Contract,
    replace: bool,
    mut reached: impl FnMut(Step),
) -> Result<()> {
    let contract_path = Contract::path_for(path);
    if !replace {
        [path, &contract_path].into_iter().try_for_each(refuse_existing)?;
    }
    let named = Contract { model_digest: Some(digest.to_owned()), ..contract.clone() };
    let text = named.to_toml()?;
    reached(Step::Begun);
    let contract = staged(&contract_path, text.as_bytes())?;
    reached(Step::ContractStaged);
    let network = staged(path, network)?;
    reached(Step::BothStaged);
    contract.publish(replace)?;
    reached(Step::ContractNamed);
    if let Err(error) = network.publish(replace) {
        if !replace {
            // It is ours, and would be a contract for whatever network comes to lie there.
            let _ = std::fs::remove_file(&contract_path);
        }
        return Err(error);
    }
    reached(Step::BothNamed);
    Ok(())
}

fn staged(path: &Path, bytes: &[u8]) -> Result<Staged> {
    Staged::new(path, |file| file.write_all(bytes).map_err(|cause| cannot_write(path, cause)))
}

/// Reads a network, and the contract file beside it if there is one, which no longer names a digest.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, no ONNX, no contract, or one of another network.
pub(crate) fn read(path: &Path) -> Result<(Network, Option<Contract>)> {
    let looked_again = || {
        std::thread::sleep(LOOK_AGAIN_AFTER);
        read_once(path)
    };
    match read_once(path)? {
        (network, Some(contract)) if !is_of(&contract, &network) => match looked_again()? {
            (network, Some(contract)) if !is_of(&contract, &network) => {
                Err(unusable(path).because(mismatch(path, &contract, &network)))
            }
            pair => Ok(pair),
        },
        pair => Ok(pair),
    }
    .map(|(network, contract)| {
        (network, contract.map(|contract| Contract { model_digest: None, ..contract }))
    })
}

fn read_once(path: &Path) -> Result<(Network, Option<Contract>)> {
    let network = Network::read(path)?;
    let beside = Contract::path_for(path);
    let is_there = beside.try_exists().map_err(|cause| {
        unusable(path).because(Error::config("cannot search for a contract").because(cause))
    })?;
    let contract = is_there.then(|| Contract::load(&beside)).transpose();
    Ok((network, contract.map_err(|cause| unusable(path).because(cause))?))
}

/// Whether a contract is that of a network, as far as it says.
fn is_of(contract: &Contract, network: &Network) -> bool {
    contract.model_digest.as_ref().is_none_or(|digest| digest.eq_ignore_ascii_case(&network.digest))
}

fn mismatch(path: &Path, contract: &Contract, network: &Network) -> Error {
    let named = contract.model_digest.as_deref().unwrap_or_default();
    let contract = Contract::path_for(path);
    Error::config(format!("{} is the contract of another network", contract.display()))
        .because(format!(
            "its `model_digest` is {named}, but the digest of {} is {}",
            path.display(),
            network.digest
        ))
        .hint(
            "if a command that writes both was interrupted, run it again with --force; if you replaced the \
             network and the contract is right for it too, remove the line `model_digest` from the contract",
        )
}
