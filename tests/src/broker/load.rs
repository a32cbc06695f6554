//! A steady stream of records that rides out a broker's absence.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_brokers_add;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Broker;

/// Longer than any outage of a test.
const PATIENCE: Duration = Duration::from_secs(600);
/// A client from which nothing was taken for so long may have forgotten its brokers: one that was fenced names none.
const LOST: Duration = Duration::from_secs(5);
/// Between two portions of the stream.
const STEP: Duration = Duration::from_millis(10);

/// A thread that produces records. Ends with [`Load::stop`].
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    delivered: Arc<AtomicU64>,
    thread: Option<JoinHandle<u64>>,
}

impl Broker {
    /// Begins to produce `per_second` records a second with keys `key-0`, `key-1`, … in turn. While the broker is away
    /// they wait in the producer, each is taken exactly once, and those of a key stay in order.
    pub fn load(&self, topic: &str, keys: u64, per_second: u64) -> Load {
        let records = (0..).map(move |number| (format!("key-{}", number % keys), String::new()));
        self.load_of(topic, records, 0, per_second)
    }

    /// The same with keys and values of an iterator that never ends; the first `at_once` come as fast as they can.
    pub fn load_of(
        &self,
        topic: &str,
        records: impl Iterator<Item = (String, String)> + Send + 'static,
        at_once: u64,
        per_second: u64,
    ) -> Load {
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "0")
            .set("reconnect.backoff.max.ms", "500");
        let producer: BaseProducer = config.create().expect("a producer");
        let (stop, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (asked, taken, topic) = (stop.clone(), delivered.clone(), topic.to_owned());
        let brokers = CString::new(self.bootstrap.as_str()).expect("an address");
        let body = move || produce(&producer, &brokers, &topic, records, (at_once, per_second), &asked, &taken);
        let thread = thread::Builder::new().name("load".into()).spawn(body).expect("a thread");
        Load { stop, delivered, thread: Some(thread) }
    }
}

fn produce(
    producer: &BaseProducer,
    brokers: &CStr,
    topic: &str,
    mut records: impl Iterator<Item = (String, String)>,
    (at_once, per_second): (u64, u64),
    stop: &AtomicBool,
    delivered: &AtomicU64,
) -> u64 {
    let (begin, mut sent, mut next) = (Instant::now(), 0u64, records.next());
    let (mut before, mut since, mut told) = (0, begin, begin);
    while !stop.load(Ordering::Relaxed) || producer.in_flight_count() > 0 {
        assert!(since.elapsed() < PATIENCE, "the broker takes no records");
        let due = at_once + (begin.elapsed().as_secs_f64() * per_second as f64) as u64;
        while sent < due && !stop.load(Ordering::Relaxed) {
            let (key, value) = next.as_ref().expect("records without an end");
            match producer.send(BaseRecord::<str, str>::to(topic).key(key).payload(value)) {
                Ok(()) => (sent, next) = (sent + 1, records.next()),
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => break,
                Err((error, _)) => panic!("the client refused a record: {error}"),
            }
        }
        serve(producer);
        let taken = sent.saturating_sub(producer.in_flight_count() as u64);
        delivered.store(taken, Ordering::Relaxed);
        if taken > before {
            (before, since) = (taken, Instant::now());
        } else if since.elapsed() > LOST && told.elapsed() > LOST {
            tell(producer, brokers);
            told = Instant::now();
        }
        thread::park_timeout(STEP);
    }
    sent
}

/// Takes all reports of deliveries: a poll takes one, which is of one batch.
fn serve(producer: &BaseProducer) {
    loop {
        let before = producer.in_flight_count();
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() >= before {
            return;
        }
    }
}

#[expect(unsafe_code, reason = "rdkafka has no safe call for it")]
fn tell(producer: &BaseProducer, brokers: &CStr) {
    // SAFETY: the producer is alive, and the list is copied.
    unsafe { rd_kafka_brokers_add(producer.client().native_ptr(), brokers.as_ptr()) };
}

impl Load {
    /// How many records the broker has taken so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Ends the stream and waits until the broker has taken all of it; how many records it was.
    ///
    /// # Panics
    /// When a record was refused.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a load is stopped once");
        thread.join().expect("the load's thread")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that fails does not wait for its load; the thread ends with the process.
        self.stop.store(true, Ordering::Relaxed);
    }
}
