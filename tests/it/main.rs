//! All integration tests in one binary: DataFusion and the crate are linked once.

mod commands;
mod fixture;
mod gone;
mod jobs;
mod killed;
mod manners;
mod messages;
mod pace;
mod pixels;
mod proven;
#[cfg(feature = "query")]
mod query;
mod resnet;
mod stores;
mod support;
#[cfg(feature = "query")]
mod table;
mod trained;
