//! All integration tests in one binary: DataFusion and the crate are linked once.

#[cfg(feature = "query")]
mod accept;
mod agree;
#[cfg(feature = "query")]
mod asked;
mod attempts;
#[cfg(feature = "query")]
mod canary;
mod chart;
mod commands;
mod credentials;
#[cfg(feature = "query")]
mod demo;
#[cfg(feature = "query")]
mod devices;
#[cfg(feature = "query")]
mod dicom;
#[cfg(feature = "query")]
mod earlier;
mod elsewhere;
mod fault_suite;
#[cfg(feature = "query")]
mod faults;
mod fixture;
mod gone;
mod head;
#[cfg(feature = "query")]
mod identity;
mod image;
mod isolated;
mod jobs;
mod killed;
mod kube;
mod labels;
mod look;
mod look_items;
mod look_scenes;
mod manners;
mod map;
mod messages;
mod model_store;
mod mutated;
#[cfg(feature = "query")]
mod nearest;
mod pace;
mod pages;
mod pair;
mod pixels;
mod proven;
mod quantise;
#[cfg(feature = "query")]
mod query;
mod queue;
#[cfg(feature = "query")]
mod rejects;
mod resnet;
mod rot;
#[cfg(feature = "query")]
mod runs;
mod scenes;
#[cfg(feature = "query")]
mod shares;
mod simulated;
mod slurm;
mod stac;
mod stores;
mod support;
#[cfg(feature = "query")]
mod table;
mod tampered;
#[cfg(feature = "query")]
mod terminal;
#[cfg(feature = "query")]
mod tiff_faults;
mod trained;
#[cfg(feature = "query")]
mod watched;
mod windows;
#[cfg(feature = "query")]
mod work;
