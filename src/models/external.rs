//! Weights in files beside a network (ONNX external data, as `PyTorch` writes them): found, checked, and put into
//! it, so that whoever comes after has one piece.
//!
//! Goes in: an encoded model and where it lies. Comes out: the same model with these weights in it; whatever else it
//! holds is copied as it is. A name in a model decides which file is read, so only files of its own folder are.
//!
//! # Reference
//!
//! ONNX 1.23, `docs/ExternalData.md`. Protobuf messages have less than 2 GiB.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use prost::{Message, encode_length_delimiter};

use super::file::folder_of;
use super::onnx::{EXTERNAL, StringStringEntryProto};
use super::wire::Field;
use crate::vocabulary::error::{Error, Result};

/// The most that a protobuf message may have.
const MAX_BYTES: usize = i32::MAX as usize;

/// Numbers of fields of `TensorProto`.
const RAW_DATA: usize = 9;
const EXTERNAL_DATA: usize = 13;
const DATA_LOCATION: usize = 14;

/// A network that has its weights.
pub(super) struct Complete {
    /// The encoded model.
    pub(super) bytes: Bytes,
    /// The files that it had weights in, by name; most networks have none.
    pub(super) files: BTreeMap<String, Bytes>,
}

/// Puts weights that lie in other files into a network.
///
/// - `path`: where the network lies
/// - `network`: the encoded `ModelProto`, which was decoded before
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where a file is missing, unreadable, too short, or not in the
/// network's folder, or the whole is too large; with the tensor's name.
pub(super) fn complete(path: &Path, network: Bytes) -> Result<Complete> {
    let mut weights = Weights { path, files: BTreeMap::new(), num_bytes: network.len() };
    let bytes = match weights.put_into(Part::Model, &network)? {
        Some(pieces) => pieces.joined(path)?,
        None => network,
    };
    Ok(Complete { bytes, files: weights.files })
}

/// Returns the names of the files beside a network that its weights lie in. A path to elsewhere is left out, as
/// [`complete`] refuses it.
///
/// - `network`: the encoded `ModelProto`, which was decoded before
pub(super) fn names(network: &Bytes) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    add_names(Part::Model, network, &mut names);
    names
}

fn add_names(part: Part, message: &Bytes, names: &mut BTreeSet<String>) {
    if part == Part::Tensor {
        let tensor = Described::decode(message.clone()).ok();
        let external = tensor.filter(|tensor| tensor.data_location == Some(EXTERNAL));
        names.extend(external.and_then(|it| it.entry("location").and_then(plain_name).map(str::to_owned)));
        return;
    }
    let mut rest = &message[..];
    while let Some(field) = Field::take(&mut rest) {
        if let Some(inner) = part.of_field(field.number) {
            add_names(inner, &message.slice_ref(field.value), names);
        }
    }
}

/// The messages that tensors lie in.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    SparseTensor,
    Tensor,
}

impl Part {
    /// Returns what a field holds, if there may be tensors in it.
    fn of_field(self, number: usize) -> Option<Self> {
        match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Node, 5) | (Self::Function, 11) => Some(Self::Attribute),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Some(Self::Tensor),
            _ => None,
        }
    }
}

/// What a tensor says of where its elements lie.
#[derive(Clone, PartialEq, Message)]
struct Described {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, optional, tag = "2")]
    data_type: Option<i32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<StringStringEntryProto>,
    #[prost(int32, optional, tag = "14")]
    data_location: Option<i32>,
}

impl Described {
    /// The last entry of that name, as in ONNX Runtime.
    fn entry(&self, key: &str) -> Option<&str> {
        self.external_data.iter().rev().find(|entry| entry.key() == key).map(StringStringEntryProto::value)
    }

    fn number(&self, key: &str) -> Result<Option<usize>> {
        let Some(text) = self.entry(key) else { return Ok(None) };
        let number = text.parse().map_err(|cause| {
            self.refused(format!("has the {key} `{text}`")).because(cause).hint(EXPORT_AGAIN)
        })?;
        Ok(Some(number))
    }

    /// The bytes that its shape and type take; `None` if this build does not know the type.
    fn num_bytes(&self) -> Option<usize> {
        let bits: usize = match self.data_type? {
            2 | 3 | 9 | 17..=20 => 8,
            4 | 5 | 10 | 16 => 16,
            1 | 6 | 12 => 32,
            7 | 11 | 13 | 14 => 64,
            15 => 128,
            21 | 22 => 4,
            _ => return None,
        };
        let dims = self.dims.iter().map(|&dim| usize::try_from(dim).ok());
        let num_elements = dims.into_iter().try_fold(1_usize, |all, dim| all.checked_mul(dim?))?;
        Some(num_elements.checked_mul(bits)?.div_ceil(8))
    }

    fn refused(&self, what: String) -> Error {
        Error::config(format!("tensor `{}` lies in another file and {what}", self.name))
    }

    /// Says that the file it names is not to be had.
    fn elsewhere(&self, location: &str, why: &str) -> Error {
        Error::config(format!("tensor `{}` lies in another file, `{location}`, {why}", self.name))
    }
}

const EXPORT_AGAIN: &str = "export the network again, or save it as one file: in Python, \
                            onnx.save_model(onnx.load(path), path)";
const COPY_BOTH: &str = "network and weights are one model: copy both files into the same folder again";

/// The files that weights are read from.
struct Weights<'a> {
    path: &'a Path,
    files: BTreeMap<String, Bytes>,
    /// Of the network and all files read.
    num_bytes: usize,
}

impl Weights<'_> {
    /// Returns a message with the weights in it; `None` if it lacks none.
    fn put_into(&mut self, part: Part, message: &Bytes) -> Result<Option<Pieces>> {
        if part == Part::Tensor {
            return self.put_into_tensor(message);
        }
        let mut pieces = Pieces::default();
        let (mut rest, mut num_copied) = (&message[..], 0);
        while !rest.is_empty() {
            let start = message.len() - rest.len();
            let field = Field::take(&mut rest).ok_or_else(|| self.unreadable())?;
            let Some(inner) = part.of_field(field.number) else { continue };
            if let Some(inner) = self.put_into(inner, &message.slice_ref(field.value))? {
                pieces.push(message.slice(num_copied..start));
                pieces.push_field(field.number, inner);
                num_copied = message.len() - rest.len();
            }
        }
        if pieces.0.is_empty() {
            return Ok(None);
        }
        pieces.push(message.slice(num_copied..));
        Ok(Some(pieces))
    }

    fn put_into_tensor(&mut self, message: &Bytes) -> Result<Option<Pieces>> {
        let tensor = Described::decode(message.clone()).map_err(|cause| self.unreadable().because(cause))?;
        if tensor.data_location != Some(EXTERNAL) {
            return Ok(None);
        }
        let elements = self.elements(&tensor)?;
        let mut pieces = Pieces::default();
        let mut rest = &message[..];
        while !rest.is_empty() {
            let field = Field::take(&mut rest).ok_or_else(|| self.unreadable())?;
            if ![RAW_DATA, EXTERNAL_DATA, DATA_LOCATION].contains(&field.number) {
                pieces.push(message.slice_ref(field.whole));
            }
        }
        pieces.push_field(RAW_DATA, Pieces(vec![elements]));
        Ok(Some(pieces))
    }

    /// Returns a tensor's part of its file.
    fn elements(&mut self, tensor: &Described) -> Result<Bytes> {
        let location = tensor
            .entry("location")
            .ok_or_else(|| tensor.refused("does not name it".to_owned()).hint(EXPORT_AGAIN))?;
        let (offset, length) = (tensor.number("offset")?.unwrap_or(0), tensor.number("length")?);
        let file = self.file(tensor, location)?;
        let wanted = tensor.num_bytes();
        if let (Some(length), Some(wanted)) = (length, wanted)
            && length != wanted
        {
            return Err(tensor
                .refused(format!("has {length} bytes there, but its shape and type need {wanted}"))
                .hint(EXPORT_AGAIN));
        }
        let length = length.or(wanted).unwrap_or(file.len().saturating_sub(offset));
        let end = offset.checked_add(length).filter(|end| *end <= file.len()).ok_or_else(|| {
            tensor
                .elsewhere(location, &format!("which ends too early, after {} bytes", file.len()))
                .because(format!("it begins at byte {offset} and has {length}"))
                .hint(COPY_BOTH)
        })?;
        Ok(file.slice(offset..end))
    }

    /// Returns the content of a file beside the network.
    fn file(&mut self, tensor: &Described, location: &str) -> Result<Bytes> {
        let name = plain_name(location).ok_or_else(|| {
            tensor.elsewhere(location, "not beside the network").hint(
                "only files in the network's own folder are read; put it there, and export the network \
                     again with the plain file name",
            )
        })?;
        if let Some(file) = self.files.get(name) {
            return Ok(file.clone());
        }
        let path = self.beside(tensor, name)?;
        let unreadable = |cause| {
            tensor
                .elsewhere(name, "which cannot be read")
                .because(cause)
                .hint("make the file readable, then try again")
        };
        let num_bytes = fs::metadata(&path).map_err(unreadable)?.len();
        self.num_bytes = self.num_bytes.saturating_add(usize::try_from(num_bytes).unwrap_or(usize::MAX));
        if self.num_bytes > MAX_BYTES {
            return Err(too_large(self.path, self.num_bytes));
        }
        let file = Bytes::from(fs::read(&path).map_err(unreadable)?);
        self.files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    /// Returns where a file lies that is, links followed, in the folder of the network; or of the file that a link
    /// in the network's place leads to, as in caches of downloads.
    fn beside(&self, tensor: &Described, name: &str) -> Result<PathBuf> {
        let folder = folder_of(self.path);
        let path = folder.join(name);
        let real = fs::canonicalize(&path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => tensor
                .elsewhere(name, &format!("which does not exist in {}", folder.display()))
                .hint(COPY_BOTH),
            _ => tensor.elsewhere(name, "which cannot be read").because(cause),
        })?;
        let here =
            [fs::canonicalize(&folder).ok(), fs::canonicalize(self.path).ok().map(|path| folder_of(&path))];
        if !here.iter().flatten().any(|folder| real.parent() == Some(folder)) {
            return Err(tensor
                .elsewhere(name, "which is a link to outside the network's folder")
                .hint("put the file itself beside the network"));
        }
        if !real.is_file() {
            return Err(tensor.elsewhere(name, "which is not a file").hint(COPY_BOTH));
        }
        Ok(real)
    }

    fn unreadable(&self) -> Error {
        Error::config(format!("{} cannot be read to its end", self.path.display())).hint(EXPORT_AGAIN)
    }
}

/// Returns the name of a file in the same folder; `None` if it is a path to elsewhere.
fn plain_name(location: &str) -> Option<&str> {
    let mut parts = Path::new(location).components().filter(|part| *part != Component::CurDir);
    match (parts.next()?, parts.next()) {
        (Component::Normal(name), None) => name.to_str(),
        _ => None,
    }
}

fn too_large(path: &Path, num_bytes: usize) -> Error {
    Error::config(format!("{} is too large", path.display()))
        .because(format!(
            "with its weights in other files it has {:.1} GiB, but a network in memory must have less than 2",
            num_bytes as f64 / f64::from(1 << 30)
        ))
        .hint("export it in fp16, which halves its size, or use a smaller network")
}

/// A message in pieces, which are copied only once.
#[derive(Default)]
struct Pieces(Vec<Bytes>);

impl Pieces {
    fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).fold(0, usize::saturating_add)
    }

    fn push(&mut self, piece: Bytes) {
        self.0.push(piece);
    }

    /// Adds a field that holds a message or bytes.
    fn push_field(&mut self, number: usize, value: Self) {
        let mut head = Vec::new();
        for varint in [number << 3 | 2, value.len()] {
            encode_length_delimiter(varint, &mut head).expect("a vector grows");
        }
        self.push(head.into());
        self.0.extend(value.0);
    }

    fn joined(self, path: &Path) -> Result<Bytes> {
        let num_bytes = self.len();
        if num_bytes > MAX_BYTES {
            return Err(too_large(path, num_bytes));
        }
        let mut joined = Vec::with_capacity(num_bytes);
        self.0.iter().for_each(|piece| joined.extend_from_slice(piece));
        Ok(joined.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::models::network::Network;
    use crate::models::onnx::{
        AttributeProto, FLOAT, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto,
        TensorProto,
    };
    use crate::vocabulary::error::Kind;

    /// A float tensor of two elements in another file.
    fn beside(name: &str, entries: &[(&str, &str)]) -> TensorProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto::new(key, (*value).to_owned());
        TensorProto {
            data_location: Some(EXTERNAL),
            external_data: entries.iter().map(entry).collect(),
            raw_data: None,
            ..TensorProto::new(name, FLOAT, &[2], Bytes::new())
        }
    }

    fn holding(tensor: TensorProto) -> AttributeProto {
        AttributeProto { name: Some("value".to_owned()), t: Some(tensor), ..AttributeProto::default() }
    }

    fn model(initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
        ModelProto {
            graph: Some(GraphProto { node, initializer, ..GraphProto::default() }),
            ..ModelProto::default()
        }
    }

    struct OnDisk {
        folder: tempfile::TempDir,
    }

    impl OnDisk {
        /// Files of 16 bytes, 0 to 15, beside each network.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("w.bin"), (0..16).collect::<Vec<u8>>()).unwrap();
            Self { folder }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("m.onnx")
        }

        fn read(&self, model: &ModelProto) -> Result<Network> {
            fs::write(self.path(), model.encode_to_vec()).unwrap();
            Network::read(&self.path())
        }

        fn refused(&self, tensor: TensorProto) -> String {
            let error = self.read(&model(vec![tensor], vec![relu()])).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.render()
        }
    }

    fn relu() -> NodeProto {
        NodeProto::new("Relu", &["x"], "y", vec![])
    }

    /// Wherever in the model a tensor lies; all else, what this build does not know included, stays as it is.
    #[test]
    fn weights_are_put_where_their_tensors_are() {
        let at = |name: &str, offset: &str| beside(name, &[("location", "w.bin"), ("offset", offset)]);
        let sparse = |tensor| SparseTensorProto { values: Some(tensor), ..SparseTensorProto::default() };
        let branch = GraphProto {
            node: vec![NodeProto::new("Constant", &[], "c", vec![holding(at("in branch", "4"))])],
            sparse_initializer: vec![sparse(at("sparse", "0"))],
            ..GraphProto::default()
        };
        let then = AttributeProto {
            name: Some("then_branch".to_owned()),
            g: Some(branch),
            ..AttributeProto::default()
        };
        let lists = AttributeProto { tensors: vec![at("listed", "8")], ..AttributeProto::default() };
        let inline = TensorProto::float("inline", &[2], Bytes::from_static(b"abcdefgh"));
        let mut proto = model(
            vec![inline.clone(), at("first", "0"), at("second", "8")],
            vec![
                relu(),
                NodeProto::new("If", &["y"], "z", vec![then]),
                NodeProto::new("Odd", &["z"], "o", vec![lists]),
            ],
        );
        proto.functions = vec![FunctionProto {
            node: vec![NodeProto::new("Constant", &[], "f", vec![holding(at("in function", "4"))])],
            attribute_proto: vec![holding(at("usual", "8"))],
            ..FunctionProto::default()
        }];
        let mut expected = proto.clone();
        let inlined = |tensor: &mut TensorProto, offset: u8| {
            let raw: Vec<u8> = (offset..offset + 8).collect();
            *tensor = TensorProto::float(tensor.name(), &[2], raw.into());
        };
        let graph = expected.graph.as_mut().unwrap();
        inlined(&mut graph.initializer[1], 0);
        inlined(&mut graph.initializer[2], 8);
        let branch = graph.node[1].attribute[0].g.as_mut().unwrap();
        inlined(branch.node[0].attribute[0].t.as_mut().unwrap(), 4);
        inlined(branch.sparse_initializer[0].values.as_mut().unwrap(), 0);
        inlined(&mut graph.node[2].attribute[0].tensors[0], 8);
        inlined(expected.functions[0].node[0].attribute[0].t.as_mut().unwrap(), 4);
        inlined(expected.functions[0].attribute_proto[0].t.as_mut().unwrap(), 8);

        let disk = OnDisk::new();
        // Field 100 of a model and of a second graph, which is merged with the first.
        let unknown = b"\xa2\x06\x04hand\x3a\x08\xa2\x06\x05notes";
        let bytes = Bytes::from([&proto.encode_to_vec()[..], unknown].concat());
        let complete = complete(&disk.path(), bytes).unwrap_or_else(|error| panic!("{}", error.render()));
        assert!(complete.bytes.ends_with(unknown));
        assert_eq!(ModelProto::decode(complete.bytes).unwrap(), expected);
        assert_eq!(complete.files.keys().collect::<Vec<_>>(), ["w.bin"]);
    }

    #[test]
    fn a_network_in_one_piece_stays_what_it_is() {
        let disk = OnDisk::new();
        let proto = model(vec![TensorProto::float("w", &[1], Bytes::from_static(b"abcd"))], vec![relu()]);
        let network = disk.read(&proto).unwrap();
        assert_eq!((network.bytes, network.num_bytes), (proto.encode_to_vec().into(), proto.encoded_len()));
    }

    #[test]
    fn the_files_beside_a_network_are_known_without_reading_them() {
        let tensors = ["w.bin", "./v.bin", "../secret", "/etc/passwd", "sub/w.bin", "w.bin", "", ".."]
            .map(|location| beside("w", &[("location", location)]));
        let inside = TensorProto::float("w", &[1], Bytes::from_static(b"abcd"));
        let network = model([&tensors[..], &[inside]].concat(), vec![relu()]).encode_to_vec().into();
        assert_eq!(names(&network).into_iter().collect::<Vec<_>>(), ["v.bin", "w.bin"]);
        assert_eq!(names(&network.slice(..network.len() - 3)).len(), 0, "cut short: no field is whole");
    }

    #[test]
    fn a_file_that_is_not_in_the_networks_folder_is_refused() {
        let disk = OnDisk::new();
        let other = tempfile::tempdir().unwrap();
        let secret = other.path().join("secret");
        fs::write(&secret, [0; 16]).unwrap();
        symlink(&secret, disk.folder.path().join("link")).unwrap();
        fs::create_dir(disk.folder.path().join("sub")).unwrap();
        fs::write(disk.folder.path().join("sub/w.bin"), [0; 16]).unwrap();
        let absolute = secret.to_str().unwrap().to_owned();
        for (location, why) in [
            (absolute.as_str(), "not beside the network"),
            ("../secret", "not beside the network"),
            ("sub/w.bin", "not beside the network"),
            ("sub/../w.bin", "not beside the network"),
            ("..", "not beside the network"),
            ("", "not beside the network"),
            // ONNX Runtime's own name for an address in memory.
            ("*/_ORT_MEM_ADDR_/*", "not beside the network"),
            ("link", "a link to outside the network's folder"),
            ("sub", "is not a file"),
            ("none.bin", "which does not exist in"),
        ] {
            let message = disk.refused(beside("w", &[("location", location), ("length", "8")]));
            assert!(message.contains("tensor `w`") && message.contains(why), "{location}: {message}");
        }
    }

    /// In caches of downloads network and weights are links into one folder.
    #[test]
    fn links_that_lead_where_the_network_is_are_followed() {
        let (disk, cache) = (OnDisk::new(), tempfile::tempdir().unwrap());
        let proto = model(vec![beside("w", &[("location", "./weights")])], vec![relu()]);
        fs::write(disk.path(), proto.encode_to_vec()).unwrap();
        symlink(disk.path(), cache.path().join("m.onnx")).unwrap();
        symlink(disk.folder.path().join("w.bin"), cache.path().join("weights")).unwrap();
        let network = Network::read(&cache.path().join("m.onnx")).unwrap();
        let weights = network.proto.graph.unwrap().initializer.remove(0).raw_data.unwrap();
        assert_eq!(&weights[..], [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn weights_lie_within_their_file_and_are_as_many_as_the_shape_says() {
        let disk = OnDisk::new();
        for (entries, why) in [
            (&[("offset", "12")][..], "ends too early, after 16 bytes"),
            (&[("offset", "18446744073709551615"), ("length", "8")], "ends too early, after 16 bytes"),
            (&[("length", "12")], "has 12 bytes there, but its shape and type need 8"),
            (&[("offset", "-1")], "has the offset `-1`"),
            (&[("length", "8 bytes")], "has the length `8 bytes`"),
        ] {
            let message = disk.refused(beside("w", &[&[("location", "w.bin")], entries].concat()));
            assert!(message.contains("tensor `w`") && message.contains(why), "{message}");
        }
        assert!(disk.refused(beside("w", &[])).contains("does not name it"));
    }

    #[test]
    fn what_does_not_fit_into_one_piece_is_refused_before_it_is_read() {
        let disk = OnDisk::new();
        File::create(disk.folder.path().join("huge.bin")).unwrap().set_len(3 << 30).unwrap();
        let message = disk.refused(beside("w", &[("location", "huge.bin")]));
        assert!(
            message.contains("it has 3.0 GiB, but a network in memory must have less than 2"),
            "{message}"
        );
        // One small file, many tensors.
        File::create(disk.folder.path().join("large.bin")).unwrap().set_len(1 << 29).unwrap();
        let odd =
            |name: &str| TensorProto { data_type: Some(99), ..beside(name, &[("location", "large.bin")]) };
        let many = ["a", "b", "c", "d"].map(odd).to_vec();
        let error = disk.read(&model(many, vec![relu()])).unwrap_err();
        assert!(error.render().contains("less than 2"), "{}", error.render());
    }

    #[test]
    fn the_digest_covers_the_weights() {
        let disk = OnDisk::new();
        let other = disk.folder.path().join("a.bin");
        fs::write(&other, [7; 8]).unwrap();
        let tensors = [beside("w", &[("location", "w.bin")]), beside("v", &[("location", "a.bin")])];
        let proto = model(tensors.to_vec(), vec![relu()]);
        let digest = || disk.read(&proto).unwrap().digest;
        let first = digest();
        fs::write(&other, [8; 8]).unwrap();
        assert_ne!(digest(), first);
        fs::write(&other, [7; 8]).unwrap();
        assert_eq!(digest(), first);
    }
}
