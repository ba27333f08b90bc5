//! What people ask of an output, and of an input before a run: SQL, classifiers, exports, single images.

pub mod export;
pub mod head;
pub mod inspect;
#[cfg(feature = "query")]
pub mod query;
