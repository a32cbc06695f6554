//! The yardstick: from topic to topic with librdkafka alone, through its cheapest calls, in the settings that Weir
//! gives its own clients. It keeps no keys, headers and times, and unless it is told to copy in transactions it commits
//! nothing: less than any processor can do.

use anyhow::{Context as _, Result, bail};
use rdkafka::bindings as sys;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::ptr::{NonNull, null, null_mut};
use std::time::{Duration, Instant};

/// Messages taken by one call.
const TAKEN: usize = 2000;
/// Wait of one call for a first message.
const WAIT_MS: i32 = 20;
/// Wait for room in the producer's queue.
const QUEUE_FULL_WAIT: Duration = Duration::from_micros(500);
/// Longest time without a message, and longest time until all is acknowledged.
const PATIENCE: Duration = Duration::from_secs(60);

/// Copies the values of a topic, each to the partition of the same number, until the end of every partition is reached
/// and every record acknowledged: with `epoch` in transactions of that length, which hold the source's offsets too.
/// Returns how many records there were.
///
/// # Errors
/// When a client cannot be made, a partition cannot be read, or the broker does not acknowledge in time.
pub fn copy(bootstrap: &str, from: &str, to: &str, partitions: i32, epoch: Option<Duration>) -> Result<u64> {
    let consumer = consumer(bootstrap)?;
    let producer = producer(bootstrap, epoch.map(|_| to))?;
    let source = Queue::new(&consumer, from, partitions)?;
    let target = Target::new(&producer, to)?;
    let mut transactions = epoch.map(|epoch| Transactions::new(&consumer, &producer, from, partitions, epoch)).transpose()?;
    let mut taken = vec![null_mut(); TAKEN];
    let (mut copied, mut ended, mut last) = (0, 0, Instant::now());
    while ended < partitions {
        for message in source.take(&mut taken) {
            match message.raw().err {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    if let Some(transactions) = &mut transactions {
                        transactions.include(&message)?;
                    }
                    target.put(&producer, &message)?;
                    copied += 1;
                }
                Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => ended += 1,
                code => bail!("reading {from}: {code:?}"),
            }
            last = Instant::now();
        }
        if last.elapsed() > PATIENCE {
            bail!("reading {from}: nothing came for {PATIENCE:?}");
        }
        consumer.poll(Duration::ZERO);
        producer.poll(Duration::ZERO);
        if let Some(transactions) = transactions.as_mut().filter(|transactions| transactions.is_due()) {
            transactions.commit(&target)?;
        }
    }
    match &mut transactions {
        Some(transactions) => transactions.commit(&target)?,
        None => target.flush(&producer)?,
    }
    Ok(copied)
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("group.id", "copy-loop"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("queued.min.messages", "200000"),
        ("queued.max.messages.kbytes", "65536"),
        ("fetch.message.max.bytes", "4194304"),
        ("fetch.wait.max.ms", "50"),
        ("fetch.queue.backoff.ms", "10"),
        ("check.crcs", "false"),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect::<ClientConfig>()
        .create()
        .context("cannot make a consumer")
}

fn producer(bootstrap: &str, transactional: Option<&str>) -> Result<BaseProducer> {
    let mut settings = vec![
        ("bootstrap.servers", bootstrap),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("delivery.report.only.error", "true"),
        ("compression.type", "none"),
        ("linger.ms", "5"),
        ("batch.num.messages", "100000"),
        ("batch.size", "1000000"),
        ("queue.buffering.max.messages", "1000000"),
        ("queue.buffering.max.kbytes", "65536"),
    ];
    settings.extend(transactional.map(|id| ("transactional.id", id)));
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect::<ClientConfig>()
        .create()
        .context("cannot make a producer")
}

/// One transaction after the other, each from its first record until its time is over and it is committed.
struct Transactions<'c> {
    producer: &'c BaseProducer,
    group: ConsumerGroupMetadata,
    from: &'c str,
    epoch: Duration,
    /// Since when one is open.
    open: Option<Instant>,
    /// Per partition the offset to go on from; none before its first record.
    next: Vec<Option<i64>>,
}

impl<'c> Transactions<'c> {
    fn new(consumer: &BaseConsumer, producer: &'c BaseProducer, from: &'c str, partitions: i32, epoch: Duration) -> Result<Self> {
        producer.init_transactions(PATIENCE)?;
        let group = consumer.group_metadata().context("the consumer has no group")?;
        Ok(Self { producer, group, from, epoch, open: None, next: vec![None; usize::try_from(partitions)?] })
    }

    /// The record that is produced next belongs to the open transaction, or begins one.
    fn include(&mut self, message: &Message<'_>) -> Result<()> {
        if self.open.is_none() {
            self.producer.begin_transaction()?;
            self.open = Some(Instant::now());
        }
        let message = message.raw();
        *self.next.get_mut(usize::try_from(message.partition)?).context("no such partition")? = Some(message.offset + 1);
        Ok(())
    }

    fn is_due(&self) -> bool {
        self.open.is_some_and(|since| since.elapsed() >= self.epoch)
    }

    /// Commits the open transaction, if there is one.
    fn commit(&mut self, target: &Target<'_>) -> Result<()> {
        if self.open.take().is_none() {
            return Ok(());
        }
        // The client's own flush, which is a part of its commit, takes steps of 100 ms.
        target.flush(self.producer)?;
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in (0..).zip(&self.next) {
            if let Some(next) = next {
                offsets.add_partition_offset(self.from, partition, Offset::Offset(*next))?;
            }
        }
        self.producer.send_offsets_to_transaction(&offsets, &self.group, PATIENCE)?;
        self.producer.commit_transaction(PATIENCE)?;
        Ok(())
    }
}

/// All partitions of a topic as one queue. Destroyed before its client, as the borrow demands: the other order hangs.
struct Queue<'c> {
    raw: NonNull<sys::rd_kafka_queue_t>,
    client: PhantomData<&'c BaseConsumer>,
}

impl<'c> Queue<'c> {
    fn new(consumer: &'c BaseConsumer, topic: &str, partitions: i32) -> Result<Self> {
        let name = CString::new(topic)?;
        let native = consumer.client().native_ptr();
        // SAFETY: the client lives as long as this value's borrow of it.
        let raw = NonNull::new(unsafe { sys::rd_kafka_queue_new(native) }).context("librdkafka made no queue")?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            // SAFETY: the partition's queue is a counted reference that is given back here; the forwarding keeps its own.
            unsafe {
                let of_partition = sys::rd_kafka_queue_get_partition(native, name.as_ptr(), partition);
                sys::rd_kafka_queue_forward(of_partition, raw.as_ptr());
                sys::rd_kafka_queue_destroy(of_partition);
            }
        }
        let queue = Self { raw, client: PhantomData };
        consumer.assign(&assignment)?;
        Ok(queue)
    }

    fn take<'q>(&'q self, taken: &'q mut [*mut sys::rd_kafka_message_t]) -> impl Iterator<Item = Message<'q>> {
        // SAFETY: `taken` has room for as many pointers as it has elements; those written are ours to destroy.
        let got = unsafe { sys::rd_kafka_consume_batch_queue(self.raw.as_ptr(), WAIT_MS, taken.as_mut_ptr(), taken.len()) };
        let got = usize::try_from(got).unwrap_or(0);
        taken.iter().take(got).filter_map(|raw| NonNull::new(*raw)).map(|raw| Message { raw, queue: PhantomData })
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: no message taken outlives the borrow of this queue, and the client is still there.
        unsafe { sys::rd_kafka_queue_destroy(self.raw.as_ptr()) }
    }
}

struct Message<'q> {
    raw: NonNull<sys::rd_kafka_message_t>,
    queue: PhantomData<&'q Queue<'q>>,
}

impl Message<'_> {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: librdkafka gave us the message, and only `drop` destroys it.
        unsafe { self.raw.as_ref() }
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, and destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.raw.as_ptr()) }
    }
}

/// A topic to write to.
struct Target<'c> {
    raw: NonNull<sys::rd_kafka_topic_t>,
    client: PhantomData<&'c BaseProducer>,
}

impl<'c> Target<'c> {
    fn new(producer: &'c BaseProducer, topic: &str) -> Result<Self> {
        let name = CString::new(topic)?;
        // SAFETY: the client lives as long as this value's borrow of it; null takes the default topic configuration.
        let raw = unsafe { sys::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), null_mut()) };
        Ok(Self { raw: NonNull::new(raw).context("librdkafka made no topic")?, client: PhantomData })
    }

    fn put(&self, producer: &BaseProducer, message: &Message<'_>) -> Result<()> {
        let message = message.raw();
        let flags = sys::RD_KAFKA_MSG_F_COPY;
        let (topic, partition) = (self.raw.as_ptr(), message.partition);
        let value: *mut c_void = message.payload;
        // SAFETY: librdkafka copies the value, which lives as long as the message, before it returns.
        while unsafe { sys::rd_kafka_produce(topic, partition, flags, value, message.len, null(), 0, null_mut()) } != 0 {
            // SAFETY: reads a thread-local of librdkafka's.
            match unsafe { sys::rd_kafka_last_error() } {
                Code::RD_KAFKA_RESP_ERR__QUEUE_FULL => {
                    producer.poll(Duration::ZERO);
                    std::thread::park_timeout(QUEUE_FULL_WAIT);
                }
                code => bail!("producing: {code:?}"),
            }
        }
        Ok(())
    }

    fn flush(&self, producer: &BaseProducer) -> Result<()> {
        let start = Instant::now();
        // SAFETY: the client is alive.
        while unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), 1) } != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            producer.poll(Duration::ZERO);
            if start.elapsed() > PATIENCE {
                bail!("not everything was acknowledged within {PATIENCE:?}");
            }
        }
        Ok(())
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and the client is still there.
        unsafe { sys::rd_kafka_topic_destroy(self.raw.as_ptr()) }
    }
}
