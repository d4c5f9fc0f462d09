//! Types that all layers share: keys, names, batches, time, and the inputs and outputs of the
//! core.
pub mod batch;
pub mod domain;
pub mod error_code;
pub mod event;
pub mod guests;
pub mod hex;
pub mod identity;
pub mod interface;
pub mod line_key;
pub mod lines;
pub mod missing_lines;
pub mod name;
pub mod presence;
pub mod range;
pub mod rate_limiter;
pub mod republished_lines;
pub mod request_id;
pub mod table;
pub mod text;
pub mod time;
pub mod timing;
pub mod trust;
