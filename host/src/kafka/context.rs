//! What librdkafka tells a client outside of calls: logs, errors, failed deliveries.

use super::bootstrap::Bootstrap;
use super::error::Error;
use super::ffi;
use crate::clock;
use crate::log_limit::Repeats;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Errors kept until somebody asks; a broker that is away repeats itself, so more would say nothing new.
const KEPT: usize = 64;

/// How long a look for a broker may take, in milliseconds.
const LOOK_MS: i32 = 50;

/// What a broker says of a record that it will never take.
const REFUSED: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::InvalidRecord,
    RDKafkaErrorCode::InvalidTimestamp,
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::ClusterAuthorizationFailed,
];

/// Records that were given up.
#[derive(Default)]
struct Undelivered {
    /// The first one. One that was only purged, because of another, makes way for that.
    first: Option<Error>,
    is_purge: bool,
    /// Whether some were too old.
    too_old: bool,
}

/// Collects what the event queue reports.
pub(super) struct Context {
    /// The bootstrap servers.
    brokers: CString,
    bootstrap: Mutex<Bootstrap>,
    errors: Mutex<VecDeque<Error>>,
    undelivered: Mutex<Undelivered>,
    said: Mutex<Repeats>,
}

impl Context {
    /// For a client of these bootstrap servers.
    pub(super) fn new(brokers: CString) -> Self {
        Self { brokers, bootstrap: Mutex::default(), errors: Mutex::default(), undelivered: Mutex::default(), said: Mutex::default() }
    }

    /// Tells the client, which has to be this context's, of its bootstrap servers when it has lost all brokers and found none
    /// again. To be called wherever events are served.
    pub(super) fn find_brokers(&self, client: &Client<Self>) {
        let mut bootstrap = lock(&self.bootstrap);
        if bootstrap.take_due(clock::monotonic()) && !ffi::has_broker(client, LOOK_MS) {
            ffi::add_brokers(client, &self.brokers);
            bootstrap.told(clock::monotonic());
        }
    }

    /// Errors since the last call, oldest first.
    pub(super) fn take_errors(&self) -> Vec<Error> {
        lock(&self.errors).drain(..).collect()
    }

    /// The first record that was not delivered.
    pub(super) fn undelivered(&self) -> Option<Error> {
        lock(&self.undelivered).first.clone()
    }

    /// Whether records were given up because they had waited for too long.
    pub(super) fn has_given_up_old_ones(&self) -> bool {
        lock(&self.undelivered).too_old
    }

    /// Whether the first record that was given up is one that the broker will never take.
    pub(super) fn has_refused_one(&self) -> bool {
        matches!(lock(&self.undelivered).first, Some(Error::Delivery { transient: false, .. }))
    }

    /// Forgets them: their transaction was aborted.
    pub(super) fn forget_undelivered(&self) {
        *lock(&self.undelivered) = Undelivered::default();
    }
}

/// The values behind these locks are whole at any time, so a panic of another holder is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Context {
    /// What librdkafka calls an error it gets over by itself, such as a broker that is away; what it does not comes as an
    /// error of a call.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let Some(left_out) = lock(&self.said).admit(message, clock::monotonic()) else { return };
        let left_out = (left_out > 0).then_some(left_out);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, left_out, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(facility, left_out, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, left_out, "{message}"),
            RDKafkaLogLevel::Debug => tracing::debug!(facility, left_out, "{message}"),
        }
    }

    fn stats_raw(&self, _json: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if code == RDKafkaErrorCode::AllBrokersDown {
            lock(&self.bootstrap).lost(clock::monotonic());
        }
        let mut errors = lock(&self.errors);
        if errors.len() == KEPT {
            errors.pop_front();
        }
        errors.push_back(Error::client("kafka client", code, reason));
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    /// Only failures come here (`delivery.report.only.error`).
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            let failed = Error::Delivery {
                topic: message.topic().into(),
                partition: message.partition(),
                reason: error.to_string(),
                transient: !REFUSED.contains(&code),
            };
            let is_purge = matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight);
            let mut undelivered = lock(&self.undelivered);
            undelivered.too_old |= code == RDKafkaErrorCode::MessageTimedOut;
            if undelivered.first.is_none() || (undelivered.is_purge && !is_purge) {
                (undelivered.first, undelivered.is_purge) = (Some(failed), is_purge);
            }
        }
    }
}
