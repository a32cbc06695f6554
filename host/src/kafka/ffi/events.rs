//! The events of an admin client, which rdkafka leaves unread.

use crate::kafka::context::Context;
use rdkafka::ClientContext as _;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use std::ffi::{CStr, c_char};
use std::ptr::{NonNull, null};

/// Hands the logs and errors that have come since the last call to the client's context, without waiting.
pub(in super::super) fn serve(client: &Client<Context>) {
    // SAFETY: the client is alive, and the reference to its queue is given back below.
    let Some(queue) = NonNull::new(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) }) else { return };
    // SAFETY: the queue is alive; an event that it gives is ours until it is destroyed.
    while let Some(event) = NonNull::new(unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), 0) }) {
        // SAFETY: the event is alive; its texts live as long, and are copied or used before it is destroyed.
        unsafe {
            match sys::rd_kafka_event_type(event.as_ptr()) {
                sys::RD_KAFKA_EVENT_ERROR => {
                    let code = sys::rd_kafka_event_error(event.as_ptr());
                    client.context().error(KafkaError::Global(code.into()), &text(sys::rd_kafka_event_error_string(event.as_ptr())));
                }
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut line, mut level) = (null(), null(), 0);
                    if sys::rd_kafka_event_log(event.as_ptr(), &raw mut facility, &raw mut line, &raw mut level) == 0 {
                        client.context().log(log_level(level), &text(facility), &text(line));
                    }
                }
                _ => {}
            }
            sys::rd_kafka_event_destroy(event.as_ptr());
        }
    }
    // SAFETY: ours, and not used any more.
    unsafe { sys::rd_kafka_queue_destroy(queue.as_ptr()) };
}

/// The level of a number as syslog has them.
fn log_level(number: i32) -> RDKafkaLogLevel {
    match number {
        ..=3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 | 6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// A copy of one of librdkafka's texts.
///
/// # Safety
/// `text` is null or a C string that is alive.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and alive as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned()
}
