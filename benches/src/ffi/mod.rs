//! The one place with `unsafe`: CPU clocks, the bare librdkafka loop that Weir is measured against, and the allocator
//! that counts.

#![allow(unsafe_code)]

mod clocks;
mod copy;
mod counting;

pub use clocks::{children_cpu, thread_cpu};
pub use copy::copy;
pub use counting::Counting;
