//! Everything that Weir says to a Kafka broker.
//!
//! A record comes in through a [`WorkerQueue`] of the process's one [`Consumer`] for that cluster, straight into a
//! [`Batch`](crate::record::Batch), and leaves through an [`OutputProducer`]. What was done becomes final when a
//! [`CommitProducer`] commits offsets and their metadata in one transaction. [`Admin`] serves the `weir topics` commands.
//!
//! Promises:
//! - A partition is read from an explicit offset, never from a default: an offset out of range, a missing topic and a
//!   refused authorisation are errors with a name, never a fresh start.
//! - Only committed records are read ("end" is the last stable offset), and committed offsets are read stably: the call waits while a
//!   transaction holds some back, and a fetch that failed is an error, never "no offset".
//! - Nothing that was accepted for production is lost silently: what was not delivered makes [`OutputProducer::check`] fail.
//! - Nothing waits without a deadline.
//!
//! `unsafe` and librdkafka's lifetimes stay inside the private module `ffi`.

mod admin;
mod bootstrap;
mod commit;
mod consumer;
mod context;
mod error;
mod ffi;
mod outbox;
mod producer;
mod properties;
mod queue;

pub use admin::{Admin, Line, PartitionDescription, TopicDescription};
pub use commit::{CommitError, CommitProducer, CommitSettings, OffsetCommit};
pub use consumer::{Committed, Consumer, ConsumerSettings, Position, Progress, Watermarks};
pub use error::Error;
pub use outbox::Outbox;
pub use producer::{OutputProducer, ProduceError, ProducerSettings, TopicHandle};
pub use properties::{Cluster, OWNED_PROPERTIES};
pub use queue::{PartitionEnd, WorkerQueue};
