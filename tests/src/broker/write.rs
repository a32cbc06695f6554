//! Producing input.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{Broker, TIMEOUT};
use crate::records::Record;

/// Keeps the first record that was not delivered.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Option<KafkaError>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().expect("no panic").get_or_insert_with(|| error.clone());
        }
    }
}

impl Broker {
    /// Produces records in order. Those with a key go where Kafka's Java client would put them, those without one to
    /// each partition in turn.
    ///
    /// # Panics
    /// When the broker does not take them all.
    #[track_caller]
    pub fn produce<'a>(&self, topic: &str, records: impl IntoIterator<Item = &'a Record>) {
        let partitions = self.partitions(topic);
        let deliveries = Deliveries::default();
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("linger.ms", "5");
        let producer: BaseProducer<Deliveries> = config.create_with_context(deliveries.clone()).expect("a producer");
        for (record, position) in records.into_iter().zip(0..) {
            let mut message = BaseRecord::<[u8], [u8]>::to(topic).timestamp(record.timestamp);
            message = match &record.key {
                Some(key) => message.key(key.as_slice()),
                None => message.partition(position % partitions),
            };
            if let Some(value) = &record.value {
                message = message.payload(value.as_slice());
            }
            if !record.headers.is_empty() {
                message = message.headers(headers(record));
            }
            send(&producer, message);
        }
        producer.flush(TIMEOUT).expect("the broker takes the records");
        let failed = deliveries.0.lock().expect("no panic").take();
        assert_eq!(failed, None, "a record was not delivered");
    }
}

fn headers(record: &Record) -> OwnedHeaders {
    record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_ref() }))
}

/// Waits while the client's queue is full.
fn send(producer: &BaseProducer<Deliveries>, mut message: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, back)) = producer.send(message) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "the client refused a record");
        producer.poll(Duration::from_millis(100));
        message = back;
    }
}
