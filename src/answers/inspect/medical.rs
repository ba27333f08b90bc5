//! What a DICOM object says of its images, for people; ids, names, dates and descriptions are left out.

use serde::Serialize;

use super::header::HeaderReport;
use crate::scene::BurnedIn;
use crate::stages::survey::{may_be_burned_in, refuse_burned_in};
use crate::vocabulary::reason::Rejection;

/// What a DICOM object says of its images.
#[derive(Clone, Debug, Serialize)]
pub struct Medical {
    /// Modality, such as `CT`.
    pub modality: Option<String>,
    /// UID of the SOP class.
    pub sop_class: Option<String>,
    /// UID of the transfer syntax.
    pub transfer_syntax: String,
    /// Photometric interpretation.
    pub photometric: &'static str,
    /// Bits of a sample.
    pub bits_stored: u16,
    /// Whether samples have a sign.
    pub signed: bool,
    /// Least and greatest value of the modality that the bits of a sample can yield in the first frame.
    pub modality_range: Option<(f64, f64)>,
    /// Centre and width of the first frame's window, if it has one.
    pub window: Option<(f64, f64)>,
    /// Distance of rows and of columns, in millimetres.
    pub pixel_spacing: Option<[f64; 2]>,
    /// View position, such as `PA`.
    pub view_position: Option<String>,
    /// Laterality.
    pub laterality: Option<String>,
    /// Whether names may be burned into the pixels, as the object says (0028,0301).
    pub burned_in_annotation: Option<String>,
    /// Whether text may be burned into the pixels, as a run judges it: by what the object says, or else by its kind.
    pub may_be_burned_in: bool,
}

impl HeaderReport {
    pub(super) fn medical(&self) -> Option<Medical> {
        let file = self.scene.as_ref().ok()?.file().dicom()?;
        let (instance, frame) = (file.instance(), file.frame(0));
        let image = frame.image();
        Some(Medical {
            modality: instance.modality(),
            sop_class: instance.sop_class(),
            transfer_syntax: instance.transfer_syntax().uid().to_owned(),
            photometric: image.photometric.term(),
            bits_stored: image.bits_stored,
            signed: image.signed,
            modality_range: frame.modality_range().ok(),
            window: frame.window().map(|window| (window.center, window.width)),
            pixel_spacing: instance.pixel_spacing(0).map(|spacing| [spacing.rows_mm, spacing.columns_mm]),
            view_position: instance.view_position(),
            laterality: instance.laterality(0),
            burned_in_annotation: instance.burned_in_annotation(),
            may_be_burned_in: may_be_burned_in(instance),
        })
    }

    /// Refuses a medical image that may have text burned in, if a run does.
    pub(super) fn check_burned_in(&self, rule: BurnedIn) -> Result<(), Rejection> {
        let file = self.scene.as_ref().ok().and_then(|object| object.file().dicom());
        file.map_or(Ok(()), |file| refuse_burned_in(file.instance(), rule))
    }
}
