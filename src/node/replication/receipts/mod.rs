//! Receipts: those of direct messages that the next run needs, and those that were forwarded.
pub mod forwarded_receipts;
pub mod receipt_record;
pub mod waiting_receipts;
