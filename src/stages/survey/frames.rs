//! Medical images: their frames are tiles, and what the header says of them is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use tilefleet_dicom::Instance;

use super::grid;
use crate::formats::dicom::DicomFile;
use crate::formats::raster::RasterFile;
use crate::input::open::OpenRaster;
use crate::scene::{BurnedIn, FrameTiling, MedicalImage, MedicalRules, Scene, SceneBand};
use crate::vocabulary::dicom_codes as codes;
use crate::vocabulary::kept_tag::KeptTag;
use crate::vocabulary::keys::{Keys, plain_date, significant};
use crate::vocabulary::outcome::MedicalRow;
use crate::vocabulary::reason::{Reason, Rejection};

/// Secondary Capture Image Storage; the multi-frame kinds are parts below it (PS3.4, B.5).
const CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";

/// Modalities whose devices burn text into their images.
const BURNS_IN: [&str; 6] = ["US", "IVUS", "SC", "XA", "RF", "OT"];

/// Describes an object whose frames are tiles.
///
/// # Errors
///
/// [`Reason::OutsideImage`] if it has none of the frames that are asked for; [`Reason::BurnedIn`] if text may be burned in
/// and that is refused.
pub(super) fn scene(
    opened: &OpenRaster,
    tiling: &FrameTiling,
    rules: &MedicalRules,
) -> Result<Scene, Rejection> {
    let file = opened.file();
    let dicom = file.dicom().expect("with tiles.grid = \"frames\" nothing else is opened");
    if tiling.frames.of(file.num_frames()).next().is_none() {
        let detail = format!("it has {} frames, none of tiles.frames = {}", file.num_frames(), tiling.frames);
        return Err(Rejection::new(Reason::OutsideImage, detail));
    }
    refuse_burned_in(dicom.instance(), rules.burned_in)?;
    let size = file.size(0);
    Ok(Scene {
        objects: vec![grid::object(opened)?],
        bands: (0..file.pixels(0, 0).num_bands).map(stored_band).collect(),
        rule_bands: Vec::new(),
        reference: 0,
        level: 0,
        size,
        window: size,
        stride: [f64::from(size.width), f64::from(size.height)],
        in_rows: true,
        gsd: None,
        datetime: None,
        medical: Some(Box::new(medical(dicom, tiling, rules))),
        notes: file.notes().to_vec(),
        only: None,
    })
}

fn stored_band(band: u16) -> SceneBand {
    SceneBand { object: 0, band, scale: 1.0, offset: 0.0, shown: false, nodata: None, frames: Vec::new() }
}

/// Records what a table says of the image.
fn medical(dicom: &DicomFile, tiling: &FrameTiling, rules: &MedicalRules) -> MedicalImage {
    let instance = dicom.instance();
    let image = dicom.frame(0).image();
    let text = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Into::into);
    // Where ids are kept out, codes are told that are no free text.
    let code = |code: Option<String>, known: &[&str]| match rules.keys {
        Some(_) => text(code.and_then(|code| codes::known(&code, known))),
        None => text(code),
    };
    let class = instance.sop_class();
    let class = if rules.keys.is_some() { class.and_then(codes::sop_class) } else { class };
    let row = MedicalRow {
        modality: code(instance.modality(), &codes::MODALITIES),
        sop_class: text(class),
        transfer_syntax: text(Some(instance.transfer_syntax().uid().to_owned())),
        photometric: text(Some(image.photometric.term().to_owned())),
        bits_stored: Some(image.bits_stored),
        pixel_spacing: instance.pixel_spacing(0).map(|spacing| [spacing.rows_mm, spacing.columns_mm]),
        orientation: instance.orientation(0),
        laterality: code(instance.laterality(0), &codes::LATERALITIES),
        view_position: code(instance.view_position(), &codes::VIEW_POSITIONS),
        preset: text(Some(tiling.preset.name().to_owned())),
        may_be_burned_in: Some(may_be_burned_in(instance)),
        tags: tags(instance, rules),
        ..identity(instance, rules)
    };
    MedicalImage { row, slice_positions: slice_positions(dicom) }
}

/// Returns what the object says in the attributes that are kept.
fn tags(instance: &Instance, rules: &MedicalRules) -> Arc<BTreeMap<String, String>> {
    let told = |kept: &KeptTag| Some((kept.keyword.to_owned(), kept.told(&instance.string(kept.tag)?)?));
    Arc::new(rules.keep_tags.iter().filter_map(told).collect())
}

/// Returns whose image it is, as keys; for public data as the object says it.
pub(super) fn identity(instance: &Instance, rules: &MedicalRules) -> MedicalRow {
    let key = |uid: Option<String>, of: fn(&Keys, &str) -> Option<String>| {
        uid.and_then(|uid| rules.keys.as_ref().map_or_else(|| plain(&uid), |keys| of(keys, &uid)))
            .map(Into::into)
    };
    let (issuer, id) = (instance.issuer_of_patient_id(), instance.patient_id());
    let patient = match &rules.keys {
        Some(keys) => keys.patient_key(issuer.as_deref(), id.as_deref()),
        None => id.as_deref().and_then(plain),
    };
    let date = instance.study_date().filter(|_| rules.tells_dates);
    let study_date = date.and_then(|date| match (&rules.keys, &patient) {
        (Some(keys), Some(patient)) => keys.shift_date(patient, &date),
        // Without a patient, nobody knows by how much: a date would be told as it is.
        (Some(_), None) => None,
        (None, _) => plain_date(&date),
    });
    MedicalRow {
        patient_key: patient.map(Into::into),
        study_key: key(instance.study_uid(), Keys::study_key),
        series_key: key(instance.series_uid(), Keys::series_key),
        instance_key: key(instance.instance_uid(), Keys::instance_key),
        study_date,
        ..MedicalRow::default()
    }
}

fn plain(id: &str) -> Option<String> {
    significant(id).map(str::to_owned)
}

/// Refuses an object that may have text burned in, if that is the rule.
///
/// # Errors
///
/// [`Reason::BurnedIn`]
pub fn refuse_burned_in(instance: &Instance, rule: BurnedIn) -> Result<(), Rejection> {
    if rule != BurnedIn::Reject || !may_be_burned_in(instance) {
        return Ok(());
    }
    let detail = "text may be burned into its pixels; privacy.burned_in = \"flag\" or \"allow\" takes it";
    Err(Rejection::new(Reason::BurnedIn, detail))
}

/// Tells whether text may be burned into the pixels (PS3.3 C.7.6.1.1.1): the object says so, or says nothing and is of a
/// modality whose devices burn some in. `NO` is believed, and no proof.
#[must_use]
pub fn may_be_burned_in(instance: &Instance) -> bool {
    match instance.burned_in_annotation().as_deref().map(str::trim) {
        Some("YES") => true,
        Some("NO") => false,
        _ => {
            is_capture(instance)
                || instance.modality().is_some_and(|modality| BURNS_IN.contains(&modality.trim()))
        }
    }
}

/// Tells whether it is a secondary capture (PS3.4, B.5).
fn is_capture(instance: &Instance) -> bool {
    instance.sop_class().is_some_and(|class| {
        class == CAPTURE || class.strip_prefix(CAPTURE).is_some_and(|kind| kind.starts_with('.'))
    })
}

/// Returns where frames lie along the normal of their plane (PS3.3 C.7.6.2.1.1): position · (row × column).
fn slice_positions(dicom: &DicomFile) -> Vec<Option<f64>> {
    let of_frame = |frame: u32| {
        let [rx, ry, rz, cx, cy, cz] = dicom.instance().orientation(frame)?;
        let [x, y, z] = dicom.instance().image_position(frame)?;
        let position = x * (ry * cz - rz * cy) + y * (rz * cx - rx * cz) + z * (rx * cy - ry * cx);
        position.is_finite().then_some(position)
    };
    let positions: Vec<_> = (0..dicom.num_frames()).map(of_frame).collect();
    if positions.iter().all(Option::is_none) { Vec::new() } else { positions }
}
