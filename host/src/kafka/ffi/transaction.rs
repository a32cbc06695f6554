//! Transactional calls, with what librdkafka says of a failed one; rdkafka's own drop parts of it.

use super::ProducerClient;
use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ffi::CStr;

/// What a transactional call says.
#[derive(Debug, Clone)]
pub(in super::super) struct TransactionFailure {
    pub(in super::super) code: Code,
    pub(in super::super) reason: String,
    pub(in super::super) retriable: bool,
    pub(in super::super) abortable: bool,
    pub(in super::super) fatal: bool,
}

/// Takes over an error object.
///
/// # Safety
/// `error` is null or an error object that the caller owns.
unsafe fn transaction_result(error: *mut sys::rd_kafka_error_t) -> Result<(), TransactionFailure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null and ours; its string lives until it is destroyed.
    unsafe {
        let failure = TransactionFailure {
            code: sys::rd_kafka_error_code(error).into(),
            reason: CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            abortable: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(failure)
    }
}

/// Gets a producer id, waiting up to `step_ms`; fences earlier owners of the transactional id.
pub(in super::super) fn init_transactions(client: &ProducerClient, step_ms: i32) -> Result<(), TransactionFailure> {
    // SAFETY: the client is alive; the error returned is ours.
    unsafe { transaction_result(sys::rd_kafka_init_transactions(client.client().native_ptr(), step_ms)) }
}

/// Begins a transaction; local.
pub(in super::super) fn begin_transaction(client: &ProducerClient) -> Result<(), TransactionFailure> {
    // SAFETY: the client is alive; the error returned is ours.
    unsafe { transaction_result(sys::rd_kafka_begin_transaction(client.client().native_ptr())) }
}

/// Sends offsets, with their metadata, of a group that has no members (generation -1, member "").
pub(in super::super) fn send_offsets(
    client: &ProducerClient,
    group: &CStr,
    offsets: &TopicPartitionList,
    timeout_ms: i32,
) -> Result<(), TransactionFailure> {
    // SAFETY: the metadata object is made and destroyed here; librdkafka copies it and the list.
    unsafe {
        let member = sys::rd_kafka_consumer_group_metadata_new(group.as_ptr());
        let result = sys::rd_kafka_send_offsets_to_transaction(client.client().native_ptr(), offsets.ptr(), member, timeout_ms);
        sys::rd_kafka_consumer_group_metadata_destroy(member);
        transaction_result(result)
    }
}

/// Commits, or goes on committing, for up to `step_ms`.
pub(in super::super) fn commit_transaction(client: &ProducerClient, step_ms: i32) -> Result<(), TransactionFailure> {
    // SAFETY: the client is alive; the error returned is ours.
    unsafe { transaction_result(sys::rd_kafka_commit_transaction(client.client().native_ptr(), step_ms)) }
}

/// Aborts, or goes on aborting, for up to `step_ms`.
pub(in super::super) fn abort_transaction(client: &ProducerClient, step_ms: i32) -> Result<(), TransactionFailure> {
    // SAFETY: the client is alive; the error returned is ours.
    unsafe { transaction_result(sys::rd_kafka_abort_transaction(client.client().native_ptr(), step_ms)) }
}
