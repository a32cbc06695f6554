//! The transaction that makes an epoch final: offsets with their metadata, and the outputs produced in it.

use super::error::{Error, is_out_of_step, is_producer_fence};
use super::ffi::{self, ProducerClient, TransactionFailure};
use super::producer::{OutputProducer, ProducerSettings};
use super::properties::{Cluster, topic_name};
use crossbeam_channel::bounded;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::ffi::CString;
use std::time::{Duration, Instant};

/// Most characters of an offset's metadata that a broker takes with its default settings (`offset.metadata.max.bytes`).
const METADATA_MAX: usize = 4096;
const SEND_OFFSETS: &str = "send_offsets";
/// Longest single wait in librdkafka: commit and abort wait for delivery reports that only polling in between settles.
const STEP: Duration = Duration::from_millis(100);
/// How long an abort waits for records that are under way.
const SETTLE: Duration = Duration::from_millis(500);
/// How long a request of a transaction waits for its answer before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// librdkafka (2.12) may never return from send_offsets when the group's coordinator dies meanwhile: after this the call, and
/// the producer with it, is given up.
const LOST: Duration = Duration::from_secs(15);

/// What a transactional producer is made with.
#[derive(Debug, Clone)]
pub struct CommitSettings {
    /// Whoever has it last is the owner; earlier ones are fenced.
    pub transactional_id: String,
    /// After this the broker aborts a transaction left open; at least 1 s.
    pub transaction_timeout: Duration,
    /// Client id and queue limits.
    pub producer: ProducerSettings,
}

/// One partition of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetCommit<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Offset of the next record to read.
    pub offset: i64,
    /// ASCII, at most 4,096 characters.
    pub metadata: &'a str,
}

/// How a transaction failed, by what the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// What is to be committed cannot be: nothing was sent, the transaction stands as it was.
    #[error("cannot commit: {0}")]
    Refused(String),
    /// Nothing was begun; calling again may help.
    #[error("{action}: {reason}")]
    Retriable {
        /// The call.
        action: &'static str,
        /// librdkafka's words.
        reason: String,
    },
    /// The transaction was aborted, all of it; the producer can begin the next.
    #[error("transaction aborted after {action}: {reason}")]
    Aborted {
        /// The call that failed.
        action: &'static str,
        /// Why.
        reason: String,
    },
    /// Not committed, and left open for the next owner of the transactional id to abort: drop the producer, make one with the
    /// same id.
    #[error("transaction left open, neither committed nor aborted: {reason}")]
    LeftOpen {
        /// Why.
        reason: String,
    },
    /// Another process has the transactional id, or the group has members: stop.
    #[error("fenced in {action}: {reason}")]
    Fenced {
        /// The call that failed.
        action: &'static str,
        /// librdkafka's words.
        reason: String,
    },
    /// Committed or not, nobody knows yet: drop the producer, make one with the same id, then read the committed offsets.
    #[error("outcome of {action} unknown: {reason}")]
    Unknown {
        /// The call that failed.
        action: &'static str,
        /// Why.
        reason: String,
    },
    /// Not committed, and the producer is of no use any more.
    #[error("{action} failed for good: {reason}")]
    Fatal {
        /// The call that failed.
        action: &'static str,
        /// librdkafka's words.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    /// After an unknown outcome, fencing, a fatal error, or a transaction that was left open. librdkafka has no KIP-890: a
    /// delayed end of this transaction could hit a later one of the same client.
    Broken,
}

/// A transactional producer: one transaction at a time.
///
/// Guarantees: every call ends at its deadline, or up to 6 s later when the coordinator falls silent in the middle of it.
/// An error says what stands at the broker, see [`CommitError`].
pub struct CommitProducer {
    outputs: OutputProducer,
    state: State,
    transaction_timeout: Duration,
}

impl CommitProducer {
    /// Makes the producer and takes over its transactional id: earlier owners are fenced, and a transaction that one of
    /// them left open is aborted.
    ///
    /// # Errors
    /// [`CommitError::Retriable`] when no coordinator answered in time, [`CommitError::Fenced`] when another process took
    /// the id over meanwhile, [`CommitError::Fatal`] otherwise.
    pub fn init(cluster: &Cluster, settings: &CommitSettings, deadline: Instant) -> Result<Self, CommitError> {
        const ACTION: &str = "init_transactions";
        let timeout = settings.transaction_timeout.as_millis().to_string();
        // send_offsets cannot be given up by its caller: a coordinator that falls silent holds it for this long.
        let silence = millis((settings.transaction_timeout / 2).min(SILENCE)).to_string();
        let defaults = [("socket.timeout.ms", silence.as_str())];
        let owned = [("transactional.id", settings.transactional_id.as_str()), ("transaction.timeout.ms", timeout.as_str())];
        let fatal = |e: Error| CommitError::Fatal { action: ACTION, reason: e.to_string() };
        let outputs = OutputProducer::with(cluster, &settings.producer, &defaults, &owned).map_err(fatal)?;
        loop {
            outputs.poll();
            let failure = match ffi::init_transactions(outputs.client(), millis(STEP.min(remaining(deadline)))) {
                Ok(()) => return Ok(Self { outputs, state: State::Idle, transaction_timeout: settings.transaction_timeout }),
                Err(failure) => failure,
            };
            if is_producer_fence(failure.code) {
                return Err(CommitError::Fenced { action: ACTION, reason: failure.reason });
            }
            if !failure.retriable {
                return Err(fatal(Error::client(ACTION, failure.code, &failure.reason)));
            }
            // A wrong password looks like a coordinator that does not answer; the event queue knows better.
            if let Some(named) = outputs.take_errors().into_iter().find(|e| !e.is_transient()) {
                return Err(fatal(named));
            }
            if Instant::now() >= deadline {
                return Err(CommitError::Retriable { action: ACTION, reason: failure.reason });
            }
        }
    }

    /// The producer for outputs that become visible with the commit. Produce only between [`CommitProducer::begin`] and
    /// [`CommitProducer::commit_offsets`].
    #[must_use]
    pub fn outputs(&self) -> &OutputProducer {
        &self.outputs
    }

    /// Begins a transaction. Local; the broker learns of it with the first record or offset.
    ///
    /// # Errors
    /// [`CommitError::Refused`] while one is open, [`CommitError::Fenced`], [`CommitError::Fatal`].
    pub fn begin(&mut self) -> Result<(), CommitError> {
        const ACTION: &str = "begin_transaction";
        match self.state {
            State::Open => Err(CommitError::Refused("a transaction is open".into())),
            State::Broken => Err(CommitError::Fatal { action: ACTION, reason: "the producer has failed before; make a new one".into() }),
            State::Idle => {
                ffi::begin_transaction(self.outputs.client()).map_err(|f| self.broken(ACTION, &f))?;
                self.state = State::Open;
                Ok(())
            }
        }
    }

    /// Flushes the outputs, then commits them together with offsets of a group that has no members; begins the transaction where
    /// none is open.
    ///
    /// # Errors
    /// See [`CommitError`]. No transaction of this producer goes on afterwards, except for [`CommitError::Refused`].
    pub fn commit_offsets(&mut self, group: &str, offsets: &[OffsetCommit<'_>], deadline: Instant) -> Result<(), CommitError> {
        let list = list(offsets)?;
        let group = CString::new(group).map_err(|_| CommitError::Refused("the group's name holds a NUL".into()))?;
        if self.state != State::Open {
            self.begin()?;
        }
        if let Err(error) = self.outputs.flush_until(deadline) {
            return Err(self.give_up("flush", error.to_string(), false, deadline));
        }
        self.send_offsets(&group, &list, deadline)?;
        failpoint!("offsets-sent");
        failpoint!("commit-sent", last ffi::commit_transaction(self.outputs.client(), crate::failpoint::some_millis()));
        self.commit(deadline)
    }

    fn send_offsets(&mut self, group: &CString, list: &TopicPartitionList, deadline: Instant) -> Result<(), CommitError> {
        loop {
            // librdkafka gives up by itself when this time is over, so it is never zero: one attempt is made.
            let timeout = millis(remaining(deadline).max(STEP));
            let failure = match self.send_offsets_beside(group, list, timeout)? {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.fatal {
                return Err(self.broken(SEND_OFFSETS, &failure));
            }
            if failure.abortable || !failure.retriable || Instant::now() >= deadline {
                let reason = format!("{:?}: {}", failure.code, failure.reason);
                return Err(self.give_up(SEND_OFFSETS, reason, is_group_fence(failure.code), deadline));
            }
            self.outputs.poll();
        }
    }

    /// One call, on a thread that may be left behind in it. The client lives until that returns.
    fn send_offsets_beside(
        &mut self,
        group: &CString,
        list: &TopicPartitionList,
        timeout_ms: i32,
    ) -> Result<Result<(), TransactionFailure>, CommitError> {
        let (outputs, group, list) = (self.outputs.clone(), group.clone(), list.clone());
        let (sender, answer) = bounded(1);
        let call = move || {
            // Nobody waits any more when this took too long.
            let _ = sender.send(ffi::send_offsets(outputs.client(), &group, &list, timeout_ms));
        };
        let failed = |reason: String| CommitError::Unknown { action: SEND_OFFSETS, reason };
        let thread = std::thread::Builder::new().name("weir-offsets".into()).spawn(call);
        let answer = match thread {
            Ok(_) => answer.recv_timeout(LOST).map_err(|_| failed(format!("no answer within {LOST:?}"))),
            Err(error) => Err(failed(format!("cannot start a thread: {error}"))),
        };
        answer.inspect_err(|_| self.state = State::Broken)
    }

    fn commit(&mut self, deadline: Instant) -> Result<(), CommitError> {
        const ACTION: &str = "commit_transaction";
        loop {
            self.outputs.poll();
            let failure = match ffi::commit_transaction(self.outputs.client(), millis(STEP)) {
                Ok(()) => {
                    self.state = State::Idle;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            if failure.abortable {
                return Err(self.give_up(ACTION, failure.reason, false, deadline));
            }
            if failure.fatal && is_producer_fence(failure.code) {
                return Err(self.broken(ACTION, &failure));
            }
            if failure.fatal || !failure.retriable || Instant::now() >= deadline {
                self.state = State::Broken;
                return Err(CommitError::Unknown { action: ACTION, reason: failure.reason });
            }
        }
    }

    /// Aborts the open transaction: its outputs stay invisible, its offsets uncommitted.
    ///
    /// # Errors
    /// [`CommitError::Unknown`] when the broker did not confirm in time, [`CommitError::LeftOpen`] when it cannot be aborted
    /// without harm to others, [`CommitError::Fenced`], [`CommitError::Fatal`].
    pub fn abort(&mut self, deadline: Instant) -> Result<(), CommitError> {
        const ACTION: &str = "abort_transaction";
        if self.state != State::Open {
            return Ok(());
        }
        // librdkafka (2.12) forgets a partition that is just being added to the transaction when it aborts, and then leaves the
        // transaction open without a word: first all records are settled. Behind one that was refused some may not settle, but
        // then its partition was added. With records that grew too old, an abort ends by asking the coordinator for its next
        // epoch, and where nothing of the transaction was announced yet, it asks for nothing else. While a transaction is open,
        // the coordinator (Kafka 4.2) does not look at the epoch it is asked from: whoever took the id over meanwhile would be
        // fenced.
        let settled = self.outputs.settle_until(deadline.min(Instant::now() + SETTLE));
        let context = self.outputs.client().context();
        if context.has_given_up_old_ones() || (!settled && !context.has_refused_one()) {
            self.state = State::Broken;
            let waiting = || format!("{} records wait for their acknowledgement", self.outputs.queue_len());
            return Err(CommitError::LeftOpen { reason: self.outputs.check().err().map_or_else(waiting, |error| error.to_string()) });
        }
        loop {
            self.outputs.poll();
            let failure = match abort_step(self.outputs.client()) {
                Ok(()) => {
                    self.outputs.poll();
                    self.outputs.client().context().forget_undelivered();
                    self.state = State::Idle;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            if failure.fatal || !failure.retriable {
                return Err(self.broken(ACTION, &failure));
            }
            if Instant::now() >= deadline {
                self.state = State::Broken;
                return Err(CommitError::Unknown { action: ACTION, reason: failure.reason });
            }
        }
    }

    /// Aborts after a failed call. The abort has a time of its own: the deadline of the commit may have passed already.
    fn give_up(&mut self, action: &'static str, reason: String, fenced: bool, deadline: Instant) -> CommitError {
        let patience = Duration::from_secs(1).min(self.transaction_timeout);
        match self.abort(deadline.max(Instant::now() + patience)) {
            Ok(()) if fenced => CommitError::Fenced { action, reason },
            Ok(()) => CommitError::Aborted { action, reason },
            Err(error) => error,
        }
    }

    fn broken(&mut self, action: &'static str, failure: &TransactionFailure) -> CommitError {
        self.state = State::Broken;
        let reason = format!("{:?}: {}", failure.code, failure.reason);
        // librdkafka reports a fatal error as such and keeps its cause apart.
        let cause = self.outputs.client().client().fatal_error().map(|(code, _)| code);
        if is_producer_fence(failure.code) || cause.is_some_and(is_producer_fence) {
            CommitError::Fenced { action, reason }
        } else if is_out_of_step(failure.code) || cause.is_some_and(is_out_of_step) {
            CommitError::Unknown { action, reason }
        } else {
            CommitError::Fatal { action, reason }
        }
    }
}

fn abort_step(client: &ProducerClient) -> Result<(), TransactionFailure> {
    ffi::abort_transaction(client, millis(STEP))
}

/// What the broker answers when the group has members, or others than it had.
fn is_group_fence(code: Code) -> bool {
    matches!(code, Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId)
}

fn list(offsets: &[OffsetCommit<'_>]) -> Result<TopicPartitionList, CommitError> {
    let mut list = TopicPartitionList::new();
    for commit in offsets {
        let refused = |what: &str| CommitError::Refused(format!("topic `{}` partition {}: {what}", commit.topic, commit.partition));
        topic_name(commit.topic).map_err(|e| CommitError::Refused(e.to_string()))?;
        // A broker counts UTF-16 units and rdkafka panics on other bytes; ASCII leaves no doubt.
        if !commit.metadata.is_ascii() || commit.metadata.len() > METADATA_MAX {
            return Err(refused("metadata has to be ASCII, at most 4096 characters"));
        }
        if commit.offset < 0 {
            return Err(refused("a negative offset would be left out by librdkafka"));
        }
        let mut element = list.add_partition(commit.topic, commit.partition);
        element.set_offset(Offset::Offset(commit.offset)).map_err(|e| refused(&e.to_string()))?;
        element.set_metadata(commit.metadata);
    }
    Ok(list)
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
