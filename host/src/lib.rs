//! The runtime.

pub mod record;
