//! What can go wrong between Weir and a broker, named by topic, partition and offset.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// An error of a Kafka client. [`Error::is_transient`] says whether librdkafka goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The job sets a property that Weir sets itself.
    #[error("kafka property `{name}` cannot be set: {reason}")]
    OwnedProperty {
        /// The property.
        name: String,
        /// Why it belongs to Weir.
        reason: &'static str,
    },
    /// librdkafka does not take the configuration. The value is left out: it may be a secret.
    #[error("kafka configuration{}: {reason}", .name.as_ref().map(|n| format!(" `{n}`")).unwrap_or_default())]
    Configuration {
        /// The property, where librdkafka names one.
        name: Option<String>,
        /// librdkafka's words.
        reason: String,
    },
    /// A topic name that no broker would take.
    #[error("`{topic}` is no topic name: 1 to 249 of letters, digits, `.`, `_`, `-`")]
    TopicName {
        /// The name as given.
        topic: String,
    },
    /// The cluster has no such topic.
    #[error(
        "topic `{topic}` does not exist on the cluster that was asked: make it by `weir topics create {topic} --partitions N`, or mend its name"
    )]
    MissingTopic {
        /// The topic.
        topic: String,
    },
    /// The topic has no such partition.
    #[error("topic `{topic}` has no partition {partition}")]
    MissingPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A topic of that name is already there.
    #[error("topic `{topic}` exists already")]
    TopicExists {
        /// The topic.
        topic: String,
    },
    /// The broker refuses the operation to this user.
    #[error("not authorised for {subject}: {reason}")]
    NotAuthorised {
        /// Topic, group, transactional id or cluster.
        subject: String,
        /// The broker's or librdkafka's words.
        reason: String,
    },
    /// The broker does not accept who we say we are, or TLS could not be set up.
    #[error("authentication failed: {reason}")]
    Authentication {
        /// librdkafka's words.
        reason: String,
    },
    /// The partition does not hold the offset that is to be read next.
    #[error("topic `{topic}` partition {partition}: offset {offset} is out of range: {reason}")]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
        /// librdkafka's words.
        reason: String,
    },
    /// A record came from a partition that the receiving queue was not given.
    #[error("topic `{topic}` partition {partition}: a record came to a queue that does not own the partition")]
    Stray {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A partition was given to a queue twice, or to two queues.
    #[error("topic `{topic}` partition {partition} has a queue already")]
    Taken {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A record that was accepted for production was not delivered.
    #[error("topic `{topic}` partition {partition}: record not delivered: {reason}")]
    Delivery {
        /// The topic.
        topic: String,
        /// The partition; -1 when none was chosen.
        partition: i32,
        /// librdkafka's words.
        reason: String,
        /// Whether the same record may be taken later: not when it is too large, or not allowed.
        transient: bool,
    },
    /// Another producer has the transactional id, or the broker has ended the transaction because it took too long.
    #[error("fenced: {reason}")]
    Fenced {
        /// librdkafka's words.
        reason: String,
    },
    /// Records were still waiting for their acknowledgement at the deadline.
    #[error("{queued} records not acknowledged at the deadline")]
    FlushDeadline {
        /// Records still in librdkafka's queues.
        queued: usize,
    },
    /// Anything else.
    #[error("{action}: {reason}")]
    Broker {
        /// What was tried, with topic and partition where there is one.
        action: String,
        /// The code's name and librdkafka's words.
        reason: String,
        /// Whether trying again can help.
        transient: bool,
    },
}

impl Error {
    /// True where librdkafka or a second call gets over it: connections, elections, time-outs.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Broker { transient: true, .. } | Self::FlushDeadline { .. })
    }

    /// An error of the whole client or of an operation without a topic.
    pub(super) fn client(action: &str, code: Code, reason: &str) -> Self {
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL | Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
                Self::Authentication { reason: reason.into() }
            }
            Code::GroupAuthorizationFailed => Self::NotAuthorised { subject: "the consumer group".into(), reason: reason.into() },
            Code::ClusterAuthorizationFailed => Self::NotAuthorised { subject: "the cluster".into(), reason: reason.into() },
            Code::TransactionalIdAuthorizationFailed => {
                Self::NotAuthorised { subject: "the transactional id".into(), reason: reason.into() }
            }
            code if is_producer_fence(code) => Self::Fenced { reason: words(code, reason) },
            _ => Self::Broker { action: action.into(), reason: words(code, reason), transient: is_transient(code) },
        }
    }

    /// An error of an operation on a topic.
    pub(super) fn topic(action: &str, topic: &str, code: Code, reason: &str) -> Self {
        let topic = topic.to_owned();
        match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => Self::MissingTopic { topic },
            Code::InvalidTopic => Self::TopicName { topic },
            Code::TopicAlreadyExists => Self::TopicExists { topic },
            Code::TopicAuthorizationFailed => Self::NotAuthorised { subject: format!("topic `{topic}`"), reason: reason.into() },
            _ => Self::client(&format!("topic `{topic}`: {action}"), code, reason),
        }
    }

    /// An error of an operation on a partition, at an offset where there is one.
    pub(super) fn partition(action: &str, topic: &str, partition: i32, offset: i64, code: Code, reason: &str) -> Self {
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                Self::OffsetOutOfRange { topic: topic.into(), partition, offset, reason: reason.into() }
            }
            Code::UnknownPartition => Self::MissingPartition { topic: topic.into(), partition },
            _ => Self::topic(&format!("partition {partition}: {action}"), topic, code, reason),
        }
    }

    /// An error that rdkafka's safe calls return.
    pub(super) fn from_call(action: &str, error: &KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, name, _) => Self::Configuration { name: Some(name.clone()), reason: reason.clone() },
            KafkaError::ClientCreation(reason) => Self::Configuration { name: None, reason: reason.clone() },
            KafkaError::AdminOp(code) => Self::client(action, *code, ""),
            other => match other.rdkafka_error_code() {
                Some(code) => Self::client(action, code, ""),
                None => Self::Broker { action: action.into(), reason: other.to_string(), transient: false },
            },
        }
    }

    /// The same with the topic's name.
    pub(super) fn from_topic_call(action: &str, topic: &str, error: &KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => Self::topic(action, topic, code, ""),
            None => Self::from_call(&format!("topic `{topic}`: {action}"), error),
        }
    }
}

fn words(code: Code, reason: &str) -> String {
    if reason.is_empty() { code.to_string() } else { format!("{code:?}: {reason}") }
}

/// What a broker tells the owner of an epoch of a transactional id that is no longer the newest.
pub(super) fn is_producer_fence(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced)
}

/// What a broker answers when it knows another state of a transaction than librdkafka, which may take that for fatal: what was to
/// announce the transaction was lost, or the id was idle until the broker forgot it. A producer that takes the id over is in
/// step again.
pub(super) fn is_out_of_step(code: Code) -> bool {
    matches!(code, Code::InvalidTransactionalState | Code::InvalidProducerIdMapping)
}

fn is_transient(code: Code) -> bool {
    passes(code) || is_out_of_step(code)
}

/// Codes that pass by themselves: librdkafka goes on connecting, looking for leaders and asking again.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::WaitingForCoordinator
            | Code::WaitCache
            | Code::Retry
            | Code::NodeUpdate
            | Code::UnknownBroker
            | Code::DestroyBroker
            | Code::ISRInsufficient
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotController
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ConcurrentTransactions
            | Code::ThrottlingQuotaExceeded
            | Code::PreferredLeaderNotAvailable
            | Code::RebootstrapRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_trouble_is_transient_and_named_faults_are_not() {
        assert!(Error::client("poll", Code::AllBrokersDown, "1/1 brokers are down").is_transient());
        assert!(Error::client("kafka producer", Code::InvalidTransactionalState, "not begun").is_transient());
        assert!(!Error::client("poll", Code::Authentication, "bad password").is_transient());
        assert!(!Error::partition("fetch", "t", 3, 7, Code::AutoOffsetReset, "gone").is_transient());
        assert_eq!(Error::topic("metadata", "t", Code::UnknownTopicOrPartition, ""), Error::MissingTopic { topic: "t".into() });
    }

    #[test]
    fn a_configuration_error_names_the_property_and_hides_its_value() {
        let native = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value".into(),
            "sasl.password".into(),
            "hunter2".into(),
        );
        let text = Error::from_call("create", &native).to_string();
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }
}
