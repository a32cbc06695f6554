//! Records as they travel: a [`Batch`] of flat columns from the fetch to the produce call.
//!
//! Promise: a [`Column`] that exists is well formed (see its layout), so readers never check again. Each stage moves
//! bytes by `memcpy`; nothing here allocates per record once its buffers have grown.

mod batch;
mod column;
mod field;
mod hash;

pub use batch::{Batch, Headers, HeadersError, Origin, Origins, RowRef};
pub use column::{Column, LayoutError};
pub use field::json_field;
pub use hash::{murmur2, partition_for, shard_for};
