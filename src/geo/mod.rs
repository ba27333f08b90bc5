//! Where the pixels of a scene lie on the Earth.

pub mod tags;
