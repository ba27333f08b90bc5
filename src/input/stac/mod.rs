//! STAC: items and their assets as input, whatever they come from.
//!
//! Goes in: the URI of an item, an item collection, a collection, a catalog or a stac-geoparquet table, or
//! a search of a STAC API. Comes out: [`Item`]s, each with assets that name their bands. Discovery and the
//! planner call it. It reads no image and decides nothing about tiles.
//!
//! ```text
//! Storage ─▶ read ───┬▶ document ─┬▶ Item ─▶ filter ─▶ select ─▶ sentinel2
//! Web     ─▶ search ─┘            │
//! Parquet ─▶ geoparquet ──────────┘
//! ```
//!
//! Everything here was written by others. Sizes, depth and numbers are bounded ([`StacLimits`]); what comes from
//! a store can name no file of this machine; one item that cannot be used is handed on as a [`BadItem`], so
//! that it becomes a row, and never ends the reading of the others.

mod describe;
mod document;
pub mod filter;
mod geoparquet;
mod href;
pub mod item;
mod read;
pub mod search;
pub mod select;
pub mod sentinel2;
pub mod time;
mod wire;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;

pub use self::describe::{ChipLayout, Column, RunDescription, Shard, Source, describe};
pub(super) use self::document::digest_of;
pub use self::document::{BadItem, looks_like_stac};
pub use self::filter::{Filter, Verdict};
pub use self::item::{Asset, Band, Bbox, Item};
pub use self::read::{Found, StacLimits, read};
pub use self::search::Search;
pub use self::select::{Problem, Selected, select};
pub use self::time::Interval;
