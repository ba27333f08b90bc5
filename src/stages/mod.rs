//! What a process does with the sources of a run, from left to right.
//!
//! ```text
//! survey ─▶ plan ─▶ work ─▶ fetch ─▶ decode ─▶ compose ─▶ preprocess ─▶ infer ─▶ sink ─▶ commit
//! ```
//!
//! A stage imports from stages on its left, never from its right. Only [`pipeline`] and [`worker`] see all of them;
//! [`single_window`] goes the way to a chip without a run; [`child`] is a process for whoever needs one.

pub mod survey;

pub mod plan;

pub mod work;

pub mod fetch;

pub mod child;

pub mod decode;

pub mod compose;

pub mod preprocess;

pub mod infer;

pub mod sink;

pub mod commit;

pub mod pipeline;

pub mod worker;

pub mod single_window;
