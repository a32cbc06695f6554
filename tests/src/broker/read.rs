//! Consuming output.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::{Broker, TIMEOUT};
use crate::records::Record;

/// A record and where it lies.
#[derive(Clone, Debug)]
pub struct Received {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The record.
    pub record: Record,
}

impl Broker {
    /// All records of a topic that a committed reader sees; those of one partition in order.
    #[track_caller]
    pub fn consume(&self, topic: &str) -> Vec<Received> {
        let mut received = vec![];
        self.consume_each(topic, |message| {
            received.push(Received { partition: message.partition(), offset: message.offset(), record: record(message) });
        });
        received
    }

    /// As [`consume`](Self::consume), without the places.
    #[track_caller]
    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.consume(topic).into_iter().map(|received| received.record).collect()
    }

    /// Hands each record of a topic that a committed reader sees to `take`, for topics too large to hold.
    ///
    /// # Panics
    /// When the end of every partition is not reached.
    #[track_caller]
    pub fn consume_each(&self, topic: &str, mut take: impl FnMut(&BorrowedMessage<'_>)) {
        let partitions = self.partitions(topic);
        let mut config = self.config();
        config
            // Assigning needs a group, though nothing is committed.
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            // The end of a partition is told by a fetch that found nothing.
            .set("fetch.wait.max.ms", "10")
            .set("fetch.message.max.bytes", "8388608");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a valid offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        let mut at_end = vec![false; partitions as usize];
        while at_end.contains(&false) {
            match consumer.poll(TIMEOUT) {
                Some(Ok(message)) => take(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => at_end[partition as usize] = true,
                Some(Err(error)) => panic!("topic {topic}: {error}"),
                None => panic!("topic {topic}: nothing for {TIMEOUT:?}, and no end"),
            }
        }
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers =
        message.headers().map(|headers| headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect());
    Record {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis().expect("topics have timestamps"),
        headers: headers.unwrap_or_default(),
    }
}
