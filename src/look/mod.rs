//! Looking at single sources: what the decoder sees of one, and the samples of one of its windows.
//!
//! Goes in: a source's URI and the settings that a run would have. Comes out: a [`Description`] made from
//! the header alone, or a [`Picture`] with the decoded samples, as stored or as a model gets them. The
//! commands `inspect` and `chip` call it; nothing here plans, infers or judges a run, and what it says is
//! what the stages of a run would do with the same bytes.
//!
//! ```text
//! inspect   size and version ─▶ a range ─▶ parse ─▶ [ the range it asks for ─▶ parse ] ─▶ Description
//! chip      whole object ─▶ decode ─▶ window ─▶ [ preprocess ] ─▶ Picture ─▶ .npy, .png
//!           scene: header ─▶ block table ─▶ blocks ─▶ window ─▶ …
//! ```

mod blocks;
mod chip;
mod describe;
mod header;
mod picture;
mod scene;

use bytes::Bytes;

use self::blocks::read_scene;
pub use self::chip::{Wanted, decode_window, model_input};
pub use self::describe::{Description, Image, Level, Status};
use self::header::{Header, Ranges};
pub use self::picture::{FileFormat, Picture};
pub use self::scene::{Band, Blocks, Scene};

use crate::config::Looking;
use crate::decode::chip::Chip;
use crate::error::{Error, Kind, Result};
use crate::fetch::too_large;
use crate::format::image::{ImageFormat, Limits};
use crate::reason::{Reason, Rejection};
use crate::storage::{Fault, ObjectUri, Storage};

/// Looks at sources with the settings of a run.
pub struct Looker {
    storage: Storage,
    limits: Limits,
    max_object_bytes: u64,
}

impl Looker {
    /// Prepares to look; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `Config` if the settings contradict themselves.
    pub fn new(settings: &Looking) -> Result<Self> {
        Ok(Self {
            storage: Storage::new(settings.storage.clone())?,
            limits: Limits::of_pixels(settings.limits.max_pixels),
            max_object_bytes: settings.limits.max_object_bytes,
        })
    }

    /// Returns what an image may announce.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Describes a source by its header.
    ///
    /// # Errors
    ///
    /// `Config` if the object is not there or may not be read, `Unavailable` if its store is away. What a
    /// run would reject is described, see [`Description::check`].
    pub async fn describe(&self, uri: &ObjectUri) -> Result<Description> {
        let looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        Ok(Description::new(uri, looked, &self.limits))
    }

    /// Decodes the part of a source that is wanted; returns also how many bytes were read for it.
    ///
    /// Of a scene only the blocks are read that the window needs, of a plain image all of it.
    ///
    /// # Errors
    ///
    /// As [`Self::describe`] and [`decode_window`].
    pub async fn chip(&self, uri: &ObjectUri, wanted: Wanted) -> Result<(Chip, u64)> {
        let bucket = self.storage.bucket(uri);
        let mut looked = self.header(uri).await.map_err(|fault| not_had(fault, uri))?;
        let bytes = match (looked.header, looked.whole.take()) {
            (Ok(Header::Scene(header)), whole) => {
                let mut ranges = Ranges::again(&bucket, uri.key(), looked.object, whole, looked.read_bytes);
                let chip = read_scene(uri, &mut ranges, &header, &self.limits, wanted).await?;
                return Ok((chip, ranges.read_bytes));
            }
            // Damage that only the directories of a scene tell of.
            (Err(rejection), _) if looked.format == Some(ImageFormat::Tiff) => {
                return Err(rejected(uri, rejection));
            }
            (_, Some(bytes)) => bytes,
            (_, None) => self.read(uri).await?,
        };
        let chip = decode_window(uri, &bytes, &self.limits, wanted)?;
        Ok((chip, bytes.len() as u64))
    }

    async fn read(&self, uri: &ObjectUri) -> Result<Bytes> {
        match self.storage.bucket(uri).get(uri.key(), self.max_object_bytes).await {
            Ok(object) => Ok(object.bytes),
            Err(Fault::TooLarge { size }) => Err(rejected(uri, too_large(size, self.max_object_bytes))),
            Err(fault) => Err(not_had(fault, uri)),
        }
    }
}

fn not_had(fault: Fault, uri: &ObjectUri) -> Error {
    if matches!(fault, Fault::Gone) && uri.local_path().is_some_and(|path| path.is_dir()) {
        return Error::config(format!("{uri} is a folder")).hint("name the images in it");
    }
    fault.into_error(uri)
}

/// Ends a command whose only source a run would reject.
fn rejected(uri: &ObjectUri, rejection: Rejection) -> Error {
    let too_large = rejection.reason == Reason::TooLarge;
    let error = Error::new(Kind::Rejected, format!("cannot decode {uri}")).because(rejection);
    if too_large {
        return error.hint(
            "if the file is sound, allow more with --set limits.max_pixels=NUMBER or --set limits.max_object=SIZE",
        );
    }
    error
}
