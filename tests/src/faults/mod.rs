//! What has to hold through any crash: a seeded workload, an oracle that works out what has to come of it, and series of
//! kills in between.
//!
//! - [`workload`] makes the input and the job over it; [`oracle`] names what was lost, repeated, reordered or computed
//!   wrongly; [`series`] kills the job again and again, and asks the oracle at the end.

pub mod oracle;
pub mod series;
pub mod workload;
