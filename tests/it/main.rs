//! All integration tests in one binary: DataFusion and the crate are linked once.

mod commands;
#[cfg(feature = "query")]
mod elsewhere;
mod fixture;
mod gone;
mod jobs;
mod killed;
mod look;
mod manners;
mod messages;
#[cfg(feature = "query")]
mod nearest;
mod pace;
mod pixels;
mod proven;
#[cfg(feature = "query")]
mod query;
#[cfg(feature = "query")]
mod rejects;
mod resnet;
#[cfg(feature = "query")]
mod runs;
mod scenes;
mod stac;
mod stores;
mod support;
#[cfg(feature = "query")]
mod table;
mod trained;
