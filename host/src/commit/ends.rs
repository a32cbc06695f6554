//! Where the sources end at a moment: a job that is drained stops there.

use super::{Error, SplitInfo, task::Task};
use crate::kafka::Consumer;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Longest wait for the brokers' answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ends of Kafka's partitions, while the brokers are being asked.
#[derive(Default)]
pub(crate) struct Ends(Option<Task<HashMap<u32, i64>>>);

impl Ends {
    /// Asks where the splits end now.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn ask(&mut self, splits: &[SplitInfo], consumer: Option<Arc<Consumer>>) -> Result<(), Error> {
        let kafka = splits.iter().zip(0u32..).filter(|(split, _)| split.kafka);
        let (named, numbers): (Vec<_>, Vec<u32>) = kafka.map(|(split, number)| ((split.topic.clone(), split.partition), number)).unzip();
        let look = move || {
            let Some(consumer) = consumer else { return Ok(HashMap::new()) };
            let named: Vec<_> = named.iter().map(|(topic, partition)| (topic.as_str(), *partition)).collect();
            let bounds = consumer.watermarks(&named, PATIENCE)?;
            Ok(numbers.into_iter().zip(bounds.iter().map(|bounds| bounds.end)).collect())
        };
        self.0 = Some(Task::start("weir-ends", look)?);
        Ok(())
    }

    /// The ends by split, once they are there, and once only.
    ///
    /// # Errors
    /// Kafka's.
    pub fn poll(&mut self) -> Result<Option<HashMap<u32, i64>>, Error> {
        let found = self.0.as_ref().map(Task::poll).transpose()?.flatten();
        if found.is_some() {
            self.0 = None;
        }
        Ok(found)
    }
}
