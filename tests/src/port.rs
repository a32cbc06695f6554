//! Ports for servers that are told theirs.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;

/// Below those that kafka.sh chooses, and below those that the kernel gives to whoever does not care: such a one may be taken
/// before the server has started.
const FIRST: u16 = 10_000;
const COUNT: u64 = 10_000;

/// A port of this machine that is free.
///
/// # Panics
/// When a thousand were taken.
pub fn free() -> u16 {
    let mut tries = (0..1_000).map(|_| FIRST + (RandomState::new().build_hasher().finish() % COUNT) as u16);
    tries.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
