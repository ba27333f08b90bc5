//! Real and made objects, compared with pydicom; damaged ones.

#[path = "../../../../fuzz/bodies/dicom.rs"]
mod body;
mod conformance;
mod index;
mod mutated;
mod table;
