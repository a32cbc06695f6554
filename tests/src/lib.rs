//! The driver of Weir's tests: runs the built binary over files and over a real Kafka, and says what should come out.
//!
//! - [`broker`] is one Apache Kafka per test binary; [`weir`] runs and ends the binary; [`guests`] finds the example
//!   components; [`job`] writes job files; [`counting`] is one with its output's check; [`cgroup`] is what a container allows.
//! - [`faults`] kills a job over and over, and judges what comes of it.
//! - [`proxy`] stands between a job and a broker, and loses and delays what a test asks for.
//! - [`s3`] is a server for checkpoints of which other machines know; [`http_proxy`] harms what a job asks it.
//! - [`records`] makes seeded input and compares output; [`model`] computes what is expected, naively and apart from
//!   the host and the guests.
//! - [`wait`] waits for conditions; [`port`] finds a port for a server.
//!
//! What a test needs and is not there, a tool or a binary or a component, fails the test: nothing is skipped. Depends
//! on no part of the host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the driver of a test reports by panicking"
)]

pub mod broker;
pub mod cgroup;
pub mod counting;
pub mod faults;
pub mod guests;
pub mod http_proxy;
pub mod job;
pub mod model;
pub mod port;
pub mod proxy;
pub mod records;
pub mod s3;
pub mod wait;
pub mod weir;
