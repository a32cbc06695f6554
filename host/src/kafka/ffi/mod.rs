//! The one place with `unsafe`: librdkafka calls that rdkafka's safe interface lacks, or does an allocation per record for,
//! and what malloc does with its memory.
//!
//! Lifetimes, which librdkafka leaves to its caller, are held by ownership: each newtype keeps the client in an `Arc`
//! declared as its *last* field, so that messages are destroyed before their queue, and queues and topics before the
//! client. The other order does not crash, it hangs: destroying a client waits for every reference into it.

#![allow(unsafe_code)]

mod events;
mod memory;
mod transaction;

pub(super) use events::serve;
pub(super) use memory::keep_freed_memory;
pub(super) use transaction::*;

use super::context::Context;
use crate::record::RowRef;
use rdkafka::bindings as sys;
use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::client::Client as AnyClient;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;

/// rdkafka's consumer with our context.
pub(super) type Client = BaseConsumer<Context>;
/// rdkafka's producer with our context.
pub(super) type ProducerClient = BaseProducer<Context>;
/// Called by a librdkafka thread when an empty queue gets its first message; it must be quick and must not call librdkafka.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// Messages taken from librdkafka by one call; 4 KB of pointers.
const TAKEN: usize = 512;

/// A queue of fetched messages: those of the partitions forwarded to it, and of no other.
pub(super) struct MessageQueue {
    taken: Box<[*mut sys::rd_kafka_message_t; TAKEN]>,
    next: usize,
    end: usize,
    raw: NonNull<sys::rd_kafka_queue_t>,
    waker: Option<Box<Waker>>,
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues and messages are bound to no thread; the raw pointers are owned by this value alone, and
// every method that touches them without librdkafka's own locking takes `&mut self`.
unsafe impl Send for MessageQueue {}

impl MessageQueue {
    /// A new, empty queue of `client`. `None` when librdkafka returns no queue.
    pub(super) fn new(client: Arc<Client>) -> Option<Self> {
        // SAFETY: the client lives as long as the Arc, which this value keeps.
        let raw = NonNull::new(unsafe { sys::rd_kafka_queue_new(client.client().native_ptr()) })?;
        Some(Self { taken: Box::new([null_mut(); TAKEN]), next: 0, end: 0, raw, waker: None, client })
    }

    /// Sends what is fetched of a partition to this queue. To be called before the partition is assigned: librdkafka
    /// remembers the choice and does not redirect the partition to the main queue. False when it has no such partition.
    pub(super) fn forward(&self, topic: &CStr, partition: i32) -> bool {
        // SAFETY: the client is alive; the partition's queue is a counted reference that is given back here, while the
        // forwarding keeps its own reference to our queue.
        unsafe {
            let of_partition = sys::rd_kafka_queue_get_partition(self.client.client().native_ptr(), topic.as_ptr(), partition);
            if of_partition.is_null() {
                return false;
            }
            sys::rd_kafka_queue_forward(of_partition, self.raw.as_ptr());
            sys::rd_kafka_queue_destroy(of_partition);
            true
        }
    }

    /// Sets who is told when the queue stops being empty.
    pub(super) fn set_waker(&mut self, waker: Waker) {
        extern "C" fn wake(_client: *mut sys::rd_kafka_t, opaque: *mut c_void) {
            // SAFETY: `opaque` is the boxed waker of a live MessageQueue, see below.
            let waker = unsafe { &*opaque.cast::<Waker>() };
            waker();
        }
        let boxed = Box::new(waker);
        let opaque: *const Waker = &raw const *boxed;
        // SAFETY: librdkafka calls `wake` under the queue's lock and replaces the callback under the same lock, so the
        // former waker is in no call any more when it is dropped below, nor is this one after `drop` has disabled it.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.raw.as_ptr(), Some(wake), opaque.cast_mut().cast()) };
        self.waker = Some(boxed);
    }

    /// Takes up to `most` messages once all taken before are used up, and says how many are at hand. Waits up to
    /// `timeout_ms` for a first one.
    pub(super) fn refill(&mut self, most: usize, timeout_ms: i32) -> usize {
        if self.next == self.end {
            let most = most.min(TAKEN);
            // SAFETY: `taken` has room for `most` pointers; those written are ours to destroy.
            let got = unsafe { sys::rd_kafka_consume_batch_queue(self.raw.as_ptr(), timeout_ms, self.taken.as_mut_ptr(), most) };
            self.next = 0;
            self.end = usize::try_from(got).unwrap_or(0).min(most);
        }
        self.end - self.next
    }

    /// The next message taken.
    #[inline]
    pub(super) fn peek(&self) -> Option<FetchedMessage<'_>> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: entries next..end are messages that librdkafka gave us and that `advance` has not destroyed yet; the
        // borrow of self keeps it from doing so.
        self.taken.get(self.next).and_then(|m| unsafe { m.as_ref() }).map(|raw| FetchedMessage { raw })
    }

    /// Destroys the message that `peek` shows.
    #[inline]
    pub(super) fn advance(&mut self) {
        if self.next < self.end
            && let Some(message) = self.taken.get(self.next)
        {
            // SAFETY: as in `peek`; `next` moves on, so it is destroyed once.
            unsafe { sys::rd_kafka_message_destroy(*message) };
            self.next += 1;
        }
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        while self.next < self.end {
            self.advance();
        }
        // SAFETY: no message of ours is left. Disabling the callback first keeps librdkafka from calling a waker that is
        // about to be dropped. The client outlives this call: `client` is dropped after `drop` returns.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.raw.as_ptr(), None, null_mut());
            sys::rd_kafka_queue_destroy(self.raw.as_ptr());
        }
    }
}

/// A message, or an error in a message's place.
#[derive(Clone, Copy)]
pub(super) struct FetchedMessage<'a> {
    raw: &'a sys::rd_kafka_message_t,
}

impl<'a> FetchedMessage<'a> {
    /// The error in the message's place.
    #[inline]
    pub(super) fn error(self) -> Option<Code> {
        (self.raw.err != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.raw.err.into())
    }

    /// librdkafka's words on the error.
    pub(super) fn reason(self) -> String {
        // SAFETY: for an error message librdkafka returns a NUL-terminated string that lives as long as the message.
        let text = unsafe { sys::rd_kafka_message_errstr(self.raw).as_ref() };
        // SAFETY: as above.
        text.map(|t| unsafe { CStr::from_ptr(t) }.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// A number that stands for the topic as long as one of its partitions is assigned.
    #[inline]
    pub(super) fn topic_id(self) -> usize {
        self.raw.rkt.addr()
    }

    /// The topic's name; empty for an error of the whole client.
    pub(super) fn topic(self) -> &'a str {
        if self.raw.rkt.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference to its topic, whose name is NUL-terminated.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.raw.rkt)) };
        name.to_str().unwrap_or_default()
    }

    /// The partition.
    #[inline]
    pub(super) fn partition(self) -> i32 {
        self.raw.partition
    }

    /// The offset.
    #[inline]
    pub(super) fn offset(self) -> i64 {
        self.raw.offset
    }

    /// The key; `None` is null.
    #[inline]
    pub(super) fn key(self) -> Option<&'a [u8]> {
        // SAFETY: librdkafka's pointer and length describe memory that lives as long as the message.
        (!self.raw.key.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.raw.key.cast::<u8>(), self.raw.key_len) })
    }

    /// The value; `None` is a tombstone.
    #[inline]
    pub(super) fn value(self) -> Option<&'a [u8]> {
        // SAFETY: as for the key.
        (!self.raw.payload.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.raw.payload.cast::<u8>(), self.raw.len) })
    }

    /// Milliseconds since the epoch, -1 when the record has none.
    #[inline]
    pub(super) fn timestamp(self) -> i64 {
        // SAFETY: a null type pointer is allowed.
        unsafe { sys::rd_kafka_message_timestamp(self.raw, null_mut()) }
    }

    /// The headers; `None` without any. An error where librdkafka cannot parse them.
    #[inline]
    pub(super) fn headers(self) -> Result<Option<FetchedHeaders<'a>>, Code> {
        let mut headers = null_mut();
        // SAFETY: the headers parsed belong to the message.
        match unsafe { sys::rd_kafka_message_headers(self.raw, &raw mut headers) } {
            RespErr::RD_KAFKA_RESP_ERR__NOENT => Ok(None),
            // SAFETY: on success the pointer is valid as long as the message.
            RespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(unsafe { headers.as_ref() }.map(|raw| FetchedHeaders { raw, at: 0 })),
            code => Err(code.into()),
        }
    }
}

/// Headers of a message: name and value.
pub(super) struct FetchedHeaders<'a> {
    raw: &'a sys::rd_kafka_headers_t,
    at: usize,
}

impl<'a> Iterator for FetchedHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut name, mut value, mut len) = (null(), null(), 0);
        // SAFETY: the out parameters are written only on success; what they point at lives as long as the headers, and
        // the name is NUL-terminated.
        unsafe {
            if sys::rd_kafka_header_get_all(self.raw, self.at, &raw mut name, &raw mut value, &raw mut len)
                != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return None;
            }
            self.at += 1;
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), len));
            Some((CStr::from_ptr(name).to_bytes(), value))
        }
    }
}

/// A producer's handle of one topic.
pub(super) struct ProducerTopic {
    raw: NonNull<sys::rd_kafka_topic_t>,
    client: Arc<ProducerClient>,
}

// SAFETY: librdkafka's topic handles are counted, locked objects, made for use by several threads.
unsafe impl Send for ProducerTopic {}
// SAFETY: as above.
unsafe impl Sync for ProducerTopic {}

impl ProducerTopic {
    /// A handle whose records are compressed by `codec`; `None` when librdkafka refuses.
    pub(super) fn new(client: Arc<ProducerClient>, name: &CStr, codec: &CStr) -> Option<Self> {
        let native = client.client().native_ptr();
        // SAFETY: the client lives as long as the Arc.
        let settings = NonNull::new(unsafe { sys::rd_kafka_default_topic_conf_dup(native) })?.as_ptr();
        // SAFETY: the settings are ours, names and values are copied, and without a buffer no reason is written.
        let set = unsafe { sys::rd_kafka_topic_conf_set(settings, c"compression.codec".as_ptr(), codec.as_ptr(), null_mut(), 0) };
        if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            // SAFETY: still ours.
            unsafe { sys::rd_kafka_topic_conf_destroy(settings) };
            return None;
        }
        // SAFETY: the client lives as long as the Arc; the settings are librdkafka's from here on, whatever comes of it.
        let raw = NonNull::new(unsafe { sys::rd_kafka_topic_new(native, name.as_ptr(), settings) })?;
        Some(Self { raw, client })
    }

    /// Copies a record into the producer's queue. A timestamp of 0 goes out as 1 ms, because librdkafka puts the
    /// current time in the place of 0.
    #[inline]
    pub(super) fn produce(&self, partition: i32, row: RowRef<'_>, headers: Option<NewHeaders>) -> Result<(), Code> {
        use sys::rd_kafka_vtype_t::*;
        let (key, key_len) = parts(row.key);
        let (value, value_len) = parts(row.value);
        let timestamp = if row.timestamp == 0 { 1 } else { row.timestamp };
        let (client, topic) = (self.client.client().native_ptr(), self.raw.as_ptr());
        // SAFETY: each tag is followed by the argument types that rdkafka.h names for it; librdkafka copies key and
        // value (MSG_F_COPY) before it returns, and takes the headers over only when it succeeds.
        let code = unsafe {
            match &headers {
                None => sys::rd_kafka_producev(
                    client,
                    RD_KAFKA_VTYPE_RKT,
                    topic,
                    RD_KAFKA_VTYPE_PARTITION,
                    partition,
                    RD_KAFKA_VTYPE_MSGFLAGS,
                    sys::RD_KAFKA_MSG_F_COPY,
                    RD_KAFKA_VTYPE_VALUE,
                    value,
                    value_len,
                    RD_KAFKA_VTYPE_KEY,
                    key,
                    key_len,
                    RD_KAFKA_VTYPE_TIMESTAMP,
                    timestamp,
                    RD_KAFKA_VTYPE_END,
                ),
                Some(headers) => sys::rd_kafka_producev(
                    client,
                    RD_KAFKA_VTYPE_RKT,
                    topic,
                    RD_KAFKA_VTYPE_PARTITION,
                    partition,
                    RD_KAFKA_VTYPE_MSGFLAGS,
                    sys::RD_KAFKA_MSG_F_COPY,
                    RD_KAFKA_VTYPE_VALUE,
                    value,
                    value_len,
                    RD_KAFKA_VTYPE_KEY,
                    key,
                    key_len,
                    RD_KAFKA_VTYPE_TIMESTAMP,
                    timestamp,
                    RD_KAFKA_VTYPE_HEADERS,
                    headers.raw.as_ptr(),
                    RD_KAFKA_VTYPE_END,
                ),
            }
        };
        if code != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        if let Some(taken_over) = headers {
            std::mem::forget(taken_over);
        }
        Ok(())
    }
}

impl Drop for ProducerTopic {
    fn drop(&mut self) {
        // SAFETY: our one reference; the client outlives this call.
        unsafe { sys::rd_kafka_topic_destroy(self.raw.as_ptr()) };
    }
}

fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((null_mut(), 0), |b| (b.as_ptr().cast_mut().cast(), b.len()))
}

/// Headers of a record that is to be produced.
pub(super) struct NewHeaders {
    raw: NonNull<sys::rd_kafka_headers_t>,
}

impl NewHeaders {
    /// Copies the headers; `None` without any.
    pub(super) fn copy<'h>(headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> Option<Self> {
        let mut all: Option<Self> = None;
        for (name, value) in headers {
            if all.is_none() {
                // SAFETY: a plain allocation, freed by `drop` or taken over by librdkafka.
                all = NonNull::new(unsafe { sys::rd_kafka_headers_new(4) }).map(|raw| Self { raw });
            }
            let (value, len) = parts(value);
            if let Some(all) = &all {
                // SAFETY: name and value are copied; their lengths are given, a slice is never longer than isize::MAX.
                unsafe {
                    sys::rd_kafka_header_add(all.raw.as_ptr(), name.as_ptr().cast::<c_char>(), name.len() as isize, value, len as isize)
                };
            }
        }
        all
    }
}

impl Drop for NewHeaders {
    fn drop(&mut self) {
        // SAFETY: still ours: `produce` forgets headers that librdkafka has taken over.
        unsafe { sys::rd_kafka_headers_destroy(self.raw.as_ptr()) };
    }
}

/// Whether a client is connected to a broker, or is within `timeout_ms`.
pub(super) fn has_broker(client: &AnyClient<Context>, timeout_ms: i32) -> bool {
    let mut metadata = null();
    // SAFETY: the client is alive; metadata that it gives is ours, and given back at once.
    unsafe {
        let code = sys::rd_kafka_metadata(client.native_ptr(), 0, null_mut(), &raw mut metadata, timeout_ms);
        if code == RespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            sys::rd_kafka_metadata_destroy(metadata);
        }
        code != RespErr::RD_KAFKA_RESP_ERR__TRANSPORT
    }
}

/// Tells a client of brokers; those that it knows stay as they are.
pub(super) fn add_brokers(client: &AnyClient<Context>, brokers: &CStr) {
    // SAFETY: the client is alive, and the list is copied.
    unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}

/// Waits up to `step_ms` until every record is acknowledged; linger is skipped meanwhile. True when done. Failed
/// deliveries count as unfinished until the event queue is polled, so steps have to be short.
pub(super) fn flush_step(client: &ProducerClient, step_ms: i32) -> bool {
    // SAFETY: the client is alive.
    unsafe { sys::rd_kafka_flush(client.client().native_ptr(), step_ms) == RespErr::RD_KAFKA_RESP_ERR_NO_ERROR }
}

/// Low and high watermark as of the last fetch, without asking the broker; `None` before the first.
pub(super) fn last_watermarks(client: &Client, topic: &CStr, partition: i32) -> Option<(i64, i64)> {
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client is alive; the out parameters are written on success only.
    let code = unsafe {
        sys::rd_kafka_get_watermark_offsets(client.client().native_ptr(), topic.as_ptr(), partition, &raw mut low, &raw mut high)
    };
    (code == RespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low, high))
}

/// The metadata of each element, in order. rdkafka panics on metadata that is not UTF-8, which another program may have
/// committed.
pub(super) fn list_metadata(list: &TopicPartitionList) -> Vec<Vec<u8>> {
    // SAFETY: a list owns `cnt` initialised elements; metadata is null or `metadata_size` bytes, owned by its element.
    unsafe {
        let list = &*list.ptr();
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        let bytes = |e: &sys::rd_kafka_topic_partition_t| {
            if e.metadata.is_null() { Vec::new() } else { std::slice::from_raw_parts(e.metadata.cast::<u8>(), e.metadata_size).to_vec() }
        };
        std::slice::from_raw_parts(list.elems, count).iter().map(bytes).collect()
    }
}
