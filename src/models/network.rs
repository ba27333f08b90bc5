//! Reads a network: an ONNX file, with the files that its weights lie in.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::external::{self, Complete};
use super::onnx::ModelProto;
use crate::vocabulary::contract::METADATA_KEY;
use crate::vocabulary::error::{Error, Result};

/// A network as it lies on disk, all its weights in it.
#[derive(Debug)]
pub(crate) struct Network {
    /// The encoded model: the file's bytes, or these with the weights of other files put in.
    pub(crate) bytes: Bytes,
    /// The same, decoded; it shares the bytes.
    pub(crate) proto: ModelProto,
    /// What identifies it, see [`digest`].
    pub(crate) digest: String,
    /// Size of all its files.
    pub(crate) num_bytes: usize,
}

impl Network {
    /// Reads and decodes an ONNX file.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, no ONNX, or weights in other files that are not to
    /// be had.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map(Bytes::from).map_err(|cause| {
            Error::config(format!("cannot read model {}", path.display()))
                .because(cause)
                .hint("`tilefleet model build` makes one")
        })?;
        let proto = decoded(path, &bytes)?;
        let own = hex::encode(Sha256::digest(&bytes));
        let num_bytes = bytes.len();
        let Complete { bytes, files } =
            external::complete(path, bytes).map_err(|cause| unusable(path).because(cause))?;
        Ok(Self {
            digest: digest(own, files.values()),
            num_bytes: files.values().fold(num_bytes, |sum, file| sum + file.len()),
            proto: if files.is_empty() { proto } else { decoded(path, &bytes)? },
            bytes,
        })
    }
}

/// What a network says of the files beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Names of the files that weights lie in; a path to elsewhere is none, and is refused when the network is read.
    pub weights: BTreeSet<String>,
    /// Whether its own metadata has a contract, so that a STAC Item beside it does not count.
    pub has_contract: bool,
}

impl Beside {
    /// Looks into an encoded network; one that cannot be decoded says nothing.
    #[must_use]
    pub fn of(network: &Bytes) -> Self {
        let Ok(proto) = ModelProto::decode(network.clone()) else { return Self::default() };
        let has_contract = proto.metadata_props.iter().any(|entry| entry.key() == METADATA_KEY);
        Self { weights: external::names(network), has_contract }
    }
}

/// Says that a model cannot be used, whatever is wrong with it.
pub(super) fn unusable(path: &Path) -> Error {
    Error::config(format!("model {} cannot be used", path.display()))
}

fn decoded(path: &Path, bytes: &Bytes) -> Result<ModelProto> {
    let no_onnx = || {
        Error::config(format!("{} is not an ONNX model", path.display())).hint(
            "if it should be one, copy it again, as it may be truncated; `tilefleet model build` makes one",
        )
    };
    let proto = ModelProto::decode(bytes.clone()).map_err(|cause| no_onnx().because(cause))?;
    // Almost any short file decodes as a protobuf of unknown fields.
    if proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
        return Err(no_onnx().because(Error::config("it has no graph")));
    }
    Ok(proto)
}

/// Returns what identifies a network: SHA-256 of its file, in hex. If weights lie in other files, SHA-256 of the
/// lines that hold all digests: the network's own first, then those of the files in order of their names.
fn digest<'a>(own: String, files: impl ExactSizeIterator<Item = &'a Bytes>) -> String {
    if files.len() == 0 {
        return own;
    }
    let lines = files
        .map(|file| hex::encode(Sha256::digest(file)))
        .fold(own + "\n", |lines, digest| lines + &digest + "\n");
    hex::encode(Sha256::digest(lines))
}
