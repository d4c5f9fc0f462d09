//! Text that several layers share. Rules for text of others: which characters could control a
//! terminal, and which spelling of a name is allowed. Fast decimal digits, bytes as text, and a
//! sentence about names.
pub mod bound_name;
pub mod control_chars;
pub mod decimal;
pub mod json_objects;
pub mod line_form;
pub mod rfc4648;
pub mod spelling;
