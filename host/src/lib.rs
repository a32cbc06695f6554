//! The Weir runtime. Read it in the order in which a record meets it.

pub mod checkpoint;
pub mod clock;
pub mod commit;
pub mod exchange;
pub mod fault;
pub mod job;
pub mod kafka;
pub mod metrics;
pub mod operator;
pub mod plan;
pub mod record;
pub mod sink;
pub mod source;
pub mod state;
pub mod worker;
