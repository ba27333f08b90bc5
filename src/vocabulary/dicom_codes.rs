//! Codes of DICOM that a table tells as they are: those of the standard, and words that devices use for them.
//!
//! A code is free text all the same, and some devices write there what they like. Where ids are kept out, a code that is not
//! listed here is told as null, and an attribute without a list is not told at all.

use tilefleet_dicom::is_uid_of_standard;

use super::keys::significant;

/// Modality (0008,0060): defined terms, retired ones too (PS3.3 C.7.3.1.1.1).
#[rustfmt::skip]
pub const MODALITIES: [&str; 99] = [
    "ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX", "ECG",
    "EEG", "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS",
    "M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA",
    "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD",
    "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US",
    "VA", "XA", "XAPROTOCOL", "XC", "XRF", "AS", "CD", "CF", "CP", "CS", "DD", "DF", "DM", "DS", "EC", "FA", "FS", "LP",
    "MA", "MS", "ST", "VF",
];

/// Laterality (0020,0060), Image Laterality (0020,0062), Frame Laterality (0020,9072).
pub const LATERALITIES: [&str; 4] = ["R", "L", "U", "B"];

/// View Position (0018,5101): of radiographs (PS3.3 C.8.1.1), of mammograms (PS3.16 CID 4014), and what devices write
/// instead.
#[rustfmt::skip]
pub const VIEW_POSITIONS: [&str; 44] = [
    "AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LPO", "RPO", "LAT", "LATERAL", "OBL", "OBLIQUE",
    "AXIAL", "AP AXIAL", "PA AXIAL", "AP LLD", "AP RLD", "PA LLD", "PA RLD", "XTABLE LATERAL", "SWIMMERS", "CC", "ML",
    "MLO", "LM", "LMO", "XCC", "XCCL", "XCCM", "FB", "SIO", "ISO", "CV", "AT", "RM", "TAN", "CCFB", "MLID", "SUPINE",
    "ERECT",
];

/// Returns a code, if it is one of those.
///
/// - `known`: upper case
#[must_use]
pub fn known(code: &str, known: &[&str]) -> Option<String> {
    let code = significant(code)?;
    known.iter().any(|known| code.eq_ignore_ascii_case(known)).then(|| code.to_owned())
}

/// Returns the UID of a SOP class, if it is one that DICOM itself can have assigned (PS3.4, B.5).
#[must_use]
pub fn sop_class(uid: String) -> Option<String> {
    (uid.starts_with("1.2.840.10008.5.1.4.") && is_uid_of_standard(&uid)).then_some(uid)
}

/// Returns the codes of an attribute; `None` if there is no list of them.
///
/// - `keyword`: of PS3.6
#[must_use]
pub fn codes_of(keyword: &str) -> Option<&'static [&'static str]> {
    let of = |lists: &[(&str, &'static [&'static str])]| {
        lists.iter().find(|(attribute, _)| *attribute == keyword).map(|(_, codes)| *codes)
    };
    let is_flag = FLAGGED.contains(&keyword);
    of(&LISTS).or_else(|| of(&LISTS_OF_MR)).or(is_flag.then_some(FLAGS))
}

/// Answers to yes or no.
const FLAGS: &[&str] = &["YES", "NO", "Y", "N", "UNKNOWN"];

/// Attributes that are answered by yes or no.
#[rustfmt::skip]
const FLAGGED: [&str; 42] = [
    "AcquiredSubtractionMaskFlag", "AcquisitionTimeSynchronized", "AngioFlag", "AttenuationCorrected", "BeatRejectionFlag",
    "BreastImplantPresent", "BurnedInAnnotation", "ConstantVolumeFlag", "ContrastBolusIngredientOpaque",
    "CountLossNormalizationCorrected", "DeadTimeCorrected", "DecayCorrected", "DetectorConditionsNominalFlag",
    "DetectorNormalizationCorrection", "EchoPlanarPulseSequence", "FieldOfViewHorizontalFlip", "FluoroscopyFlag",
    "GantryMotionCorrected", "InversionRecovery", "MultiPlanarExcitation", "MultienergyCTAcquisition", "MultipleSpinEcho",
    "NonUniformRadialSamplingCorrected", "ParallelAcquisition", "PartialFourier", "PartialView", "PatientMotionCorrected",
    "PhaseContrast", "PositionMeasuringDeviceUsed", "QualityControlImage", "QuadratureReceiveCoil", "RandomsCorrected",
    "RecognizableVisualFeatures", "SaturationRecovery", "ScatterCorrected", "SensitivityCalibrated", "SmokingStatus",
    "SyntheticData", "T2Preparation", "TimeOfFlightContrast", "TimeOfFlightInformationUsed", "VariableFlipAngleFlag",
];

/// Attributes of images with their defined and enumerated values (PS3.3), and words that devices use.
#[rustfmt::skip]
const LISTS: [(&str, &[&str]); 67] = [
    ("AcquisitionType", &["SEQUENCED", "SPIRAL", "CONSTANT_ANGLE", "STATIONARY", "FREE"]),
    ("AlgorithmType", &["FILTER_BACK_PROJ", "ITERATIVE"]),
    ("AnatomicalOrientationType", &["BIPED", "QUADRUPED"]),
    ("AnodeTargetMaterial", &["TUNGSTEN", "MOLYBDENUM", "RHODIUM"]),
    ("BodyPartExamined", &BODY_PARTS),
    ("CassetteOrientation", &["LANDSCAPE", "PORTRAIT"]),
    ("CassetteSize", &[
        "18CMX24CM", "8INX10IN", "24CMX30CM", "10INX12IN", "30CMX35CM", "12INX14IN", "30CMX40CM", "11INX14IN",
        "35CMX35CM", "14INX14IN", "35CMX43CM", "14INX17IN",
    ]),
    ("CollimatorShape", &SHAPES),
    ("CollimatorType", &["NONE", "RECTANGULAR"]),
    ("ContrastBolusIngredient", &["IODINE", "GADOLINIUM", "CARBON DIOXIDE", "BARIUM", "XENON"]),
    ("ConversionType", &["DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"]),
    ("ConvolutionKernelGroup", &["BRAIN", "SOFT_TISSUE", "LUNG", "BONE", "CONSTANT_ANGLE"]),
    ("CorrectedImage", &[
        "UNIF", "COR", "NCO", "DECY", "ATTN", "SCAT", "DTIM", "NRGY", "LIN", "MOTN", "CLN", "RAN", "RADL", "DCAL", "NORM",
    ]),
    ("CountsSource", &["EMISSION", "TRANSMISSION"]),
    ("DecayCorrection", &["NONE", "START", "ADMIN"]),
    ("DetectorConfiguration", &["AREA", "SLOT"]),
    ("DetectorGeometry", &["CYLINDRICAL_RING", "CYL_RING_PARTIAL", "MULTIPLE_PLANAR"]),
    ("DetectorType", &["DIRECT", "SCINTILLATOR", "STORAGE", "FILM"]),
    ("ExposureControlMode", &["MANUAL", "AUTOMATIC"]),
    ("ExposureModulationType", &["NONE", "ANGULAR", "LONGITUDINAL", "ORGAN_BASED", "ECG_BASED"]),
    ("ExposureStatus", &["NORMAL", "ABORTED"]),
    ("FieldOfViewShape", &["RECTANGLE", "ROUND", "HEXAGONAL"]),
    ("FilterMaterial", &[
        "MOLYBDENUM", "ALUMINUM", "COPPER", "RHODIUM", "NIOBIUM", "EUROPIUM", "LEAD", "SILVER", "TANTALUM", "TIN", "IRON",
        "ZINC", "GADOLINIUM", "TUNGSTEN", "MIXED", "NONE",
    ]),
    ("FrameLaterality", &LATERALITIES),
    ("FrameType", &IMAGE_TYPES),
    ("GeometricalProperties", &["UNIFORM", "NON_UNIFORM"]),
    ("Grid", &["FIXED", "FOCUSED", "RECIPROCATING", "PARALLEL", "CROSSED", "NONE", "IN", "OUT"]),
    ("ImageLaterality", &LATERALITIES),
    ("ImageType", &IMAGE_TYPES),
    ("Laterality", &LATERALITIES),
    ("LongitudinalTemporalInformationModified", &["UNMODIFIED", "MODIFIED", "REMOVED"]),
    ("LossyImageCompression", &["00", "01"]),
    ("LossyImageCompressionMethod", &[
        "ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15", "ISO_13818_2", "ISO_14496_10", "ISO_23008_2",
        "ISO_18181_1",
    ]),
    ("ModalitiesInStudy", &MODALITIES),
    ("Modality", &MODALITIES),
    ("OrganExposed", &["BREAST", "GONADS", "BONE MARROW", "FETUS", "LENS"]),
    ("PatientPosition", &[
        "HFP", "HFS", "HFDR", "HFDL", "HFV", "HFI", "FFDR", "FFDL", "FFP", "FFS", "FFV", "FFI", "LFP", "LFS", "RFP",
        "RFS", "AFDR", "AFDL", "PFDR", "PFDL", "SITTING",
    ]),
    ("PatientSex", &["M", "F", "O"]),
    ("PatientSexNeutered", &["ALTERED", "UNALTERED"]),
    ("PhotometricInterpretation", &[
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422",
        "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB", "HSV", "ARGB", "CMYK",
    ]),
    ("PixelIntensityRelationship", &["LIN", "LOG", "DISP"]),
    ("PixelPresentation", &["COLOR", "MONOCHROME", "MIXED", "TRUE_COLOR", "COLOR_RANGE", "COLOR_REF"]),
    ("PixelSpacingCalibrationType", &["GEOMETRY", "FIDUCIAL"]),
    ("PlanesInAcquisition", &["SINGLE PLANE", "BIPLANE", "UNDEFINED"]),
    ("PositionerMotion", &["STATIC", "DYNAMIC"]),
    ("PositionerType", &["CARM", "COLUMN", "MAMMOGRAPHIC", "PANORAMIC", "CEPHALOSTAT", "RIGID", "NONE"]),
    ("PresentationIntentType", &["FOR PRESENTATION", "FOR PROCESSING"]),
    ("PresentationLUTShape", &["IDENTITY", "INVERSE"]),
    ("RadiationMode", &["CONTINUOUS", "PULSED"]),
    ("RadiationSetting", &["SC", "GR"]),
    ("RandomsCorrectionMethod", &["NONE", "DLYD", "SING"]),
    ("RecommendedViewingMode", &["SUB", "NAT"]),
    ("ReconstructionAlgorithm", &["FILTER_BACK_PROJ", "ITERATIVE"]),
    ("RotationDirection", &["CW", "CC"]),
    ("ScanOptions", &[
        "PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS", "CT", "AXIAL", "HELICAL", "HELIX", "AXIAL MODE",
        "HELICAL MODE", "SCOUT MODE", "CINE MODE", "SURVIEW", "NONE",
    ]),
    ("SeriesType", &["STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "IMAGE", "REPROJECTION"]),
    ("ShutterShape", &SHAPES),
    ("SUVType", &["BSA", "BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW"]),
    ("TableMotion", &["STATIC", "DYNAMIC"]),
    ("TomoClass", &["MOTION", "TOMOSYNTHESIS"]),
    ("TomoType", &["LINEAR", "SPIRAL", "POLYCYCLOIDAL", "CIRCULAR"]),
    ("Units", &[
        "CNTS", "NONE", "CM2", "CM2ML", "PCNT", "CPS", "BQML", "MGMINML", "UMOLMINML", "MLMING", "MLG", "1CM", "UMOLML",
        "PROPCNTS", "PROPCPS", "MLMINML", "MLML", "GML", "STDDEV", "SUV",
    ]),
    ("ViewPosition", &VIEW_POSITIONS),
    ("VOILUTFunction", &["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    ("VolumeBasedCalculationTechnique", &[
        "MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "MPR", "CURVED_MPR", "NONE", "MIXED",
    ]),
    ("VolumetricProperties", &["VOLUME", "SAMPLED", "DISTORTED", "MIXED"]),
    ("XRayReceptorType", &["IMG_INTENSIFIER", "DIGITAL_DETECTOR"]),
];

/// Attributes of magnetic resonance with their defined and enumerated values (PS3.3, C.8.3 and C.8.13).
#[rustfmt::skip]
const LISTS_OF_MR: [(&str, &[&str]); 23] = [
    ("AcquisitionContrast", &[
        "DIFFUSION", "FLOW_ENCODED", "FLUID_ATTENUATED", "PERFUSION", "PROTON_DENSITY", "STIR", "TAGGING", "T1", "T2",
        "T2_STAR", "TOF", "UNKNOWN", "MIXED",
    ]),
    ("ArterialSpinLabelingContrast", &["CONTINUOUS", "PSEUDOCONTINUOUS", "PULSED"]),
    ("CardiacSynchronizationTechnique", &["NONE", "REALTIME", "PROSPECTIVE", "RETROSPECTIVE", "PACED"]),
    ("ComplexImageComponent", &["MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"]),
    ("ContentQualification", &["PRODUCT", "RESEARCH", "SERVICE"]),
    ("DiffusionAnisotropyType", &["FRACTIONAL", "RELATIVE", "VOLUME_RATIO"]),
    ("DiffusionDirectionality", &["DIRECTIONAL", "BMATRIX", "ISOTROPIC", "NONE"]),
    ("EchoPulseSequence", &["SPIN", "GRADIENT", "BOTH"]),
    ("FlowCompensation", &["ACCELERATION", "VELOCITY", "OTHER", "NONE"]),
    ("GeometryOfKSpaceTraversal", &["RECTILINEAR", "RADIAL", "SPIRAL"]),
    ("InPlanePhaseEncodingDirection", &["ROW", "COL", "COLUMN", "OTHER"]),
    ("MagnetizationTransfer", &["ON_RESONANCE", "OFF_RESONANCE", "NONE"]),
    ("MRAcquisitionType", &["1D", "2D", "3D"]),
    ("OversamplingPhase", &["2D", "3D", "2D_3D", "NONE"]),
    ("ParallelAcquisitionTechnique", &["PILS", "SENSE", "SMASH", "OTHER"]),
    ("PartialFourierDirection", &["PHASE", "FREQUENCY", "SLICE_SELECT", "COMBINATION"]),
    ("ReceiveCoilType", &["BODY", "VOLUME", "SURFACE", "MULTICOIL"]),
    ("ResonantNucleus", &["1H", "3HE", "7LI", "13C", "19F", "23NA", "31P", "129XE"]),
    ("ScanningSequence", &["SE", "IR", "GR", "EP", "RM"]),
    ("SequenceVariant", &["SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"]),
    ("SpectrallySelectedSuppression", &["FAT", "WATER", "FAT_AND_WATER", "SILICON_GEL", "NONE"]),
    ("Spoiling", &["RF", "GRADIENT", "RF_AND_GRADIENT", "NONE"]),
    ("TransmitCoilType", &["BODY", "VOLUME", "SURFACE"]),
];

const SHAPES: [&str; 4] = ["RECTANGULAR", "CIRCULAR", "POLYGONAL", "BITMAP"];

/// Values of Image Type (0008,0008) and Frame Type (0008,9007), those of all kinds of images together.
#[rustfmt::skip]
const IMAGE_TYPES: [&str; 91] = [
    "ORIGINAL", "DERIVED", "MIXED", "PRIMARY", "SECONDARY", "AXIAL", "LOCALIZER", "REFORMATTED", "PROJECTION IMAGE", "MPR",
    "MIP", "MINIP", "AVERAGE", "VOLUME", "OTHER", "NONE", "M", "P", "R", "I", "M_FFE", "M_SE", "M_IR", "PHASE MAP", "ND",
    "NORM", "DIS2D", "DIS3D", "DIFFUSION", "ADC", "TRACEW", "FA", "MOSAIC", "PERFUSION", "MAGNITUDE", "PHASE",
    "DYNAMIC", "STATIC", "GATED", "WHOLE BODY", "TOMO", "GATED TOMO", "RECON TOMO", "RECON GATED TOMO", "RECON",
    "EMISSION", "TRANSMISSION", "SINGLE PLANE", "BIPLANE A", "BIPLANE B", "SINGLE A", "SINGLE B", "TOMOSYNTHESIS",
    "TOMO_PROJ", "TOMO_2D", "GENERATED_2D", "SPOT", "MAG", "LABEL", "OVERVIEW", "THUMBNAIL", "RESAMPLED", "SUBTRACTION",
    "QUANTITY", "DIVISION", "ADDITION", "MULTIPLICATION", "FLUID_ATTENUATED", "PROTON_DENSITY", "T1", "T2", "T2_STAR",
    "STIR", "TAGGING", "TOF", "FLOW_ENCODED", "CBF", "CBV", "MTT", "TTP", "CT_SOM5 SPI", "CT_SOM5 SEQ",
    "CT_SOM7 SPI", "CT_SOM7 SEQ", "POST_PROCESSED", "SCREEN SAVE", "W", "F", "IP", "OP", "EPI",
];

/// Body Part Examined (0018,0015): defined terms of PS3.16, annex L, and joined ones that devices write.
#[rustfmt::skip]
const BODY_PARTS: [&str; 152] = [
    "ABDOMEN", "ABDOMENPELVIS", "ABDOMEN_PELVIS", "ADRENAL", "ANKLE", "ANUS", "AORTA", "APPENDIX", "ARM", "ARTERY",
    "ASCAORTA", "ATRIUM", "AXILLA", "BACK", "BILEDUCT", "BLADDER", "BODY", "BRAIN", "BREAST", "BRONCHUS", "BUTTOCK",
    "CALCANEUS", "CALF", "CAROTID", "CEREBELLUM", "CERVIX", "CHEEK", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS",
    "CHEST_ABDOMEN", "CIRCLEOFWILLIS", "CLAVICLE", "COCCYX", "COLON", "CORNEA", "CORONARYARTERY", "CSPINE", "CTSPINE",
    "DUODENUM", "EAR", "ELBOW", "ESOPHAGUS", "EXTREMITY", "EYE", "EYELID", "FACE", "FEMUR", "FETUS", "FIBULA", "FINGER",
    "FOOT", "FOREARM", "GALLBLADDER", "GENITALIA", "HAND", "HEAD", "HEADNECK", "HEART", "HIP", "HUMERUS", "IAC", "ILEUM",
    "ILIUM", "INTESTINE", "JAW", "JEJUNUM", "JOINT", "KIDNEY", "KNEE", "KUB", "LARYNX", "LEFTATRIUM", "LEFTVENTRICLE",
    "LEG", "LIVER", "LSPINE", "LSSPINE", "LUMBOSACRAL", "LUNG", "MANDIBLE", "MAXILLA", "MEDIASTINUM",
    "MOUTH", "MUSCLE", "NASALBONE", "NECK", "NECKCHEST", "NECKCHESTABDOMEN", "NECKCHESTABDPELV", "NERVE", "NOSE", "ORBIT",
    "OVARY", "PANCREAS", "PAROTID", "PATELLA", "PELVIS", "PENIS", "PHARYNX", "PLACENTA", "PROSTATE", "PULMONARYARTERY",
    "RADIUS", "RADIUSULNA", "RECTUM", "RIB", "RIBS", "SACRUM", "SCALP", "SCAPULA", "SCLERA", "SCROTUM", "SHOULDER",
    "SIJOINT", "SINUS", "SINUSES", "SKULL", "SPINALCORD", "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "TEMPORALBONE",
    "TESTIS", "THIGH", "THORAX", "THUMB", "THYMUS", "THYROID", "TIBIA", "TIBIAFIBULA", "TLSPINE", "TMJ", "TOE", "TONGUE",
    "TRACHEA", "TSPINE", "ULNA", "UMBILICUS", "UPPERARM", "UPPERLEG", "URETER", "URETHRA", "UTERUS", "VAGINA", "VEIN",
    "VULVA", "WHOLEBODY", "WRIST", "ZYGOMA",
];

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
