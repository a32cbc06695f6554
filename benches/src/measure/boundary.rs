//! The component boundary: batches in memory through an instance as the worker calls it, with the default limits and
//! fuel. The guests read every byte of every value and write a new one, `passthrough-raw` over the columns and
//! `passthrough` through the SDK; what is measured is the whole call: encoding, guest, decoding, validation.

use super::Bench;
use crate::ffi::thread_cpu;
use crate::job::guest;
use anyhow::{Result, ensure};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use weir_host::operator::{self, Engine, Instance, InstanceContext, Limits, Loaded};
use weir_host::record::{Batch, Origin, RowRef};

/// Records of a batch.
const RECORDS: usize = 1024;
/// Bytes of a value.
const BYTES: usize = 100;
/// Calls before anything is measured.
const WARM_UP: usize = 200;
/// The two guests take turns so often.
const TURNS: usize = 100;
/// Calls of a turn.
const CALLS: usize = 20;

/// Nanoseconds per record over raw columns, and how many times as many through the SDK.
pub fn measure(bench: &Bench) -> Result<Vec<f64>> {
    let engine = Engine::new(Some(bench.weir.components()))?;
    let input = batch();
    let mut columns = Call::new(&engine, "passthrough-raw")?;
    let mut sdk = Call::new(&engine, "passthrough")?;
    for call in [&mut columns, &mut sdk] {
        call.repeat(WARM_UP, &input)?;
        call.check(&input)?;
    }
    let (mut of_columns, mut of_sdk) = (0.0, 0.0);
    for _ in 0..TURNS {
        of_columns += columns.repeat(CALLS, &input)?;
        of_sdk += sdk.repeat(CALLS, &input)?;
    }
    let nanos = of_columns * 1e9 / (TURNS * CALLS * RECORDS) as f64;
    Ok(vec![nanos, of_sdk / of_columns])
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    for i in 0..RECORDS {
        let value: Vec<u8> = (0..BYTES).map(|at| b'a' + ((i + at) % 26) as u8).collect();
        let origin = Origin { split: 0, offset: i as i64 };
        batch.push(RowRef { key: None, value: Some(&value), timestamp: 1_700_000_000_000 + i as i64, origin });
    }
    batch
}

/// A guest that is called again and again.
struct Call {
    instance: Instance,
    limits: Limits,
    ports: Vec<Batch>,
}

impl Call {
    fn new(engine: &Engine, name: &str) -> Result<Self> {
        let limits = limits();
        let path: &Path = &guest(name)?;
        let loaded = Loaded::load(engine, name, path, "{}".into(), limits.clone())?;
        let context = InstanceContext { job: "bench".into(), numbers: Arc::default(), splits: Arc::default(), metrics: None };
        Ok(Self { instance: Instance::new(Arc::new(loaded), context), limits, ports: vec![Batch::default()] })
    }

    /// CPU seconds of some calls.
    fn repeat(&mut self, calls: usize, input: &Batch) -> Result<f64> {
        let before = thread_cpu()?;
        for _ in 0..calls {
            let raw = self.instance.transform(black_box(input), 0)?;
            operator::assemble(raw, input, &self.limits, &[], &mut self.ports)?;
            black_box(&self.ports);
        }
        Ok(thread_cpu()? - before)
    }

    fn check(&self, input: &Batch) -> Result<()> {
        let flipped = |value: Option<&[u8]>| value.map(|v| v.iter().map(|byte| byte ^ 0x20).collect::<Vec<_>>());
        let right = self.ports.first().is_some_and(|output| {
            output.len() == input.len() && input.values().iter().map(flipped).eq(output.values().iter().map(|v| v.map(<[u8]>::to_vec)))
        });
        ensure!(right, "the guest's output is wrong");
        Ok(())
    }
}

/// The defaults of a job file.
fn limits() -> Limits {
    let default = weir_spec::Limits::default();
    Limits {
        memory: default.memory.as_usize(),
        fuel: default.fuel,
        deadline: default.deadline.as_std(),
        output_bytes: default.output_bytes.as_usize(),
        output_records: usize::try_from(default.output_records).unwrap_or(usize::MAX),
    }
}
