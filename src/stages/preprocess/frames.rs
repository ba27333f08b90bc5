//! What a model's contract says of frames of medical images.

use super::Preprocess;
use crate::formats::dicom::DicomFile;
use crate::formats::raster::RasterFile;
use crate::scene::Preset;
use crate::stages::compose::frame;
use crate::vocabulary::reason::Rejection;

impl Preprocess {
    /// Tells by the header whether the contract takes the frames of an object as a preset renders them.
    ///
    /// # Errors
    ///
    /// Those of [`Self::check`] and of [`frame::check`].
    pub fn check_frames(&self, file: &DicomFile, preset: &Preset) -> Result<(), Rejection> {
        frame::check(file, preset)?;
        self.check(frame::bands(file, preset), frame::kind(preset), file.size(0))
    }
}
