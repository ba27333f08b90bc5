//! Real and made objects, compared with pydicom; damaged ones.

mod conformance;
mod index;
mod mutated;
mod ranges;
mod table;
