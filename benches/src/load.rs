//! A steady load of a topic, whoever reads it and however fast.

use crate::kafka::{Kafka, PARTITIONS, send};
use anyhow::{Result, anyhow};
use rdkafka::producer::{BaseProducer, Producer as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two times at which records are due.
const TICK: Duration = Duration::from_millis(1);
/// For what was produced last to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many records are due at once every millisecond.
#[derive(Clone, Copy)]
pub struct Load {
    per_tick: u64,
}

impl Load {
    /// A load of so many thousand records a second.
    pub const fn thousands(per_second: u64) -> Self {
        Self { per_tick: per_second }
    }

    /// How many records are due within a time.
    pub const fn within(self, time: Duration) -> u64 {
        (time.as_nanos() / TICK.as_nanos()) as u64 * self.per_tick
    }

    /// Does `work`, which is told when the load began, under the load; it ends with the work. Gives what the work gave
    /// and how many records were produced.
    ///
    /// `record` writes the record of a number, with the time since the beginning at which it is due, into the buffers for
    /// key and value, which it finds empty; an empty key is a null one.
    pub fn during<T>(
        self,
        kafka: &Kafka,
        topic: &str,
        record: impl FnMut(u64, Duration, &mut Vec<u8>, &mut Vec<u8>) + Send,
        work: impl FnOnce(Instant) -> Result<T>,
    ) -> Result<(T, u64)> {
        let (begun, over) = (Instant::now(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let produce = || self.produce(kafka, topic, begun, &over, record);
            let producer = std::thread::Builder::new().name("producer".into()).spawn_scoped(scope, produce)?;
            let result = work(begun);
            over.store(true, Ordering::Relaxed);
            let produced = producer.join().map_err(|_| anyhow!("the producer panicked"))??;
            Ok((result?, produced))
        })
    }

    fn produce(
        self,
        kafka: &Kafka,
        topic: &str,
        begun: Instant,
        over: &AtomicBool,
        mut record: impl FnMut(u64, Duration, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<u64> {
        let producer: BaseProducer = kafka.config().set("linger.ms", "1").set("enable.idempotence", "true").create()?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut numbers = 0..;
        let mut due = Duration::ZERO;
        while !over.load(Ordering::Relaxed) {
            while let Some(early) = due.checked_sub(begun.elapsed()).filter(|early| !early.is_zero()) {
                std::thread::park_timeout(early);
            }
            for number in numbers.by_ref().take(self.per_tick as usize) {
                key.clear();
                value.clear();
                record(number, due, &mut key, &mut value);
                send(&producer, topic, i32::try_from(number % PARTITIONS.unsigned_abs() as u64)?, &key, &value)?;
            }
            producer.poll(Duration::ZERO);
            due += TICK;
        }
        producer.flush(PATIENCE)?;
        Ok(numbers.start)
    }
}
