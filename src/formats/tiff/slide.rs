//! Whole-slide images: TIFF files of microscopes, told from others by what only their writers write.
//!
//! Their pages are levels, focal planes, channels, and photos of the label and of the whole slide, in an order of the
//! vendor's. Taken for a scene, the label would pass as a level and one channel as all of them. Until slides are read
//! as such they are refused. A pyramid that nobody signed is none of them.

use super::tag as own;
use crate::formats::image::unsupported;
use crate::formats::tags::{Directory, tag};
use crate::vocabulary::reason::Rejection;

/// Number of bytes of a text that are looked at.
const TEXT_BYTES: usize = 512;

/// Refuses a file whose first directory says that it is a slide.
///
/// # Errors
///
/// [`crate::vocabulary::reason::Reason::Unsupported`], with whose format it is.
pub(crate) fn refuse(first: &Directory<'_>) -> Result<(), Rejection> {
    match format(first) {
        Some(format) => Err(unsupported(format!("a whole-slide image ({format}); slides are not read yet"))),
        None => Ok(()),
    }
}

/// Returns the name of a slide's format.
///
/// # Reference
///
/// How `OpenSlide` 4 detects the formats of vendors; of OME-TIFF, that pyramids lie in `SubIFDs` (OME-TIFF 6.0).
fn format(first: &Directory<'_>) -> Option<&'static str> {
    let text = |code| first.text_start(code, TEXT_BYTES).unwrap_or_default();
    let description = text(own::IMAGE_DESCRIPTION);
    let by_description = [
        ("Aperio SVS", description.starts_with("Aperio")),
        ("Philips TIFF", description.contains("\"DPUfsImport\"")),
        ("Leica SCN", description.contains("http://www.leica-microsystems.com/scn/")),
        ("OME-TIFF with levels", description.contains("<OME ") && first.has(own::SUB_IFDS)),
    ];
    let found = by_description.into_iter().find(|(_, is)| *is).map(|(name, _)| name);
    found
        .or_else(|| first.has(own::NDPI_FORMAT).then_some("Hamamatsu NDPI"))
        .or_else(|| text(own::SOFTWARE).starts_with("MedScan").then_some("Trestle TIFF"))
        .or_else(|| text(tag::XMP).contains("<iScan").then_some("Ventana BIF"))
}
