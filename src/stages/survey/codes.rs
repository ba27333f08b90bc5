//! Codes of DICOM that a table tells as they are: those of the standard, and words that devices use for them.
//!
//! A code is free text all the same, and some devices write there what they like. Where ids are kept out, a code that is not
//! listed here is told as null.

use tilefleet_dicom::is_uid_of_standard;

use crate::vocabulary::keys::significant;

/// Modality (0008,0060): defined terms, retired ones too (PS3.3 C.7.3.1.1.1).
#[rustfmt::skip]
pub(super) const MODALITIES: [&str; 99] = [
    "ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX", "ECG",
    "EEG", "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS",
    "M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA",
    "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD",
    "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US",
    "VA", "XA", "XAPROTOCOL", "XC", "XRF", "AS", "CD", "CF", "CP", "CS", "DD", "DF", "DM", "DS", "EC", "FA", "FS", "LP",
    "MA", "MS", "ST", "VF",
];

/// Laterality (0020,0060), Image Laterality (0020,0062), Frame Laterality (0020,9072).
pub(super) const LATERALITIES: [&str; 4] = ["R", "L", "U", "B"];

/// View Position (0018,5101): of radiographs (PS3.3 C.8.1.1), of mammograms (PS3.16 CID 4014), and what devices write
/// instead.
#[rustfmt::skip]
pub(super) const VIEW_POSITIONS: [&str; 44] = [
    "AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LPO", "RPO", "LAT", "LATERAL", "OBL", "OBLIQUE",
    "AXIAL", "AP AXIAL", "PA AXIAL", "AP LLD", "AP RLD", "PA LLD", "PA RLD", "XTABLE LATERAL", "SWIMMERS", "CC", "ML",
    "MLO", "LM", "LMO", "XCC", "XCCL", "XCCM", "FB", "SIO", "ISO", "CV", "AT", "RM", "TAN", "CCFB", "MLID", "SUPINE",
    "ERECT",
];

/// Returns a code, if it is one of those.
///
/// - `known`: upper case
pub(super) fn known(code: &str, known: &[&str]) -> Option<String> {
    let code = significant(code)?;
    known.iter().any(|known| code.eq_ignore_ascii_case(known)).then(|| code.to_owned())
}

/// Returns the UID of a SOP class, if it is one that DICOM itself can have assigned (PS3.4, B.5).
pub(super) fn sop_class(uid: String) -> Option<String> {
    (uid.starts_with("1.2.840.10008.5.1.4.") && is_uid_of_standard(&uid)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_is_not_told() {
        assert_eq!(known("MG ", &MODALITIES).as_deref(), Some("MG"));
        assert_eq!(known("Lateral", &VIEW_POSITIONS).as_deref(), Some("Lateral"));
        for text in ["", "QUIMBY", "MRN4711", "CT MG", "PAT"] {
            assert_eq!((known(text, &MODALITIES), known(text, &VIEW_POSITIONS)), (None, None), "{text}");
        }
        assert_eq!(known("LEFT", &LATERALITIES), None);
        let uids = [
            "1.2.840.10008.5.1.4.1.1.481.2",
            "2.25.4711",
            "1.2.840.10008.5.1.4.QUIMBY",
            "1.2.840.10008.5.1.4.19530417",
        ];
        let told = uids.map(|uid| sop_class(uid.to_owned()).is_some());
        assert_eq!(told, [true, false, false, false]);
    }
}
