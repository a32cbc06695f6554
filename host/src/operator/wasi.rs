//! WASI without any capability: every component that a toolchain makes imports it, and none may do anything with it.

use super::host::HostState;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use wasmtime::{
    Result,
    component::{HasSelf, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    p2::{self, DynPollable, Pollable, bindings::clocks::monotonic_clock, subscribe},
};

/// Handles that an instance may hold at once: streams, pollables.
const RESOURCES: usize = 1024;

/// Links WASI's base interfaces.
pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> Result<()> {
    p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// WASI for one instance: no file, socket, variable or argument, and nothing from standard input.
pub(super) fn context(clock: &Arc<CallClock>) -> (WasiCtx, ResourceTable) {
    let wasi = WasiCtxBuilder::new()
        .secure_random(GuestRandom(clock.clone()))
        .insecure_random(GuestRandom(clock.clone()))
        .insecure_random_seed(0)
        .wall_clock(GuestClock(clock.clone()))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build();
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES);
    (wasi, table)
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Time and randomness of the running call: a repeated call sees the same. Time stands still but for what the guest
/// sleeps, which costs no time outside.
#[derive(Default)]
pub(super) struct CallClock {
    pub now_ms: AtomicI64,
    pub seed: AtomicU64,
    drawn: AtomicU64,
    slept_ns: AtomicU64,
}

impl CallClock {
    pub fn start(&self, now_ms: i64, seed: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.seed.store(seed, Ordering::Relaxed);
        self.drawn.store(0, Ordering::Relaxed);
        self.slept_ns.store(0, Ordering::Relaxed);
    }

    fn since_epoch(&self) -> Duration {
        let begin = Duration::from_millis(u64::try_from(self.now_ms.load(Ordering::Relaxed)).unwrap_or(0));
        begin + Duration::from_nanos(self.slept_ns.load(Ordering::Relaxed))
    }

    fn sleep(&self, ns: u64) {
        let slept = self.slept_ns.load(Ordering::Relaxed);
        self.slept_ns.store(slept.saturating_add(ns), Ordering::Relaxed);
    }

    /// The next number of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn draw(&self) -> u64 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut z = self.seed.load(Ordering::Relaxed).wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

struct GuestClock(Arc<CallClock>);

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn now(&self) -> Duration {
        self.0.since_epoch()
    }
}

/// In the place of WASI's own, whose pollables would let a guest hold up its worker for as long as it likes.
impl monotonic_clock::Host for HostState {
    fn now(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.clock.since_epoch().as_nanos()).unwrap_or(u64::MAX))
    }
    fn resolution(&mut self) -> Result<u64> {
        Ok(1_000_000)
    }
    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let now = monotonic_clock::Host::now(self)?;
        self.subscribe_duration(when.saturating_sub(now))
    }
    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        self.clock.sleep(duration);
        let over = self.table.push(Over)?;
        subscribe(&mut self.table, over)
    }
}

/// A sleep that is over.
struct Over;

#[wasmtime_wasi::async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

struct GuestRandom(Arc<CallClock>);

impl rand_core::TryRng for GuestRandom {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> std::result::Result<u32, Self::Error> {
        Ok((self.0.draw() >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> std::result::Result<u64, Self::Error> {
        Ok(self.0.draw())
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> std::result::Result<(), Self::Error> {
        for chunk in dst.chunks_mut(8) {
            chunk.iter_mut().zip(self.0.draw().to_le_bytes()).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}
