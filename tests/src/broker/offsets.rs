//! What a group has committed, where partitions end, and ways to spoil both.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::{Broker, TIMEOUT, admin_options, block_on, script};
use crate::wait;

/// How long one client asks a coordinator.
const ASK: Duration = Duration::from_secs(5);

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The text beside it.
    pub metadata: String,
}

impl Broker {
    /// What a group has committed, per partition. Waits until no transaction with offsets of the group is open.
    #[track_caller]
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<Committed>> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, self.partitions(topic) - 1);
        let found = from_coordinator(|| self.member(group).committed_offsets(asked.clone(), ASK));
        let committed = found.elements_for_topic(topic).into_iter().map(|element| match element.offset() {
            Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_owned() }),
            _ => None,
        });
        committed.collect()
    }

    /// The epoch in a group's last commit for a topic; 0 while there is none.
    #[track_caller]
    pub fn epoch(&self, group: &str, topic: &str) -> u64 {
        let text = self.committed(group, topic).into_iter().flatten().next().map(|at| at.metadata).unwrap_or_default();
        text.split(';').find_map(|field| field.strip_prefix("epoch=")?.parse().ok()).unwrap_or(0)
    }

    /// The offset after the last record of each partition.
    #[track_caller]
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let client = self.client();
        let watermarks = |partition| client.fetch_watermarks(topic, partition, TIMEOUT).expect("a partition's ends");
        (0..self.partitions(topic)).map(|partition| watermarks(partition).1).collect()
    }

    /// Whether a group has committed the end of every partition.
    #[track_caller]
    pub fn is_at_end(&self, group: &str, topic: &str) -> bool {
        let committed = self.committed(group, topic);
        committed.iter().zip(self.ends(topic)).all(|(committed, end)| committed.as_ref().is_some_and(|at| at.offset == end))
    }

    /// Commits for a group that has no members.
    #[track_caller]
    pub fn commit(&self, group: &str, topic: &str, partition: i32, committed: &Committed) {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(committed.offset)).expect("a valid offset");
        element.set_metadata(committed.metadata.as_str());
        let member = self.member(group);
        from_coordinator(|| member.commit(&list, CommitMode::Sync));
    }

    /// The transactional ids that have a transaction open.
    #[track_caller]
    pub fn open_transactions(&self) -> Vec<String> {
        self.transactions().into_iter().filter(|(_, state)| state == "Ongoing").map(|(id, _)| id).collect()
    }

    /// Whether the last transaction of an id is over, also for its readers.
    #[track_caller]
    pub fn is_transaction_over(&self, id: &str) -> bool {
        let states = self.transactions();
        states.iter().find(|(of, _)| of == id).is_none_or(|(_, state)| !["Ongoing", "PrepareCommit", "PrepareAbort"].contains(&&**state))
    }

    /// Transactional ids, and the states of their last transactions.
    #[track_caller]
    fn transactions(&self) -> Vec<(String, String)> {
        let tool = "org.apache.kafka.tools.TransactionsCommand";
        let listed = script(&self.folder, ["tool", tool, "--bootstrap-server", &self.bootstrap, "list"]);
        let of_line = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            // Id, coordinator, producer id, state.
            words.next().zip(words.nth(2))
        };
        listed.lines().filter_map(of_line).collect()
    }

    /// Makes a group and its offsets unknown.
    #[track_caller]
    pub fn delete_group(&self, group: &str) {
        let deleted = block_on(self.admin().delete_groups(&[group], &admin_options())).expect("the broker answers");
        assert!(deleted.iter().all(Result::is_ok), "group {group} was not deleted: {deleted:?}");
    }

    /// Makes what a group has committed for one partition unknown.
    #[track_caller]
    pub fn delete_offset(&self, group: &str, topic: &str, partition: i32) {
        let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let place = format!("{topic}:{partition}");
        let request = ["--group", group, "--delete-offsets", "--topic", &place];
        script(&self.folder, [&["tool", tool, "--bootstrap-server", &self.bootstrap][..], &request].concat());
        assert_eq!(self.committed(group, topic)[partition as usize], None, "the offset was not deleted");
    }

    /// Deletes the records of a partition before an offset.
    #[track_caller]
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("a valid offset");
        let deleted = block_on(self.admin().delete_records(&list, &admin_options())).expect("the broker answers");
        let result = deleted.elements_for_topic(topic)[0].error();
        assert!(result.is_ok(), "records of {topic} were not deleted: {result:?}");
    }

    fn member(&self, group: &str) -> BaseConsumer {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("retry.backoff.ms", "10")
            .set("retry.backoff.max.ms", "10");
        config.create().expect("a consumer")
    }
}

/// Asks the group's coordinator, again while it is being made or another broker becomes it: the first group of a broker is
/// there before it. What is asked with a client of its own each time does not rest on one that has lost its broker.
#[track_caller]
fn from_coordinator<T>(mut ask: impl FnMut() -> KafkaResult<T>) -> T {
    use RDKafkaErrorCode::{
        BrokerTransportFailure, CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, OperationTimedOut, RequestTimedOut,
    };
    let mut last = None;
    let answer = wait::for_some(TIMEOUT, || match ask() {
        Err(error) => match error.rdkafka_error_code() {
            Some(
                CoordinatorLoadInProgress
                | CoordinatorNotAvailable
                | NotCoordinator
                | BrokerTransportFailure
                | OperationTimedOut
                | RequestTimedOut,
            ) => {
                last = Some(error);
                None
            }
            _ => panic!("the group's coordinator: {error}"),
        },
        Ok(answer) => Some(answer),
    });
    answer.unwrap_or_else(|| panic!("the group's coordinator did not answer within {TIMEOUT:?}; it said last: {last:?}"))
}
