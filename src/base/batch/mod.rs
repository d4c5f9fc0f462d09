//! Batches: their parts, how they are signed, and how they are parsed and checked.
#[allow(clippy::module_inception)]
pub mod batch;
pub mod batch_content;
pub mod batch_fields;
pub mod batch_layout;
pub mod batch_parsing;
pub mod batch_signing;
