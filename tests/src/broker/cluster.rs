//! Three brokers, of which tests end one: which of them leads a partition, or coordinates a group or transactions.

use rdkafka::consumer::Consumer;
use rdkafka::producer::{BaseProducer, Producer};

use super::{Broker, TIMEOUT, script};
use crate::wait;

/// Brokers of a cluster. Each topic lies on all of them, Kafka's own ones too; two have to have what is acknowledged.
const NODES: usize = 3;
/// Three at once on a small machine.
const HEAP_OF_A_NODE: &str = "384m";
/// By default there are as many partitions of transactions as of groups, often led by the same brokers in turn. A job has
/// one name for both, so that one broker would coordinate both whatever the name.
const PARTITIONS: &str = "transaction.state.log.num.partitions=8\n";
/// Names of which one is taken.
const NAMES: usize = 1_000;

impl Broker {
    /// Starts a cluster of the caller's own.
    ///
    /// # Panics
    /// When it does not start, with what kafka.sh said.
    pub fn cluster() -> Self {
        let cluster = Self::of_nodes(NODES, HEAP_OF_A_NODE, "", PARTITIONS);
        // Kafka makes its own topics for the first who asks for a coordinator.
        let mut config = cluster.config();
        let producer: BaseProducer = config.set("transactional.id", "first").create().expect("a producer");
        producer.init_transactions(TIMEOUT).expect("a coordinator of transactions");
        cluster.committed("first", &cluster.topic("first", 1));
        cluster
    }

    /// Kills one broker.
    pub fn kill_node(&self, node: i32) {
        script(&self.folder, ["kill", &node.to_string()]);
    }

    /// Starts a broker that was killed on the same data and port.
    pub fn restart_node(&self, node: i32) {
        script(&self.folder, ["start-node", &node.to_string()]);
    }

    /// Starts the brokers that a test which failed has left dead, and waits until all have what is acknowledged.
    #[track_caller]
    pub fn mend(&self) {
        script(&self.folder, ["start", &NODES.to_string()]);
        self.await_in_sync();
    }

    /// The broker that leads a partition.
    #[track_caller]
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        let leader = wait::for_some(TIMEOUT, || {
            let metadata = self.client().fetch_metadata(Some(topic), TIMEOUT).expect("the cluster's metadata");
            let leader = metadata.topics()[0].partitions().iter().find(|of| of.id() == partition)?.leader();
            (leader > 0).then_some(leader)
        });
        leader.unwrap_or_else(|| panic!("nobody leads partition {partition} of {topic}"))
    }

    /// The broker that coordinates the transactions of this id.
    #[track_caller]
    pub fn coordinator_of_transactions(&self, id: &str) -> i32 {
        self.coordinator("__transaction_state", id)
    }

    /// The broker that coordinates this group.
    #[track_caller]
    pub fn coordinator_of_group(&self, group: &str) -> i32 {
        self.coordinator("__consumer_offsets", group)
    }

    /// Whoever leads the partition that Kafka keeps the name in.
    #[track_caller]
    fn coordinator(&self, topic: &str, name: &str) -> i32 {
        let partitions = self.partitions(topic).unsigned_abs();
        self.leader(topic, (java_hash(name).unsigned_abs() % partitions).cast_signed())
    }

    /// A name of a job, one of whose coordinators is not the other.
    #[track_caller]
    pub fn job_name(&self, what: &str) -> String {
        let names = (0..NAMES).map(|number| format!("{what}-{number}"));
        let apart = |id: &str| self.coordinator_of_transactions(id) != self.coordinator_of_group(id);
        let name = names.into_iter().find(|name| apart(&format!("weir-{name}")));
        name.expect("a group and transactions with different coordinators")
    }

    /// Waits until every broker has all that is acknowledged, so that another one may be killed.
    #[track_caller]
    pub fn await_in_sync(&self) {
        wait::until("all replicas in sync", TIMEOUT, || {
            let metadata = self.client().fetch_metadata(None, TIMEOUT).expect("the cluster's metadata");
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            metadata.brokers().len() == NODES && partitions.all(|partition| partition.isr().len() == NODES)
        });
    }
}

/// Java's `String.hashCode`, for ASCII: by it Kafka chooses the partition that a group or a transactional id is kept in.
fn java_hash(text: &str) -> i32 {
    text.bytes().fold(0, |hash: i32, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_javas() {
        assert_eq!([java_hash(""), java_hash("hello"), java_hash("weir-a")], [0, 99_162_322, -791_583_605]);
    }
}
