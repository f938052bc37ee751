//! x
pub mod graph;
pub mod template;
